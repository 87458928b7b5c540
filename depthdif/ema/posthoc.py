"""Any average out of snapshots of power-function averages: the combination whose profile is closest to the one wanted.

After Karras et al. 2024 (arXiv:2312.02696), appendix C, derived anew. Pure float64 NumPy; numbers (P6) to (P9) are those
of `docs/ema.md`, time and profiles those of `power.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from depthdif.ema.law import Decay, PowerDecay
from depthdif.ema.power import Array, inner_product

# Beyond this the solution of the normal equations keeps fewer than four digits of float64.
WORST_CONDITION = 1e12


class Combination(NamedTuple):
    """A weighted sum of snapshots.

    Attributes:
        coefficients: one for each snapshot; their sum is 1.
        fit_error: (P7), distance of the profile from the one wanted, over the norm of that: 0 is exact.
    """

    coefficients: Array
    fit_error: float


def closest_combination(
    decay: Decay, t: float, held: Sequence[PowerDecay], times: Sequence[float]
) -> Combination:
    """The combination of snapshots that is closest to the average of `decay` at time `t`.

    Least squares over profiles: with Gram matrix A of the snapshots (P5) and b their inner products with the profile wanted,
    the coefficients x minimise x.A x - 2 b.x under sum(x) = 1 (P6). The condition is ours: without it the sum misses 1 by a
    little, and that little scales all weights, which matters more than the shape of the profile.

    Args:
        decay: law of the average wanted; a constant decay stands for its profile without the initial weights (P8).
        t: its time, in updates.
        held: law of each snapshot.
        times: time of each snapshot, in updates.

    Raises:
        ValueError: there are no snapshots, or they are too much alike to be told apart.
    """
    if not len(held):
        raise ValueError("expected snapshots of power-function averages, got none")
    gammas, at = np.array([law.gamma for law in held]), np.array(times, np.float64)
    gram = inner_product(gammas[:, None], at[:, None], gammas, at)
    scale = 1 / np.sqrt(np.diag(gram))
    correlations = scale[:, None] * gram * scale
    condition = np.linalg.cond(correlations)
    if not condition < WORST_CONDITION:
        raise ValueError(
            f"{len(times)} profiles at {len(set(times))} times are too much alike to be combined (condition number "
            f"{condition:.0e}, at most {WORST_CONDITION:.0e}); track widths that differ more, such as 0.05 and 0.10"
        )
    wanted = inner_products(decay, t, gammas, at)
    # Two solutions of the normal equations: for the profile wanted, and for the multiplier of the condition.
    solved = scale * np.linalg.solve(correlations, np.stack([scale * wanted, scale], axis=1)).T
    free, of_condition = solved
    coefficients = free + of_condition * (1 - free.sum()) / of_condition.sum()
    squared_norm = squared_norm_of(decay, t)
    squared_error = squared_norm - 2 * coefficients @ wanted + coefficients @ gram @ coefficients
    return Combination(coefficients, math.sqrt(max(squared_error / squared_norm, 0.0)))


def inner_products(decay: Decay, t: float, gammas: Array, times: Array) -> Array:
    """Integrals of the profile of `decay` at time `t` times each power-function profile; `times` are at most `t`.

    (P5) for a power function. For a constant decay, with rate r = -ln(decay) and u = tau / s, (P8) gives
    r exp(-r (t - s)) / (1 - exp(-r t)) times the integral of (gamma + 1) u^gamma exp(-r s (1 - u)) over u from 0 to 1, and
    that is the mean of (gamma + 1) / (gamma + 1 + k) over a Poisson variable k of mean r s: a sum of positive terms.
    """
    if isinstance(decay, PowerDecay):
        return inner_product(decay.gamma, t, gammas, times)
    rate = -math.log(decay)
    means = [poisson_mean(gamma, rate * s) for gamma, s in zip(gammas, times, strict=True)]
    return rate * np.exp(-rate * (t - times)) / -math.expm1(-rate * t) * np.array(means)


def squared_norm_of(decay: Decay, t: float) -> float:
    """Integral of the squared profile of `decay` at time `t`: (P5), or (P9) r / 2 * coth(r t / 2)."""
    if isinstance(decay, PowerDecay):
        return float(inner_product(decay.gamma, t, decay.gamma, t))
    rate = -math.log(decay)
    return rate / 2 / math.tanh(rate * t / 2)


def constant_profile(decay: float, t: float, tau: ArrayLike) -> Array:
    """(P8) Weight of time tau in the average of a constant decay, r = -ln(decay): r exp(-r (t - tau)) / (1 - exp(-r t)).

    Its integral over update i is the weight of that update, (1 - decay) decay^(t - i), over 1 - decay^t, the share of all
    updates. The rest, decay^t, is the share of the initial weights, and left out.
    """
    rate, tau = -math.log(decay), np.asarray(tau, np.float64)
    return np.where(tau <= t, rate * np.exp(-rate * np.maximum(t - tau, 0)) / -math.expm1(-rate * t), 0.0)


def width_of_constant(decay: float, t: float) -> float:
    """Relative width of (P8): with a = -t ln(decay), (1 / a^2 - 1 / (4 sinh(a / 2)^2))^(1/2).

    The standard deviation of an exponential cut at t, over t.
    """
    a = -t * math.log(decay)
    if a < 1e-2:  # the two terms cancel: the series around a plain mean
        return math.sqrt(1 / 12 - a**2 / 240)
    return math.sqrt(1 / a**2 - (0.25 / math.sinh(a / 2) ** 2 if a < 700 else 0.0))


def poisson_mean(gamma: float, mean: float) -> float:
    """Mean of (gamma + 1) / (gamma + 1 + k) over a Poisson variable k."""
    spread = 12 * math.sqrt(mean) + 40
    k = np.arange(max(0, math.floor(mean - spread)), math.ceil(mean + spread) + 1, dtype=np.float64)
    # Probabilities over that of the first k, from the ratio mean / k of each to the one before.
    logarithm = np.concatenate([[0.0], np.cumsum(math.log(mean) - np.log(k[1:]))])
    probability = np.exp(logarithm - logarithm.max())
    return float((gamma + 1) * np.sum(probability / (gamma + 1 + k)) / probability.sum())
