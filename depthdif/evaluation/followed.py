"""One patch followed through consecutive times: do the members change as smoothly as the truth?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from depthdif.figures.case import Case

Array = NDArray[np.floating]

# Times of a followed patch.
SNAPSHOTS = 5
# Members of which the flicker is measured: with antithetic pairs two opposite ones.
FLICKER_MEMBERS = 2


@dataclasses.dataclass(frozen=True)
class Followed:
    """A patch at consecutive times.

    Attributes:
        cases: one for each time, whose first guess is OI, where there is one.
        dates: of the cases, such as "2006-03-02".
        place: of the patch, such as "31.2°N 58.8°W".
        flicker: of each estimate by its name, see `flicker`; those that are not defined are left out.
    """

    cases: Sequence[Case]
    dates: Sequence[str]
    place: str
    flicker: Mapping[str, float]


def flicker(estimate: Array, truth: Array) -> float | None:
    """RMS of the change of an estimate from one time to the next, over that of the truth; None where the truth does not change.

    `truth` is (T, D, H, W), NaN outside the ocean, and `estimate` the same or (E, T, D, H, W) of E members; over all levels, with
    the mean square of the members. 1 is as lively as the truth; independent noise at each time makes it larger, and an estimate
    that is smooth in space smaller.
    """
    changes = np.square(np.diff(truth, axis=0))
    ocean = np.isfinite(changes)
    true_change = changes[ocean].mean() if ocean.any() else 0.0
    if not true_change > 0:
        return None
    estimated = np.square(np.diff(estimate, axis=-4)).mean(axis=tuple(range(estimate.ndim - 4)))
    return float(np.sqrt(estimated[ocean].mean() / true_change))


def flickers(estimates: Mapping[str, Array], truth: Array) -> dict[str, float]:
    """The `flicker` of each estimate by its name, where it is defined."""
    values = {name: flicker(estimate, truth) for name, estimate in estimates.items()}
    return {name: value for name, value in values.items() if value is not None}
