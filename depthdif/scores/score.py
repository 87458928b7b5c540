"""Scores from sums over patches, each with its bootstrap interval over patches (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Sums = Mapping[str, Array]

# Score over the sum that it divides by that of the reference.
RATIOS = {"rmse_ratio": "rmse", "crps_ratio": "crps"}
# At the end of the name of a score in which a cell counts by its area and the thickness of its layer.
WEIGHTED = "_weighted"
# Scores in other units than those of the field.
UNITS = {
    **dict.fromkeys(
        (*RATIOS, "spread_skill", "gradient_ratio", "small_scale_power", "resolution_ratio", "density_inversions"), "1"
    ),
    "resolution": "km",
}


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
        sums: `count` of cells; sums over them of `error`, its `square` and `absolute` value, and `crps`; and, for a forecast
            with a spread, of `variance`, the squared error that it predicts. Also, over cells of their own, the squared
            gradients of the estimate, `gradient`, and of the truth, `truth_gradient`.

    Returns:
        `rmse`, `bias` (estimate minus truth), `mae` and `crps`, in units of the field, and, where there is a spread,
        `spread_skill`: root mean predicted variance over RMSE, 1 for a reliable forecast, below 1 for an overconfident one.
        With gradients `gradient_ratio`: their root mean square over that of the truth.
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
    if "gradient" in sums:
        steepness = np.where(sums["truth_gradient"] > 0, sums["truth_gradient"], np.nan)
        scores["gradient_ratio"] = np.sqrt(sums["gradient"] / steepness)
    return scores


def resample_counts(patches: int, samples: int, seed: int) -> Array:
    """(S, P): how often each patch is drawn in each of S resamples of P patches with replacement.

    A resampled sum over patches is `counts @ sums`. Methods that share the counts are resampled in pairs, which narrows the
    interval of their ratio. `scipy.stats.bootstrap` draws anew for each statistic, and gathers the patches of each resample.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(patches, np.full(patches, 1 / patches), size=samples).astype(np.float64)


def percentile_interval(resampled: Array) -> tuple[Array, Array]:
    """Limits of the central 95 % of (S, ...) resampled scores; NaN where any of them is undefined."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return low, high


def scores_with_intervals(sums: Sums, reference: Sums | None, counts: Array) -> list[Scores]:
    """Scores of each of K columns of sums (P, K) over P patches, with 95 % intervals; undefined scores are left out.

    The ratios divide by the `reference`, if any. `counts` (S, P) are those of `resample_counts`, the same for the method and its
    reference: their ratios are paired.
    """

    def over_patches(weights: Array) -> dict[str, Array]:
        method, *divisors = (
            scores_from_sums({name: weights @ values for name, values in part.items()})
            for part in (sums, reference)
            if part is not None
        )
        for divisor in divisors:
            for name, score in RATIOS.items():
                method[name] = method[score] / np.where(divisor[score] > 0, divisor[score], np.nan)
        return method

    patches = counts.shape[1]
    return scores_of_columns(over_patches(np.ones((1, patches))), over_patches(counts), patches)


def scores_of_columns(
    values: Mapping[str, Array], resampled: Mapping[str, Array], patches: int
) -> list[Scores]:
    """Scores of each of K columns with their intervals, from the values (1, K) over all patches and (S, K) of the resamples.

    What is undefined is left out.
    """
    scores: list[Scores] = [{} for _ in next(iter(values.values()))[0]]
    for name, (of_columns,) in values.items():
        limits = np.transpose(percentile_interval(resampled[name]))
        for column, (value, interval) in enumerate(zip(of_columns, limits, strict=True)):
            if np.isfinite(value):
                # The resamples of a single patch are all the same: their interval has no width.
                known = patches > 1 and np.isfinite(interval).all()
                scores[column][name] = Score(float(value), *(map(float, interval) if known else ()))
    return scores


def over_depths(sums: Sums) -> Sums:
    """Add the sums (P, D) of all depths, to (P, 1)."""
    return {name: values.sum(axis=1, keepdims=True) for name, values in sums.items()}


def in_units(name: str, units: str) -> str:
    """The units of a score: those of the field, km, or 1."""
    return UNITS.get(name.removesuffix(WEIGHTED), units)


def verdict(score: Score, resampled: str = "patches") -> str:
    """Conclusion from the interval of a ratio to a reference over what was `resampled`: better, worse, none, or no interval."""
    if score.low is None or score.high is None:
        return "no interval"
    if score.high < 1:
        return "better"
    return "worse" if score.low > 1 else f"no difference that these {resampled} can show"


def concatenate(parts: Sequence[Sums]) -> Sums:
    """Sums of several batches joined along patches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
