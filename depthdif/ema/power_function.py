"""Power-function averages of the weights, after Karras et al. 2024 (arXiv:2312.02696), section 3 and appendix C.

Pure float64 functions of numbers, derived anew from the mathematics. Numbers (P1) to (P5) are those of `docs/ema.md`. Time
t counts the updates of an average; the weights after update i hold from i - 1 to i. With that, the averages that training
keeps step by step are the integrals below, exactly:

    average(t) = integral over tau from 0 to t of profile(tau) * weights(tau)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# A plain mean of the whole run, gamma = 0. Wider would weigh the beginning of a run more than its end.
WIDEST = 1 / math.sqrt(12)


def update_decay(gamma: float, t: float) -> float:
    """(P1) Share of the old average that update t keeps, t = 1, 2, ...: (1 - 1/t)^(gamma + 1).

    0 at t = 1: nothing of the initial weights stays in a power-function average.
    """
    return (1 - 1 / t) ** (gamma + 1)


def profile(gamma: float, t: float, tau: ArrayLike) -> Array:
    """(P2) Weight of time tau in the average at time t: (gamma + 1) tau^gamma / t^(gamma + 1), and 0 beyond t."""
    tau = np.asarray(tau, np.float64)
    return np.where(tau <= t, (gamma + 1) / t * (np.minimum(tau, t) / t) ** gamma, 0.0)


def width_of(gamma: float) -> float:
    """(P3) Relative width: the standard deviation of the profile over t.

    (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2)
    """
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def gamma_of(width: float) -> float:
    """(P4) The exponent of a relative width: largest root of (P3) squared, a cubic in gamma.

    gamma^3 + 7 gamma^2 + (16 - width^-2) gamma + 12 - width^-2 = 0

    Raises:
        ValueError: not 0 < width <= 12^(-1/2) = 0.2887, the widest that does not weigh the beginning more than the end.
    """
    if not 0 < width <= WIDEST:
        raise ValueError(f"expected a relative width above 0 and at most {WIDEST:.4f}, got {width}")
    inverse = width**-2
    roots = np.roots([1.0, 7.0, 16 - inverse, 12 - inverse])
    return max(float(roots.real.max()), 0.0)


def inner_product(gamma_a: ArrayLike, t_a: ArrayLike, gamma_b: ArrayLike, t_b: ArrayLike) -> Array:
    """(P5) Integral of the product of two profiles, in closed form; arrays broadcast.

    With s the earlier of the two times, t the later one, and gamma_t the exponent that belongs to t:
    (gamma_a + 1) (gamma_b + 1) / (gamma_a + gamma_b + 1) * (s / t)^gamma_t / t. The ratio of times is
    taken in logarithms: it underflows to 0, as it should, and nothing overflows.
    """
    a, b = np.asarray(gamma_a, np.float64), np.asarray(gamma_b, np.float64)
    s, t = np.minimum(t_a, t_b).astype(np.float64), np.maximum(t_a, t_b).astype(np.float64)
    gamma_t = np.where(np.asarray(t_a) >= np.asarray(t_b), a, b)
    return (a + 1) * (b + 1) / (a + b + 1) * np.exp(gamma_t * (np.log(s) - np.log(t)) - np.log(t))
