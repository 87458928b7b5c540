"""Which weights are best (rule 7 of docs/sweeps.md), and the report for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthdif.comparison.differences import Group, groups, join_names
from depthdif.comparison.rules import SCORE_TOLERANCE, RuleResult, results
from depthdif.comparison.run import Run, Variant
from depthdif.comparison.scalars import Series, finite
from depthdif.scores.score_names import SCORES, STANDARD

# Each score: whether lower is better.
IS_LOWER_BETTER = {name: not score.higher_is_better for name, score in SCORES.items()} | {"ratio": True}
FEWEST_HALF_LIVES = 3


@dataclass(frozen=True)
class Entry:
    """One set of weights of one run, as it stands among the others.

    Attributes:
        run: that it belongs to.
        variant: the weights.
        results: rules 2 to 6; none for the standard weights.
        twins: the other runs whose standard weights scored the same: EMA does not touch training.
    """

    run: Run
    variant: Variant
    results: Sequence[RuleResult] = ()
    twins: Sequence[Run] = ()

    @property
    def label(self) -> str:
        """Such as `2 · EMA 0.99`."""
        if self.twins:
            return (
                f"{join_names([run.name for run in (self.run, *self.twins)], most=2)} · {self.variant.label}"
            )
        return f"{self.run.name} · {self.variant.label}"

    def score(self, name: str) -> Series:
        """A score by step; "ratio" is the MSE over that of the standard weights of the same run."""
        if name != "ratio":
            return self.variant.scores.get(name, {})
        own, standard = (variant.scores.get("mse", {}) for variant in (self.variant, self.run.standard))
        if self.variant.name == STANDARD:
            return {}
        return {step: own[step] / standard[step] for step in own if standard.get(step)}

    def best(self, name: str = "mse") -> tuple[int, float] | None:
        """Step and value of the best finite score; None without one."""
        known = finite(self.score(name))
        if not known:
            return None
        step = (min if IS_LOWER_BETTER[name] else max)(known, key=known.__getitem__)
        return step, known[step]

    @property
    def best_mse(self) -> float:
        """The lowest MSE; infinite without one."""
        best = self.best()
        return best[1] if best else math.inf

    def last(self, name: str = "mse") -> tuple[int, float] | None:
        """Step and value of the last score, finite or not; None without one."""
        return list(self.score(name).items())[-1] if self.score(name) else None


@dataclass(frozen=True)
class Ranking:
    """A group of comparable runs and their weights.

    Attributes:
        group: the runs.
        entries: by best MSE; those without one at the end.
        conclusion: rule 7: whether any weights beat the first guess, which are best, which are as good, where to look next.
    """

    group: Group
    entries: Sequence[Entry]
    conclusion: str

    @property
    def first_guess(self) -> dict[str, float]:
        """The last finite value of each score of the first guess, which all runs of a group share; empty without one."""
        return first_guess_of(self.group)


def rankings(runs: Sequence[Run]) -> list[Ranking]:
    """The runs in groups that compare, each ranked."""
    return [ranking(group) for group in groups(runs)]


def ranking(group: Group) -> Ranking:
    """Rule 7 for runs that compare."""
    entries = standard_entries(group.runs) + [
        Entry(run, variant, results(run, variant)) for run in group.runs for variant in run.averages
    ]
    ranked = sorted((entry for entry in entries if entry.best()), key=lambda entry: entry.best_mse)
    unranked = [entry for entry in entries if not entry.best()]
    return Ranking(group, ranked + unranked, conclusion(ranked, first_guess_of(group)))


def first_guess_of(group: Group) -> dict[str, float]:
    """The last finite value of each score of the first guess, which the runs of a group have in common."""
    scores = next((run.first_guess for run in group.runs if run.first_guess), {})
    return {name: list(finite(series).values())[-1] for name, series in scores.items() if finite(series)}


def standard_entries(runs: Sequence[Run]) -> list[Entry]:
    """The standard weights of runs, those with the same scores once."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if run.standard.scores:
            alike.setdefault(repr(run.standard.scores), []).append(run)
    return [Entry(first, first.standard, twins=twins) for first, *twins in alike.values()]


def conclusion(ranked: Sequence[Entry], first_guess: Mapping[str, float]) -> str:
    """Whether any weights beat the first guess, which are best, which are as good, and which decays to try next."""
    if not ranked:
        return "No finite MSE of a reconstruction: no best weights."
    best = ranked[0]
    step, value = best.best() or (0, 0.0)
    sentences = [f"Best: {best.label}, MSE {value:.4g} at step {step}."]
    if "mse" in first_guess:
        ratio = f"MSE {first_guess['mse']:.4g}; the best weights have {value / first_guess['mse']:.3f} of it"
        if value < first_guess["mse"]:
            sentences.append(f"First guess: {ratio}.")
        else:
            sentences.insert(0, f"No weights beat the first guess ({ratio}).")
    if (other := counterpart(best, ranked)) and (best_of_other := other.best()):
        other_step, other_value = best_of_other
        sentences.append(
            f"{other.label} reaches {other_value:.4g} at step {other_step}: the EMA has "
            f"{value / other_value if best.results else other_value / value:.3f} of the MSE of the standard weights."
        )
    rivals = [entry for entry in ranked[1:] if entry.best_mse <= value * (1 + SCORE_TOLERANCE)]
    if rivals:
        names = join_names([entry.label for entry in rivals], most=4)
        sentences.append(
            f"Within {SCORE_TOLERANCE:.0%} of it, which one mini-batch cannot tell apart: {names}."
        )
    if advice := direction_to_try(ranked, [best, *rivals]):
        sentences.append(advice)
    if unfinished := [run.name for run in {id(e.run): e.run for e in ranked}.values() if not run.is_finished]:
        sentences.append(
            f"Not final: {join_names(unfinished)} {'is' if len(unfinished) == 1 else 'are'} unfinished."
        )
    return " ".join(sentences)


def counterpart(best: Entry, ranked: Sequence[Entry]) -> Entry | None:
    """What the best weights are compared with: the standard ones of the same run, or the best average."""
    if best.variant.name == STANDARD:
        return next((entry for entry in ranked if entry.variant.name != STANDARD), None)
    standard = (entry for entry in ranked if entry.variant.name == STANDARD)
    return next((entry for entry in standard if best.run in (entry.run, *entry.twins)), None)


def direction_to_try(ranked: Sequence[Entry], leaders: Sequence[Entry]) -> str:
    """What to try when all leaders lie at one end of at least three half-lives; "" when the best lies inside."""
    half_lives = sorted(
        {entry.variant.half_life for entry in ranked if entry.variant.name != STANDARD} - {None}
    )  # type: ignore[type-var]
    leading = {entry.variant.half_life for entry in leaders}
    if len(half_lives) < FEWEST_HALF_LIVES or len(leading) > 1:
        return ""
    if leading == {half_lives[-1]}:
        return f"It is the longest half-life of {len(half_lives)} ({half_lives[-1]:.3g} steps): try a larger decay as well."
    if leading == {half_lives[0]}:
        return f"It is the shortest half-life of {len(half_lives)} ({half_lives[0]:.3g} steps): try a smaller decay as well."
    return ""


def text_report(runs: Sequence[Run], ranked: Sequence[Ranking]) -> str:
    """The results as plain text: which weights are best, which runs compare, and a line for each average."""
    lines: list[str] = []
    for number, one in enumerate(ranked, 1):
        title = f"Group {number} of {len(ranked)}: " if len(ranked) > 1 else ""
        lines += [f"{title}{one.conclusion}", *([one.group.comparability] if one.group.comparability else [])]
        averages = [entry for entry in one.entries if entry.results]
        width = max((len(entry.label) for entry in averages), default=0)
        if one.first_guess:
            scores = (f"{SCORES[name].label} {value:.4g}" for name, value in one.first_guess.items())
            lines.append(f"  {'first guess':{width}}  {', '.join(scores)}")
        for entry in averages:
            lines.append(f"  {entry.label:{width}}  {', '.join(f.answer for f in entry.results)}")
            lines += [f"    rule {f.rule}: {f.explanation}" for f in entry.results if f.outcome == "bad"]
        lines.append("")
    if not ranked:
        lines += ["No run has scored a reconstruction yet: nothing to rank.", ""]
    lines += [f"{run.name}: {remark}" for run in runs for remark in run.remarks]
    return "\n".join(lines).rstrip()
