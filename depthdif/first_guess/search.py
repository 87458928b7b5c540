"""Search for the settings of a first guess that minimise a leave-one-out score over patches."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.scores.probabilistic import gaussian_crps
from depthdif.terminal import progress_bar

# The search multiplies and divides each setting by these factors, coarse ones first.
_FACTORS = (2.0, 1.4, 1.2, 1.1, 1.05)

# Value of each setting; the number counts the surface fields, where each has its own value.
Values = dict[tuple[str, int], float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting to search: where the search starts, its limits, and what the setting means.

    `each_surface` gives each surface field a value of its own.
    """

    start: float
    low: float
    high: float
    meaning: str
    each_surface: bool = False


def search(
    settings: Mapping[str, Setting], score: Callable[[dict[str, Any]], float], surface_fields: int
) -> dict[str, Any]:
    """The values of least score, to three digits, by a compass search over their logarithms.

    Args:
        settings: what to search.
        score: of values by their names, to be minimised.
        surface_fields: number of surface fields.
    """
    counts = {name: surface_fields if setting.each_surface else 1 for name, setting in settings.items()}
    best: Values = {(name, i): settings[name].start for name in settings for i in range(counts[name])}

    def score_of(values: Values) -> float:
        return score(as_arguments(values, counts))

    scales = [key for key in best if key[0].endswith("_scale")]
    # The scales also move together, because one makes up for another.
    groups = [[key] for key in best] + ([scales] if len(scales) > 1 else [])
    with progress_bar() as progress:
        task = progress.add_task("fitting", total=len(_FACTORS))
        least = score_of(best)
        for factor in _FACTORS:
            improved = True
            while improved:
                improved = False
                for keys, step in itertools.product(groups, (factor, 1 / factor)):
                    # A direction that improves the score is followed to its end.
                    while (value := score_of(trial := moved(best, keys, step, settings))) < least * (
                        1 - 1e-6
                    ):
                        best, least, improved = trial, value, True
                        progress.update(task, description=f"fitting, score {least:.4f}")
            progress.advance(task)
    return as_arguments({key: float(f"{value:.3g}") for key, value in best.items()}, counts)


def moved(
    values: Values, keys: Sequence[tuple[str, int]], factor: float, settings: Mapping[str, Setting]
) -> Values:
    """Values of which some are multiplied by a factor, within their limits."""
    limits = {key: settings[key[0]] for key in keys}
    return values | {key: min(max(values[key] * factor, limits[key].low), limits[key].high) for key in keys}


def as_arguments(values: Values, counts: Mapping[str, int]) -> dict[str, Any]:
    """Settings as the constructor takes them: a list where several surface fields have a value of their own."""
    return {
        name: values[name, 0] if count == 1 else [values[name, i] for i in range(count)]
        for name, count in counts.items()
        if count
    }


def rmse(first_guess: FirstGuess, patches: Sequence[PatchData], std: np.ndarray) -> float:
    """Root of the mean squared leave-one-out error over all observations, in units of the field.

    `std` (D,) is the standard deviation of each depth in these units.
    """
    squares = count = 0.0
    for patch in patches:
        misfit, _ = first_guess.leave_one_out(patch)
        squares += float(np.square(misfit * std[:, None, None]).sum())
        count += float(patch.observed_mask.sum())
    return math.sqrt(squares / count)


def crps(first_guess: FirstGuess, patches: Sequence[PatchData], std: np.ndarray) -> float:
    """Mean leave-one-out CRPS of the Gaussian forecasts over all observations, in units of the field."""
    total = count = 0.0
    for patch in patches:
        misfit, variance = first_guess.leave_one_out(patch)
        seen = patch.observed_mask
        score = gaussian_crps(misfit[seen], np.sqrt(variance[seen]))
        total += float((score * np.broadcast_to(std[:, None, None], seen.shape)[seen]).sum())
        count += float(seen.sum())
    return total / count
