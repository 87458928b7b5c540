"""Scores of probabilistic forecasts: CRPS of a Gaussian and of an ensemble, ranks, spread against error."""

from __future__ import annotations

import numpy as np
import scoringrules
from numpy.typing import NDArray

Array = NDArray[np.floating]


def gaussian_crps(error: Array, deviation: Array) -> Array:
    """CRPS of Gaussian forecasts, in their units; the absolute error where the deviation is 0.

    Closed form of Gneiting & Raftery (2007, doi 10.1198/016214506000001437, section 4.2). `error` is truth minus mean, or mean
    minus truth, and `deviation` the standard deviation of the forecast, of the same shape; the result is float64.
    """
    error, deviation = np.asarray(error, np.float64), np.asarray(deviation, np.float64)
    has_spread = deviation > 0
    score = scoringrules.crps_normal(error, 0.0, np.where(has_spread, deviation, 1.0), backend="numpy")
    return np.where(has_spread, score, np.abs(error))


def fair_crps(members: Array, truth: Array) -> Array:
    """Unbiased estimate of the CRPS of the distribution that the members are drawn from, in their units.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 E (E - 1)): the fair CRPS of Ferro (2014, doi 10.1002/qj.2270), equation 8 of Zamo &
    Naveau (2018, doi 10.1007/s11004-017-9709-7). Its expectation does not depend on the size of the ensemble, so that it
    compares with a closed form; an estimate for one cell can be negative. (B, E, ...) and (B, ...) to (B, ...) float64.

    Raises:
        ValueError: a single member, which has no spread to estimate.
    """
    if members.shape[1] < 2:
        raise ValueError("the fair CRPS needs at least 2 members; the ensemble has 1")
    # By probability-weighted moments: the same number as the estimator "fair", without an array of all pairs.
    return scoringrules.crps_ensemble(
        truth.astype(np.float64), members.astype(np.float64), m_axis=1, estimator="pwm", backend="numpy"
    )


def predictive_variance(members: Array) -> Array:
    """Squared error that the ensemble mean should have: (E + 1) / E times the unbiased variance of the E members.

    The factor counts the error of a mean of E members (Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1, equation 15), so that the
    ratio of spread to error is 1 for a reliable ensemble of any size. (B, E, ...), E at least 2, to (B, ...).
    """
    size = members.shape[1]
    return (size + 1) / size * members.var(axis=1, ddof=1, dtype=np.float64)


def ensemble_ranks(members: Array, truth: Array, generator: np.random.Generator) -> NDArray[np.integer]:
    """Number of members below the truth, 0 to E; ties are broken at random, so that discrete values have uniform ranks.

    Uniform where truth and members are exchangeable (Hamill 2001, doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2).
    (B, E, ...) and (B, ...) to (B, ...).
    """
    below = (members < truth[:, None]).sum(axis=1)
    ties = (members == truth[:, None]).sum(axis=1)
    return below + generator.integers(0, ties + 1)


def sums_by_spread(variance: Array, square: Array, edges: Array) -> Array:
    """(N, 3): number, summed variance and summed squared error of the cells in each of N bins of spread.

    `variance` and `square` are flat, `edges` (N + 1,) ascending spreads; values beyond them enter the outermost bins.
    """
    bins = np.clip(np.searchsorted(edges, np.sqrt(variance), side="right") - 1, 0, len(edges) - 2)
    weights = (None, variance, square)
    return np.stack([np.bincount(bins, weight, minlength=len(edges) - 1) for weight in weights], axis=-1)


def spread_and_error(sums: Array, groups: int) -> tuple[Array, Array]:
    """Root mean predicted variance and RMSE in at most `groups` bins of about as many cells each.

    `sums` (N, 3) are those of `sums_by_spread`; a reliable forecast has both equal in every bin (Leutbecher & Palmer 2008,
    doi 10.1016/j.jcp.2007.02.014, section 2).
    """
    count = sums[:, 0]
    middle = np.cumsum(count) - count / 2
    group = np.minimum(middle * groups // max(count.sum(), 1), groups - 1).astype(int)
    merged = np.stack([np.bincount(group, column, minlength=groups) for column in sums.T], axis=-1)
    merged = merged[merged[:, 0] > 0]
    return np.sqrt(merged[:, 1] / merged[:, 0]), np.sqrt(merged[:, 2] / merged[:, 0])
