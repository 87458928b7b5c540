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

# Values by the name of the setting and the number of the surface field.
Values = dict[tuple[str, int], float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Start and limits of the search for a setting, and its meaning; `each_surface`: one value for each surface field."""

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
        settings: the settings to search, by name.
        score: of values by their names, to be minimised.
        surface_fields: number of surface fields.
    """
    counts = {name: surface_fields if setting.each_surface else 1 for name, setting in settings.items()}
    best: Values = {(name, i): settings[name].start for name in settings for i in range(counts[name])}

    def arguments(values: Values) -> dict[str, Any]:
        """Settings as the constructor takes them: a list for several surface fields."""
        lists = {name: [values[name, i] for i in range(count)] for name, count in counts.items() if count}
        return {name: numbers[0] if len(numbers) == 1 else numbers for name, numbers in lists.items()}

    def moved(keys: Sequence[tuple[str, int]], factor: float) -> Values:
        limits = {key: (settings[key[0]].low, settings[key[0]].high) for key in keys}
        return best | {key: float(np.clip(best[key] * factor, *limits[key])) for key in keys}

    scales = [key for key in best if key[0].endswith("_scale")]
    # The scales also move together, because one compensates for another.
    groups = [[key] for key in best] + ([scales] if len(scales) > 1 else [])
    with progress_bar() as progress:
        task = progress.add_task("fitting", total=len(_FACTORS))
        least = score(arguments(best))
        for factor in _FACTORS:
            improved = True
            while improved:
                improved = False
                for keys, step in itertools.product(groups, (factor, 1 / factor)):
                    # A direction that improves the score is followed to its end.
                    while (value := score(arguments(trial := moved(keys, step)))) < least * (1 - 1e-6):
                        best, least, improved = trial, value, True
                        progress.update(task, description=f"fitting, score {least:.4f}")
            progress.advance(task)
    return arguments({key: float(f"{value:.3g}") for key, value in best.items()})


def rmse(first_guess: FirstGuess, patches: Sequence[PatchData], std: np.ndarray) -> float:
    """Root of the mean squared leave-one-out error over all observations, in units of the field.

    `std` (D,) is the standard deviation of each depth in these units.
    """
    errors = (first_guess.leave_one_out(patch)[0] * std[:, None, None] for patch in patches)
    squares = sum(float(np.square(error).sum()) for error in errors)
    return math.sqrt(squares / sum(np.count_nonzero(patch.observed_mask) for patch in patches))


def crps(first_guess: FirstGuess, patches: Sequence[PatchData], std: np.ndarray) -> float:
    """Mean leave-one-out CRPS of the Gaussian forecasts over all observations, in units of the field."""
    scores = []
    for patch in patches:
        misfit, variance = first_guess.leave_one_out(patch)
        depths = np.nonzero(patch.observed_mask)[0]
        errors, deviations = misfit[patch.observed_mask], np.sqrt(variance[patch.observed_mask])
        scores.append(gaussian_crps(errors, deviations) * std[depths])
    return float(np.concatenate(scores).mean())
