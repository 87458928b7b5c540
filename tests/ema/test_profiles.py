"""Profiles of power-function averages: closed forms against quadrature, and the running update against its integral."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.ema.decay import WIDEST, PowerDecay, effective_decay
from depthdif.ema.posthoc import inner_product

gammas = st.floats(0, 60)
times = st.floats(1, 1e6)


Quadrature = Callable[[float], tuple[np.ndarray, np.ndarray]]


def profile(gamma: float, t: float, tau: np.ndarray) -> np.ndarray:
    """(P2) of docs/ema.md, and 0 beyond t."""
    return np.where(tau <= t, (gamma + 1) / t * (np.minimum(tau, t) / t) ** gamma, 0.0)


def width_of(gamma: float) -> float:
    """(P3) of docs/ema.md."""
    return ((gamma + 1) / (gamma + 3)) ** 0.5 / (gamma + 2)


@given(gamma=gammas, t=times)
def test_the_weights_of_a_profile_sum_to_one_and_spread_by_its_width(
    quadrature: Quadrature, gamma: float, t: float
) -> None:
    tau, dtau = quadrature(t)
    weights = profile(gamma, t, tau)
    mean = weights * tau @ dtau
    assert weights @ dtau == pytest.approx(1, rel=1e-7)
    assert mean == pytest.approx((gamma + 1) / (gamma + 2) * t, rel=1e-7)
    assert (weights * (tau - mean) ** 2 @ dtau) ** 0.5 / t == pytest.approx(width_of(gamma), rel=1e-6)


@given(width=st.floats(1e-5, WIDEST))
def test_width_and_exponent_are_inverse(width: float) -> None:
    assert width_of(PowerDecay(width).gamma) == pytest.approx(width, rel=1e-9)


def test_exponents_of_known_widths() -> None:
    # Karras et al. 2024, section 3: 0.05 and 0.10 belong to 16.97 and 6.94.
    assert PowerDecay(0.05).gamma == pytest.approx(16.97, abs=0.005)
    assert PowerDecay(0.10).gamma == pytest.approx(6.94, abs=0.005)
    assert PowerDecay(WIDEST).gamma == pytest.approx(0, abs=1e-12)
    assert width_of(0) == pytest.approx(WIDEST) == pytest.approx(12**-0.5)


@given(width=st.floats(0.015, WIDEST), steps=st.integers(1, 300))
def test_the_running_update_is_the_integral_of_the_profile_over_each_step(width: float, steps: int) -> None:
    decay = PowerDecay(width)
    weights = np.zeros(0)
    for t in range(1, steps + 1):
        keep = effective_decay(decay, t - 1)
        weights = np.append(weights * keep, 1 - keep)
    cumulative = (np.arange(steps + 1) / steps) ** (decay.gamma + 1)
    assert weights == pytest.approx(np.diff(cumulative), abs=1e-12)


@given(one=gammas, other=gammas, t=times, ratio=st.floats(0.01, 1))
def test_inner_products_equal_quadrature(
    quadrature: Quadrature, one: float, other: float, t: float, ratio: float
) -> None:
    earlier = ratio * t
    tau, dtau = quadrature(earlier)
    expected = profile(one, earlier, tau) * profile(other, t, tau) @ dtau
    assert inner_product(one, earlier, other, t) * t == pytest.approx(expected * t, rel=1e-7, abs=1e-12)
    assert inner_product(other, t, one, earlier) == inner_product(one, earlier, other, t)


@given(one=gammas, other=gammas, t=times, scale=st.floats(1e-3, 1e3))
def test_inner_products_scale_inversely_with_time_and_keep_cauchy_and_schwarz(
    one: float, other: float, t: float, scale: float
) -> None:
    product = inner_product(one, t, other, 2 * t)
    assert inner_product(one, scale * t, other, 2 * scale * t) == pytest.approx(product / scale, rel=1e-9)
    assert product**2 <= inner_product(one, t, one, t) * inner_product(other, 2 * t, other, 2 * t)


def test_times_that_are_far_apart_neither_overflow_nor_become_undefined() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert inner_product(2000.0, 1e12, 3000.0, 1.0) == 0
        assert inner_product(0.0, 1e300, 5000.0, 1e-300) == pytest.approx(1e-300)
        assert np.isfinite(inner_product(np.array([1e4, 0.0])[:, None], 1e9, 1e4, 1e9)).all()
