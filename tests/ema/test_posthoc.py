"""Averages from snapshots: closed forms against quadrature, least squares against what it must recover."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from depthdif.ema.decay import WIDEST, PowerDecay
from depthdif.ema.posthoc import (
    closest_combination,
    inner_products,
    squared_norm,
    width_of_constant,
)

TRACKED = (PowerDecay(0.05), PowerDecay(0.1))
Quadrature = Callable[[float], tuple[np.ndarray, np.ndarray]]
decays = st.floats(0.5, 0.99999)


def profile(gamma: float, t: float, tau: np.ndarray) -> np.ndarray:
    """(P2) of docs/ema.md, and 0 beyond t."""
    return np.where(tau <= t, (gamma + 1) / t * (np.minimum(tau, t) / t) ** gamma, 0.0)


def constant_profile(decay: float, t: float, tau: np.ndarray) -> np.ndarray:
    """(P8) of docs/ema.md, and 0 beyond t."""
    rate = -math.log(decay)
    return np.where(tau <= t, rate * np.exp(-rate * np.maximum(t - tau, 0)) / -math.expm1(-rate * t), 0.0)


def tracked(times: list[float]) -> tuple[list[PowerDecay], list[float]]:
    return [power for _ in times for power in TRACKED], [t for t in times for _ in TRACKED]


def weights_of(decay: float | PowerDecay, t: int, until: int) -> np.ndarray:
    """Weight of each of `until` updates in an average at time `t`, from its running update."""
    steps = np.arange(until)
    if isinstance(decay, PowerDecay):
        return np.diff(np.minimum(np.arange(until + 1) / t, 1) ** (decay.gamma + 1))
    return np.where(steps < t, (1 - decay) * decay ** (t - 1 - steps), 0) / (1 - decay**t)


@given(decay=decays, t=st.floats(2, 1e5), ratio=st.floats(0.05, 1), gamma=st.floats(0, 50))
def test_products_of_an_exponential_and_a_power_equal_quadrature(
    quadrature: Quadrature, decay: float, t: float, ratio: float, gamma: float
) -> None:
    earlier = ratio * t
    tau, weight = quadrature(earlier)
    expected = float((constant_profile(decay, t, tau) * profile(gamma, earlier, tau)) @ weight)
    combination = inner_products(decay, t, np.array([gamma]), np.array([earlier]))[0]
    assert combination * t == pytest.approx(expected * t, rel=1e-7, abs=1e-12)


@given(decay=decays, t=st.floats(2, 1e5))
def test_norm_and_width_of_an_exponential_equal_quadrature(
    quadrature: Quadrature, decay: float, t: float
) -> None:
    tau, weight = quadrature(t)
    weights = constant_profile(decay, t, tau)
    mean = weights * tau @ weight
    assert weights @ weight == pytest.approx(1, rel=1e-9)
    assert weights**2 @ weight == pytest.approx(squared_norm(decay, t), rel=1e-9)
    spread = math.sqrt(weights * (tau - mean) ** 2 @ weight)
    assert width_of_constant(decay, t) == pytest.approx(spread / t, rel=1e-4)


def test_an_exponential_longer_than_the_run_is_a_plain_mean() -> None:
    assert width_of_constant(1 - 1e-9, 1000) == pytest.approx(WIDEST, rel=1e-6)
    assert width_of_constant(0.5, 1e6) == pytest.approx(1e-6 / math.log(2))


def test_the_integral_of_an_exponential_over_an_update_is_the_weight_of_that_update(
    quadrature: Quadrature,
) -> None:
    decay, t = 0.9, 30
    tau = (np.arange(30)[:, None] + quadrature(1)[0]).ravel()
    by_update = constant_profile(decay, t, tau).reshape(30, -1) @ quadrature(1)[1]
    assert by_update == pytest.approx(weights_of(decay, t, t), rel=1e-12)


@given(width=st.floats(0.01, WIDEST), number=st.integers(1, 40), spacing=st.floats(1, 1e5))
def test_coefficients_sum_to_one_for_any_width(width: float, number: int, spacing: float) -> None:
    times = [spacing * (i + 1) for i in range(number)]
    combination = closest_combination(PowerDecay(width), times[-1], *tracked(times))
    assert combination.coefficients.sum() == pytest.approx(1, abs=1e-9)
    assert combination.fit_error >= 0


@given(which=st.integers(0, 1), number=st.integers(1, 40), spacing=st.floats(1, 1e5))
def test_a_tracked_width_is_recovered_exactly(which: int, number: int, spacing: float) -> None:
    times = [spacing * (i + 1) for i in range(number)]
    combination = closest_combination(TRACKED[which], times[-1], *tracked(times))
    assert combination.coefficients == pytest.approx(np.eye(2 * number)[2 * number - 2 + which], abs=1e-9)
    assert combination.fit_error < 1e-6


@given(
    seed=st.integers(0, 2**32 - 1),
    decay=st.one_of(st.floats(0.9, 0.99), st.floats(0.03, 0.2).map(PowerDecay)),
)
def test_the_fit_is_least_among_combinations_that_sum_to_one(
    quadrature: Quadrature, seed: int, decay: float | PowerDecay
) -> None:
    times = [50.0 * (i + 1) for i in range(8)]
    powers, at = tracked(times)
    combination = closest_combination(decay, times[-1], powers, at)
    step = np.random.default_rng(seed).normal(size=len(at))
    step -= step.mean()
    tau, weight = quadrature(times[-1])
    profiles = np.array([profile(power.gamma, t, tau) for power, t in zip(powers, at, strict=True)])
    target = (
        profile(decay.gamma, times[-1], tau)
        if isinstance(decay, PowerDecay)
        else constant_profile(decay, times[-1], tau)
    )

    def error(coefficients: np.ndarray) -> float:
        return math.sqrt((coefficients @ profiles - target) ** 2 @ weight / (target**2 @ weight))

    assert error(combination.coefficients) == pytest.approx(combination.fit_error, rel=0.03, abs=1e-6)
    assert error(combination.coefficients) <= error(combination.coefficients + 1e-2 * step) + 1e-6


@given(width=st.floats(0.04, 0.15))
def test_more_snapshots_fit_better(width: float) -> None:
    assume(min(abs(width - power.width) for power in TRACKED) > 1e-3)
    errors = [
        closest_combination(
            PowerDecay(width), 640.0, *tracked(list(np.arange(1, n + 1) * 640.0 / n))
        ).fit_error
        for n in (4, 8, 16, 32)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


@pytest.mark.parametrize("decay", [PowerDecay(0.03), PowerDecay(0.07), PowerDecay(0.2), 0.95, 0.98])
def test_an_average_of_a_random_walk_is_rebuilt_from_its_snapshots(decay: float | PowerDecay) -> None:
    steps, every = 640, 20
    walk = 5 + np.cumsum(np.random.default_rng(0).normal(size=steps)) / 100
    snapshots = [
        weights_of(power, t, steps) @ walk for t in range(every, steps + 1, every) for power in TRACKED
    ]
    combination = closest_combination(
        decay, steps, *tracked([float(t) for t in range(every, steps + 1, every)])
    )
    assert combination.coefficients @ snapshots == pytest.approx(
        weights_of(decay, steps, steps) @ walk, rel=1e-4
    )


def test_snapshots_that_are_too_similar_raise() -> None:
    with pytest.raises(ValueError, match="2 profiles at 1 times are too much alike"):
        closest_combination(PowerDecay(0.07), 100, [PowerDecay(0.05), PowerDecay(0.05 + 1e-9)], [100, 100])
    with pytest.raises(ValueError, match="got none"):
        closest_combination(PowerDecay(0.07), 100, [], [])
