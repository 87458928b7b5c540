"""Scores from sums over patches, each with its bootstrap interval over patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depthdif.scores.bootstrap import percentile_interval

Array = NDArray[np.floating]
Sums = Mapping[str, Array]

# Score over the sum that it divides by that of the reference.
RATIOS = {"rmse_ratio": "rmse", "crps_ratio": "crps"}


@dataclass(frozen=True)
class Score:
    """A number and its interval; `low` and `high` are None where the patches do not allow one."""

    value: float
    low: float | None = None
    high: float | None = None


Scores = dict[str, Score]


def scores_from_sums(sums: Sums) -> dict[str, Array]:
    """The scores of sums over cells, all of one shape, NaN where no cell was counted.

    Args:
        sums: `count` of cells; `error`, `square` and `absolute` error and `crps` summed over them; and, for a forecast with a
            spread, `variance`, the squared error that it predicts.

    Returns:
        `rmse`, `bias` (estimate minus truth), `mae` and `crps`, in units of the field, and, where there is a spread,
        `spread_skill`: root mean predicted variance over RMSE, 1 for a reliable forecast, below 1 for an overconfident one.
    """
    count = np.where(sums["count"] > 0, sums["count"], np.nan)
    scores = {
        "rmse": np.sqrt(sums["square"] / count),
        "bias": sums["error"] / count,
        "mae": sums["absolute"] / count,
        "crps": sums["crps"] / count,
    }
    if "variance" in sums:
        square = np.where(sums["square"] > 0, sums["square"], np.nan)
        scores["spread_skill"] = np.sqrt(sums["variance"] / square)
    return scores


def with_ratios(sums: Sums, reference: Sums | None) -> dict[str, Array]:
    """The scores of `sums`, and their ratios to those of a reference over the same cells."""
    scores = scores_from_sums(sums)
    if reference is not None:
        divisors = scores_from_sums(reference)
        for name, score in RATIOS.items():
            scores[name] = scores[score] / np.where(divisors[score] > 0, divisors[score], np.nan)
    return scores


def scores_with_intervals(sums: Sums, reference: Sums | None, counts: Array) -> list[Scores]:
    """Scores of each of K columns of sums (P, K) over P patches, with 95 % intervals; what is undefined is left out.

    Args:
        sums: of the method, see `scores_from_sums`, each (P, K).
        reference: of the method that the ratios divide by, or None.
        counts: (S, P) of `resample_counts`, the same for the method and its reference: their ratios are paired.
    """

    def over_patches(weights: Array) -> dict[str, Array]:
        method, divisor = (
            part and {name: weights @ values for name, values in part.items()} for part in (sums, reference)
        )
        return with_ratios(method or {}, divisor)

    values, resampled = over_patches(np.ones((1, counts.shape[1]))), over_patches(counts)
    columns = sums["count"].shape[1]
    scores: list[Scores] = [{} for _ in range(columns)]
    for name, value in values.items():
        low, high = percentile_interval(resampled[name])
        for column in range(columns):
            if np.isfinite(value[0, column]):
                # A single patch resampled is always the same: its interval would have no width.
                known = counts.shape[1] > 1 and bool(np.isfinite(low[column]) and np.isfinite(high[column]))
                limits = (float(low[column]), float(high[column])) if known else (None, None)
                scores[column][name] = Score(float(value[0, column]), *limits)
    return scores


def over_depths(sums: Sums) -> Sums:
    """Add the sums (P, D) of all depths, to (P, 1)."""
    return {name: values.sum(axis=1, keepdims=True) for name, values in sums.items()}


def in_units(name: str, units: str) -> str:
    """The units of a score: those of the field, or 1."""
    return "1" if name in (*RATIOS, "spread_skill") else units


def verdict(score: Score) -> str:
    """What the interval of a ratio to a reference says: better, worse, no difference, or no interval."""
    if score.low is None or score.high is None:
        return "no interval"
    if score.high < 1:
        return "better"
    return "worse" if score.low > 1 else "no difference that these patches can show"


def concatenate(parts: Sequence[Sums]) -> Sums:
    """Sums of several batches joined along patches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
