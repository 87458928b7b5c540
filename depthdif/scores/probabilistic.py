"""How good the probabilities of a forecast are: CRPS and ranks of an ensemble, spread against error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def fair_crps(members: Array, truth: Array) -> Array:
    """Unbiased estimate of the CRPS of the distribution that the members are drawn from, in their units.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 E (E - 1)): the fair CRPS of Ferro (2014, doi 10.1002/qj.2270), equation 8 of Zamo &
    Naveau (2018, doi 10.1007/s11004-017-9709-7). It does not depend on the size of the ensemble in expectation, so that it
    compares with a closed form; an estimate for one cell can be negative.

    Args:
        members: (B, E, ...), E at least 2.
        truth: (B, ...).

    Raises:
        ValueError: a single member, which has no spread to estimate.
    """
    size = members.shape[1]
    if size < 2:
        raise ValueError("the fair CRPS needs at least 2 members, found 1: type ensemble_size=8")
    distance = np.abs(members - truth[:, None]).mean(axis=1, dtype=np.float64)
    # Of sorted members, x_(i) enters the sum over all pairs 2 (2 i - E + 1) times, i from 0.
    weights = np.arange(size) * 2.0 - size + 1
    return distance - np.einsum("be...,e->b...", np.sort(members, axis=1), weights) / (size * (size - 1))


def predictive_variance(members: Array) -> Array:
    """Squared error that the ensemble mean should have: (E + 1) / E times the unbiased variance of the E members.

    The factor counts the error of a mean of E members (Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1, equation 15), so that the
    ratio of spread to error is 1 for a reliable ensemble of any size. (B, E, ...), E at least 2, to (B, ...).
    """
    size = members.shape[1]
    return (size + 1) / size * members.var(axis=1, ddof=1, dtype=np.float64)


def ensemble_ranks(members: Array, truth: Array, generator: np.random.Generator) -> NDArray[np.integer]:
    """Number of members below the truth, 0 to E; a tie is decided by lot, or discrete values would look under-dispersive.

    Uniform where truth and members are exchangeable (Hamill 2001, doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2).
    (B, E, ...) and (B, ...) to (B, ...).
    """
    below = (members < truth[:, None]).sum(axis=1)
    ties = (members == truth[:, None]).sum(axis=1)
    return below + generator.integers(0, ties + 1)


def sums_by_spread(variance: Array, square: Array, edges: Array) -> Array:
    """(N, 3): number, summed variance and summed squared error of the cells in each of N bins of spread.

    `variance` and `square` are flat, `edges` (N + 1,) ascending spreads; what lies beyond them enters the outermost bins.
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
