"""Rules 2 to 6 of docs/sweeps.md for one average, as pure functions of the scalars and settings of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from statistics import geometric_mean, median
from typing import Literal

from depthdif.comparison.run import Run, Variant
from depthdif.comparison.scalars import Series, finite
from depthdif.ema.decay import half_life, horizon, suited_decay, warmup_decay

Outcome = Literal["good", "watch", "bad", "undecided"]

# A single validation mini-batch does not distinguish scores closer than this.
SCORE_TOLERANCE = 0.02
SMALLEST_GROWTH = 0.1
UNBOUNDED_GROWTH = 0.5
SETTLED_HALF_LIVES = 3
SETTLED_SPAN = 1.5
SPIKE = 3.0
NEIGHBOURS = 3
MOST_RETAINED = 0.05
EQUAL_SCORES = 0.005
SHORT_SHARE_OF_RUN = 0.01
QUESTIONS = {
    2: "Is the EMA competitive?",
    3: "Is the distance from the standard weights bounded?",
    4: "Are there unexplained spikes of the largest distance?",
    5: "Is the decay low enough for the run?",
    6: "Does the EMA differ from the standard weights?",
}


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule.

    Attributes:
        rule: number in docs/sweeps.md.
        outcome: "good", "watch", "bad" or "undecided".
        answer: at most four words.
        explanation: the reason with its numbers, in a sentence or two.
        numbers: these numbers.
    """

    rule: int
    outcome: Outcome
    answer: str
    explanation: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def results(run: Run, average: Variant) -> list[RuleResult]:
    """Rules 2 to 6 for an average of a run."""
    standard, scored = run.standard.scores.get("mse", {}), average.scores.get("mse", {})
    relative, largest, rms = (average.distances.get(name, {}) for name in ("relative_rms", "max_abs", "rms"))
    return [
        competitive(standard, scored),
        bounded(relative, settled_step(run, average)),
        spikes(largest, rms, run.scalars.get("ema/skipped_updates", {})),
        not_too_high(run, average),
        not_too_low(run, average),
    ]


def late_steps(a: Series, b: Series) -> list[int]:
    """Steps with both scores, from half of the last one on."""
    common = sorted(a.keys() & b.keys())
    return [step for step in common if step >= common[-1] / 2]


def competitive(standard: Series, average: Series) -> RuleResult:
    """Rule 2: is the EMA as good as the standard weights? By the MSE of each validation, squared units of the field."""
    late = late_steps(standard, average)
    diverged = [step for step in late if not math.isfinite(average[step])]
    alone = [step for step in late if step not in diverged and not math.isfinite(standard[step])]
    pairs = [step for step in late if step not in diverged + alone and min(standard[step], average[step]) > 0]
    numbers: dict[str, float] = {"validations": len(late)}
    if diverged:
        explanation = f"The reconstruction with the EMA weights is not finite at {at_steps(diverged)}."
        return RuleResult(2, "bad", "not finite", explanation, numbers)
    if alone:
        explanation = f"Only the reconstruction with the standard weights is not finite at {at_steps(alone)}."
        return RuleResult(2, "good", "ahead", explanation, numbers)
    if len(pairs) < 2:
        explanation = f"{len(pairs)} late validations with both scores; at least 2 are needed."
        return RuleResult(2, "undecided", "too few validations", explanation, numbers)
    ratios = [average[step] / standard[step] for step in pairs]
    ratio, wins = geometric_mean(ratios), sum(r < 1 for r in ratios)
    explanation = (
        f"MSE of the EMA is {ratio:.3f} of that of the standard weights (geometric mean of {len(pairs)} validations "
        f"from step {pairs[0]} on; lower at {wins} of them)."
    )
    numbers |= {"ratio": ratio, "wins": wins}
    if ratio < 1 - SCORE_TOLERANCE:
        return RuleResult(2, "good", "ahead", explanation, numbers)
    if ratio <= 1 + SCORE_TOLERANCE:
        return RuleResult(2, "watch", "level", explanation, numbers)
    return RuleResult(2, "bad", "behind", explanation, numbers)


def at_steps(steps: list[int]) -> str:
    """`step 4`, or `3 late validations, first at step 4`."""
    return f"{len(steps)} late validations, first at step {steps[0]}" if steps[1:] else f"step {steps[0]}"


def settled_step(run: Run, average: Variant) -> float:
    """First step at which growth of the distance counts: after three half-lives and the largest learning rate."""
    start = run.setting("model", "ema", "start_step")
    rates = [finite(series) for name, series in run.scalars.items() if name.startswith("lr-")]
    peaks = [max(series, key=series.__getitem__) for series in rates if series]
    half_lives = SETTLED_HALF_LIVES * (average.half_life or 0)
    return max([(start if isinstance(start, int) else 0) + half_lives, *peaks])


def bounded(relative: Series, from_step: float) -> RuleResult:
    """Rule 3: does the relative RMS distance grow without bound? By its exponent in the number of steps."""
    settled = {step: value for step, value in finite(relative).items() if step >= from_step and value > 0}
    steps = list(settled)
    if len(steps) < 3 or steps[-1] < SETTLED_SPAN * steps[0]:
        explanation = (
            f"{len(steps)} validations from step {from_step:.0f} on, where the average has settled; at least 3 are needed, "
            f"the last at {SETTLED_SPAN} times the step of the first."
        )
        return RuleResult(3, "undecided", "too short", explanation)
    # Theil-Sen: one odd validation does not decide.
    pairs = combinations(steps, 2)
    exponent = median(math.log(settled[b] / settled[a]) / math.log(b / a) for a, b in pairs)
    first, last = settled[steps[0]], settled[steps[-1]]
    explanation = (
        f"The relative distance went from {first:.3g} at step {steps[0]} to {last:.3g} at step "
        f"{steps[-1]}, as steps to the power {exponent:.2f}."
    )
    numbers = {"exponent": exponent}
    if exponent >= UNBOUNDED_GROWTH:
        explanation += " Set a smaller model.optimizer.lr, or a smaller model.ema.decay."
        return RuleResult(3, "bad", "growing without bound", explanation, numbers)
    if exponent > SMALLEST_GROWTH:
        return RuleResult(3, "watch", "growing slowly", explanation, numbers)
    return RuleResult(3, "good", "bounded", explanation, numbers)


def spikes(largest: Series, rms: Series, skipped: Series) -> RuleResult:
    """Rule 4: are there spikes of the largest distance of a single weight, not explained by skips or by the RMS distance?"""
    values = {step: value for step, value in finite(largest).items() if value > 0}
    steps = list(values)
    if len(steps) < 4:
        explanation = f"{len(steps)} validations with a distance above 0; at least 4 are needed."
        return RuleResult(4, "undecided", "too few validations", explanation)
    known_rms = {step: rms[step] for step in steps if rms.get(step, 0) > 0}
    known_skips = finite(skipped)
    unexplained: dict[int, float] = {}
    explained: list[str] = []
    for before, step in zip([0, *steps], steps, strict=False):
        factor, factor_of_all = over_neighbours(values, step), over_neighbours(known_rms, step)
        if factor < SPIKE:
            continue
        if known_skips.get(step, 0.0) > known_skips.get(before, 0.0):
            explained.append(f"step {step} (updates were skipped: weights were NaN or infinite)")
        elif factor_of_all >= factor / 2:
            explained.append(f"step {step} (all weights moved: RMS {factor_of_all:.1f} times its neighbours)")
        else:
            unexplained[step] = factor
    numbers: dict[str, float] = {"spikes": len(unexplained), "explained": len(explained)}
    also = f" Explained: {'; '.join(explained)}." if explained else ""
    if not unexplained:
        explanation = f"No unexplained one at {len(steps)} validations (a spike is {SPIKE:g} times its neighbours).{also}"
        return RuleResult(4, "good", "no spikes", explanation, numbers)
    step, factor = max(unexplained.items(), key=lambda spike: spike[1])
    places = ", ".join(f"{step} ({factor:.1f} times)" for step, factor in unexplained.items())
    explanation = f"The largest distance exceeds its neighbours at step {places}, but the RMS does not.{also}"
    return RuleResult(4, "bad", "spikes", explanation, numbers | {"step": step, "factor": factor})


def over_neighbours(series: Series, step: int) -> float:
    """A value over the median of up to three before it and three after it; 1 where there is no value."""
    if step not in series:
        return 1.0
    values, index = list(series.values()), list(series).index(step)
    around = values[max(0, index - NEIGHBOURS) : index] + values[index + 1 : index + 1 + NEIGHBOURS]
    return values[index] / median(around) if around else 1.0


def not_too_high(run: Run, average: Variant) -> RuleResult:
    """Rule 5: is the decay too high for the run? By the share of the average that is still its first weights."""
    if average.name.startswith("ema_width"):
        explanation = (
            "A power-function average keeps none of its first weights; its memory grows with the run."
        )
        return RuleResult(5, "good", "suits the run", explanation)
    decay = average.effective_decay if average.decay is None else average.decay
    if decay is None or run.config is None or not run.last_step:
        explanation = "The decay, the settings or the steps of the run are unknown."
        return RuleResult(5, "undecided", "unknown", explanation)
    keys = ("start_step", "apply_every_n_steps", "warmup")
    start, every, warmup = (int(run.setting("model", "ema", key) or 0) for key in keys)
    planned, updates = (updates_until(step, start, every or 1) for step in (run.planned_steps, run.last_step))
    at_end, now = (retained(decay, count, bool(warmup)) for count in (planned, updates))
    reach = horizon(decay)
    share = reach / planned if planned else math.inf
    numbers = {"retained_at_end": at_end, "retained_now": now}
    explanation = (
        f"Decay {decay:.10g} reaches back {reach:.0f} updates, {share:.1%} of the {planned} planned; at the end "
        f"{at_end:.2%} of the average are the weights it began with."
    )
    if at_end > MOST_RETAINED:
        if planned:
            explanation += f" Set model.ema.decay={suited_decay(planned)}, or model.ema.warmup=true."
        return RuleResult(5, "bad", "decay too high", explanation, numbers)
    if now > MOST_RETAINED:
        explanation += f" At step {run.last_step}, the last so far, it is {now:.1%}."
        return RuleResult(5, "watch", "too early to judge", explanation, numbers)
    return RuleResult(5, "good", "suits the run", explanation, numbers)


def updates_until(step: int, start_step: int, every: int) -> int:
    """Updates made after `step` optimizer steps: at the steps from the first on that `every` divides."""
    return max(0, step // every - (max(start_step, 1) - 1) // every)


def retained(decay: float, updates: int, warmup: bool) -> float:
    """Share of the average that is still its first weights: the product of all decays so far."""
    share = 1.0
    for update in range(updates if warmup else 0):
        factor = warmup_decay(decay, update)
        if factor == decay:
            return share * decay ** (updates - update)
        share *= factor
    return share if warmup else decay**updates


def not_too_low(run: Run, average: Variant) -> RuleResult:
    """Rule 6: is the decay so low that the EMA equals the standard weights?"""
    memory = average.half_life
    if memory is not None and memory < 1:
        explanation = f"The half-life is {memory:.2g} steps: the EMA is hardly more than the last step."
        if average.decay is not None and half_life(average.decay) >= 1:
            explanation += f" Warm-up has the decay at {average.effective_decay:.3g} so far."
            return RuleResult(6, "watch", "warming up", explanation)
        return RuleResult(6, "bad", "decay too low", explanation)
    standard, scored = (finite(variant.scores.get("mse", {})) for variant in (run.standard, average))
    pairs = [step for step in late_steps(standard, scored) if min(standard[step], scored[step]) > 0]
    if not pairs:
        return RuleResult(6, "undecided", "no scores", "No validation with both scores.")
    largest = max(abs(math.log(scored[step] / standard[step])) for step in pairs)
    numbers = {"largest_difference": largest}
    explanation = f"Their MSE differ by up to {largest:.2%} over {len(pairs)} late validations."
    if largest > EQUAL_SCORES:
        return RuleResult(6, "good", "differs", explanation, numbers)
    if list(average.distances.get("relative_rms", {}).values())[-1:] == [0]:
        explanation += " The distance is exactly 0: no update yet, or the learning rate or the decay is 0."
        return RuleResult(6, "bad", "equal", explanation, numbers)
    if memory is None:
        return RuleResult(6, "watch", "equal", f"{explanation} The half-life is unknown.", numbers)
    share = memory / run.planned_steps
    explanation += f" The half-life is {memory:.3g} steps, {share:.1%} of the run."
    if share <= SHORT_SHARE_OF_RUN:
        every = run.setting("model", "ema", "apply_every_n_steps") or 1
        explanation += f" Set model.ema.decay={suited_decay(run.planned_steps / every)}."
        return RuleResult(6, "bad", "decay too low", explanation, numbers)
    explanation += " Long enough: the weights hardly move, as with a small learning rate."
    return RuleResult(6, "watch", "equal", explanation, numbers)
