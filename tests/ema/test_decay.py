"""The laws of the decay in closed form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.ema.decay import half_life, horizon, suited_decay, warmup_decay


@given(decay=st.floats(0, 0.99999), updates=st.integers(0, 10**7))
def test_warmup_rises_from_a_tenth_to_the_decay_and_never_above(decay: float, updates: int) -> None:
    assert warmup_decay(decay, 0) == min(decay, 0.1)
    assert warmup_decay(decay, updates) <= warmup_decay(decay, updates + 1) <= decay
    assert warmup_decay(decay, 10**9) == decay


def test_horizon_and_half_life_of_known_decays() -> None:
    assert horizon(0.99) == pytest.approx(100)
    assert half_life(0.5) == pytest.approx(1)
    assert half_life(0.9999) == pytest.approx(6931.1, rel=1e-5)
    assert half_life(0.0) == 0
    assert horizon(1.0) == half_life(1.0) == float("inf")


@given(decay=st.floats(0.01, 0.9999))
def test_a_weight_counts_half_after_the_half_life(decay: float) -> None:
    assert decay ** half_life(decay) == pytest.approx(0.5)


@given(steps=st.integers(20, 10**7))
def test_the_suited_decay_reaches_over_a_tenth_of_the_run(steps: int) -> None:
    assert horizon(suited_decay(steps)) == pytest.approx(steps / 10, rel=0.06)


def test_suited_decays_are_round_numbers() -> None:
    assert [suited_decay(steps) for steps in (4, 20, 600, 1000, 100_000)] == [0.5, 0.5, 0.983, 0.99, 0.9999]


def test_a_run_without_steps_has_no_suited_decay() -> None:
    with pytest.raises(ValueError, match="expected a positive number of steps, got 0"):
        suited_decay(0)
