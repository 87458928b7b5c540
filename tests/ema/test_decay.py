"""Decays in closed form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.ema.decay import (
    decays_around,
    half_life,
    horizon,
    planned_updates,
    rounded_decay,
    suited_decay,
    warmup_decay,
)


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


@given(decay=st.floats(0.01, 1 - 1e-9), factor=st.floats(0.5, 2))
def test_the_half_life_is_multiplied_by_each_factor(decay: float, factor: float) -> None:
    for around in decays_around(decay, [factor]) or [decay]:
        assert 1 - around == pytest.approx(1 - decay ** (1 / factor), rel=0.06)


@given(decay=st.floats(0, 1 - 1e-12))
def test_a_rounded_decay_keeps_two_digits_of_what_an_update_takes_in(decay: float) -> None:
    assert 1 - rounded_decay(decay) == pytest.approx(1 - decay, rel=0.051)


def test_rounded_decays_are_short() -> None:
    assert [rounded_decay(decay) for decay in (0.98333333, 0.999874321, 0.5, 1.0)] == [
        0.983,
        0.99987,
        0.5,
        1.0,
    ]


def test_the_suited_decay_takes_any_share_of_the_run() -> None:
    assert [suited_decay(1000, share) for share in (0.01, 0.1, 1)] == [0.9, 0.99, 0.999]
    with pytest.raises(ValueError, match=r"0 < share <= 1, got 2; set model.ema.decay.share="):
        suited_decay(1000, 2)


def test_planned_updates_leave_out_the_steps_before_the_start_and_between_updates() -> None:
    assert planned_updates(600) == 600
    assert planned_updates(600, start_step=100, apply_every_n_steps=5) == 100


@pytest.mark.parametrize("max_steps", [-1, 100, None])
def test_the_error_about_a_run_without_a_planned_length_says_what_to_set(max_steps: int | None) -> None:
    with pytest.raises(
        ValueError, match=rf"trainer.max_steps={max_steps} .*model.ema.decay.planned_updates="
    ):
        planned_updates(max_steps, start_step=100)  # type: ignore[arg-type]


@given(updates=st.integers(200, 10**7))
def test_each_decay_around_the_suited_one_has_twice_the_half_life_of_the_one_below(updates: int) -> None:
    main = suited_decay(updates)
    lives = [half_life(decay) for decay in sorted([main, *decays_around(main)])]
    assert [life / updates for life in lives] == pytest.approx(
        [0.0173, 0.0347, 0.0693, 0.139, 0.277], rel=0.11
    )
    for factor, life in zip((0.25, 0.5, 1, 2, 4), lives, strict=True):
        assert life == pytest.approx(factor * lives[2], rel=0.06)


def test_decays_around_a_known_decay() -> None:
    assert decays_around(0.99) == [0.961, 0.98, 0.995, 0.9975]
    assert decays_around(0.5, factors=[0.5, 2]) == [0.25, 0.71]  # 1/4 and the root of 1/2.


@given(updates=st.integers(1, 10**8))
def test_decays_around_another_are_all_different(updates: int) -> None:
    decays = [suited_decay(updates), *decays_around(suited_decay(updates))]
    assert len(set(decays)) == len(decays) == 5


@pytest.mark.parametrize(
    ("decay", "factors", "words"),
    [
        (1.0, [2], "0 < decay < 1, got 1.0"),
        ("width_0.1", [2], "got 'width_0.1'"),
        (0.0, [2], "got 0.0"),
        (0.9, [0], r"got \[0\]; set model.ema.extra"),
    ],
)
def test_decays_without_a_half_life_and_factors_of_zero_are_refused(
    decay: float, factors: list[float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        decays_around(decay, factors)
