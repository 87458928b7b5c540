"""Rules 2 to 6 of docs/sweeps.md, each on series of known truth."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.comparison import rules
from depthdif.comparison.rules import (
    bounded,
    competitive,
    not_too_high,
    not_too_low,
    results,
    retained,
    settled_step,
    spikes,
    updates_until,
)
from depthdif.comparison.run import Run, Variant

RULES = Path(__file__).resolve().parents[2] / "docs" / "sweeps.md"
STEPS = (100, 200, 300, 400, 500, 600)
NAN = float("nan")
ReadMade = Callable[..., Run]


def constant(value: float) -> dict[int, float]:
    return dict.fromkeys(STEPS, value)


def times(factor: float, series: dict[int, float]) -> dict[int, float]:
    return {step: factor * value for step, value in series.items()}


def test_every_rule_has_its_number_and_its_limits_in_the_documentation(read_made: ReadMade) -> None:
    text = RULES.read_text(encoding="utf-8")
    section = text[text.index("## Rules of comparison") :]
    numbered = dict(re.findall(r"^(\d)\. (.*?)(?=^\d\. |\Z)", section, re.MULTILINE | re.DOTALL))
    assert list(numbered) == list("1234567")
    run = read_made()
    assert [result.rule for result in results(run, run.averages[0])] == [2, 3, 4, 5, 6]
    limits = {
        "2": (f"{1 - rules.SCORE_TOLERANCE:g}", f"{1 + rules.SCORE_TOLERANCE:g}"),
        "3": (
            f"{rules.SETTLED_HALF_LIVES} half-lives",
            f"{rules.SETTLED_SPAN:g} times",
            f"up to {rules.SMALLEST_GROWTH:g}",
            f"from {rules.UNBOUNDED_GROWTH:g}",
        ),
        "4": (f"{rules.SPIKE:g} times", f"{rules.NEIGHBOURS} validations"),
        "5": (f"{rules.MOST_RETAINED * 100:g} %",),
        "6": (f"{rules.EQUAL_SCORES * 100:g} %", f"{rules.SHORT_SHARE_OF_RUN * 100:g} %"),
        "7": (f"{rules.SCORE_TOLERANCE * 100:g} %",),
    }
    for rule, words in limits.items():
        for word in words:
            assert word in " ".join(numbered[rule].split()), (rule, word)


@pytest.mark.parametrize(
    ("ratio", "answer", "outcome"),
    [(0.5, "ahead", "good"), (0.97, "ahead", "good"), (0.99, "level", "watch"), (1.01, "level", "watch"),
     (1.03, "behind", "bad")],
)  # fmt: skip
def test_rule_2_is_the_ratio_of_late_scores(ratio: float, answer: str, outcome: str) -> None:
    standard = {100: 9.0, 200: 4.0, 300: 3.0, 400: 2.0, 500: 1.5, 600: 1.2}
    # What happened early does not count.
    average = times(ratio, standard) | {100: 100.0}
    result = competitive(standard, average)
    assert (result.answer, result.outcome) == (answer, outcome)
    assert result.numbers["ratio"] == pytest.approx(ratio)
    assert result.numbers["validations"] == 4
    assert f"{ratio:.3f}" in result.explanation


def test_rule_2_takes_the_geometric_mean() -> None:
    result = competitive({100: 1.0, 200: 1.0}, {100: 2.0, 200: 0.5})
    assert result.numbers["ratio"] == pytest.approx(1.0)
    assert (result.answer, result.numbers["wins"]) == ("level", 1)


def test_rule_2_reports_which_weights_diverged() -> None:
    good, broken = constant(1.0), constant(1.0) | {600: NAN}
    assert competitive(good, broken).answer == "not finite"
    assert competitive(broken, good).answer == "ahead"
    assert competitive(broken, broken).answer == "not finite"
    # An early divergence that was overcome does not count.
    assert competitive(good, constant(0.9) | {100: NAN}).answer == "ahead"


@pytest.mark.parametrize("series", [{}, {100: 1.0}, dict.fromkeys(STEPS, 0.0)])
def test_rule_2_is_undecided_without_two_scores(series: dict[int, float]) -> None:
    assert competitive(series, series).outcome == "undecided"


@given(st.floats(-0.5, 1.5), st.floats(1e-6, 1e3))
def test_rule_3_recovers_the_exponent_whatever_the_scale(power: float, scale: float) -> None:
    result = bounded({step: scale * step**power for step in STEPS}, from_step=0)
    assert result.numbers["exponent"] == pytest.approx(power, abs=1e-9)
    if power > 0.51:
        assert result.outcome == "bad"
    elif 0.11 < power < 0.49:
        assert result.outcome == "watch"
    elif power < 0.09:
        assert result.outcome == "good"


def test_rule_3_is_not_moved_by_one_odd_validation() -> None:
    assert bounded(constant(0.01) | {600: 0.1}, 0).answer == "bounded"


def test_rule_3_does_not_count_what_comes_before_the_average_has_settled() -> None:
    grows_at_first = {step: 0.01 * min(step, 300) for step in STEPS}
    assert bounded(grows_at_first, from_step=300).answer == "bounded"
    assert bounded(grows_at_first, from_step=0).outcome != "good"


@pytest.mark.parametrize("from_step", [450, 500, math.inf])
def test_rule_3_is_undecided_when_too_little_is_left(from_step: float) -> None:
    assert bounded(constant(0.01), from_step).outcome == "undecided"
    assert bounded(constant(0.0), 0).outcome == "undecided"
    assert bounded(constant(NAN), 0).outcome == "undecided"


def test_the_average_has_settled_after_three_half_lives_and_the_largest_learning_rate(
    read_made: ReadMade,
) -> None:
    run = read_made(model__ema__start_step=10)
    half_life = math.log(0.5) / math.log(0.99)
    assert settled_step(run, run.averages[0]) == pytest.approx(10 + 3 * half_life)
    warming = dict(run.scalars) | {"lr-AdamW": {100: 1e-4, 400: 1e-3, 600: 1e-5}}
    assert settled_step(with_scalars(run, warming), run.averages[0]) == 400


def with_scalars(run: Run, scalars: dict[str, dict[int, float]]) -> Run:
    return Run(**{**run.__dict__, "scalars": scalars})


def test_rule_4_finds_a_spike_that_the_rms_does_not_explain() -> None:
    result = spikes(constant(0.001) | {400: 0.01}, constant(1e-4), {})
    assert result.outcome == "bad"
    assert (result.numbers["step"], result.numbers["factor"]) == (400, pytest.approx(10))
    assert "400 (10.0 times)" in result.explanation


def test_rule_4_takes_a_move_of_all_weights_and_skipped_updates_for_explanations() -> None:
    spike = constant(0.001) | {400: 0.01}
    moved = spikes(spike, constant(1e-4) | {400: 6e-4}, {})
    assert (moved.outcome, moved.numbers["explained"]) == ("good", 1)
    assert "all weights moved" in moved.explanation
    skipped = spikes(spike, constant(1e-4), {100: 0, 200: 0, 300: 0, 400: 2, 500: 2, 600: 2})
    assert skipped.outcome == "good"
    assert "skipped" in skipped.explanation
    long_ago = spikes(spike, constant(1e-4), dict.fromkeys(STEPS, 2.0))
    assert long_ago.outcome == "bad"


def test_rule_4_does_not_take_steady_growth_for_a_spike() -> None:
    growing = {step: step / 1e5 for step in STEPS}
    assert spikes(growing, times(0.1, growing), {}).answer == "no spikes"


def test_rule_4_finds_a_spike_at_the_end_and_needs_no_rms() -> None:
    assert spikes(constant(1.0) | {600: 5.0}, {}, {}).numbers["step"] == 600


def test_rule_4_is_undecided_for_few_validations() -> None:
    assert spikes({100: 1.0, 200: 1.0, 300: 9.0}, {}, {}).outcome == "undecided"
    assert spikes({}, {}, {}).outcome == "undecided"


@given(st.integers(0, 300), st.integers(0, 20), st.integers(1, 7))
def test_updates_are_counted_as_the_callback_makes_them(step: int, start: int, every: int) -> None:
    # docs/sweeps.md: update at the steps, counted from 1, that n divides, from start_step on.
    made = [s for s in range(1, step + 1) if s % every == 0 and s >= start]
    assert updates_until(step, start, every) == len(made)


@given(st.floats(0, 1), st.integers(0, 50))
def test_what_is_retained_is_the_product_of_all_decays(decay: float, updates: int) -> None:
    assert retained(decay, updates, False) == pytest.approx(decay**updates)
    product = math.prod(min(decay, (1 + n) / (10 + n)) for n in range(updates))
    assert retained(decay, updates, True) == pytest.approx(product)


@pytest.mark.parametrize(
    ("decay", "warmup", "answer"),
    [
        (0.9, False, "suits the run"),
        (0.99, False, "suits the run"),
        (0.999, False, "decay too high"),
        (0.9999, False, "decay too high"),
        (0.9999, True, "suits the run"),
        (1.0, False, "decay too high"),
    ],
)
def test_rule_5_is_what_is_left_of_the_first_weights_at_the_end(
    read_made: ReadMade, decay: float, warmup: bool, answer: str
) -> None:
    run = read_made(decay=decay, model__ema__warmup=warmup)
    result = not_too_high(run, run.averages[0])
    assert result.answer == answer
    if not warmup:
        assert result.numbers["retained_at_end"] == pytest.approx(decay**600)
    assert ("Set model.ema.decay=0.983" in result.explanation) == (answer == "decay too high")


def test_rule_5_waits_for_the_end_of_a_run_in_progress(read_made: ReadMade) -> None:
    run = read_made(steps=(150,), standard=(2.0,), finished=False)
    result = not_too_high(run, run.averages[0])
    assert (result.outcome, result.answer) == ("watch", "too early to judge")
    assert result.numbers["retained_now"] == pytest.approx(0.99**150)


def test_rule_5_is_undecided_without_settings_and_good_for_power_functions(read_made: ReadMade) -> None:
    run = read_made()
    unknown = Run(**{**run.__dict__, "config": None})
    assert not_too_high(unknown, run.averages[0]).outcome == "undecided"
    assert not_too_high(run, Variant("ema_width_0.05", {})).outcome == "good"


def test_rule_6_distinguishes_a_low_decay_from_weights_that_hardly_move(read_made: ReadMade) -> None:
    low = read_made("low", decay=0.8, ratio=1.001)
    assert not_too_low(low, low.averages[0]).answer == "decay too low"
    still = read_made("still", decay=0.99, ratio=1.001)
    result = not_too_low(still, still.averages[0])
    assert (result.outcome, result.answer) == ("watch", "equal")
    assert result.numbers["largest_difference"] == pytest.approx(math.log(1.001))
    apart = read_made("apart", decay=0.8, ratio=0.9)
    assert not_too_low(apart, apart.averages[0]).outcome == "good"


def test_rule_6_reports_a_half_life_below_a_step_and_whether_warm_up_is_the_reason(
    read_made: ReadMade,
) -> None:
    low = read_made("low", decay=0.4, ratio=0.9)
    assert not_too_low(low, low.averages[0]).answer == "decay too low"
    warming = read_made("warming", decay=0.4, ratio=0.9, model__ema__decay=0.99, model__ema__warmup=True)
    assert not_too_low(warming, warming.averages[0]).answer == "warming up"


def test_rule_6_reports_that_nothing_was_averaged(read_made: ReadMade) -> None:
    run = read_made(decay=0.99, ratio=1.0)
    zero = Variant("ema", run.averages[0].scores, {"relative_rms": {600: 0.0}}, 0.99, 0.99, 69.0)
    result = not_too_low(run, zero)
    assert (result.outcome, "exactly 0" in result.explanation) == ("bad", True)


def test_rule_6_is_undecided_without_scores(read_made: ReadMade) -> None:
    run = read_made()
    assert not_too_low(run, Variant("ema", {}, half_life=69.0)).outcome == "undecided"
