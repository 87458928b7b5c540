"""Which weights are best (rule 7 of docs/sweeps.md), and the report for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthdif.comparison.differences import architectures_differ, comparability, groups, join_names
from depthdif.comparison.rules import SCORE_TOLERANCE, RuleResult, results
from depthdif.comparison.run import Run, Variant
from depthdif.comparison.scalars import Series, finite
from depthdif.scores.score_names import SCORES, STANDARD

# Each score: whether lower is better.
IS_LOWER_BETTER = {name: not score.higher_is_better for name, score in SCORES.items()} | {"ratio": True}
FEWEST_HALF_LIVES = 3


@dataclass(frozen=True)
class Entry:
    """One set of weights of one run in a ranking.

    Attributes:
        results: rules 2 to 6; empty for the standard weights.
        twins: the other runs whose standard weights scored the same: EMA does not touch training.
    """

    run: Run
    variant: Variant
    results: Sequence[RuleResult] = ()
    twins: Sequence[Run] = ()

    @property
    def label(self) -> str:
        """Such as `2 · EMA 0.99`."""
        return f"{join_names([run.name for run in (self.run, *self.twins)], most=2)} · {self.variant.label}"

    def series(self, name: str) -> Series:
        """A score or distance by step; "ratio" is the MSE over that of the standard weights of the same run."""
        if name != "ratio":
            return self.variant.scores.get(name) or self.variant.distances.get(name, {})
        if self.variant.name == STANDARD:
            return {}
        own, standard = (variant.scores.get("mse", {}) for variant in (self.variant, self.run.standard))
        return {step: own[step] / standard[step] for step in own if standard.get(step)}

    def best(self, name: str = "mse") -> tuple[int, float] | None:
        """Step and value of the best finite score; None without one."""
        sign = 1 if IS_LOWER_BETTER[name] else -1
        return min(finite(self.series(name)).items(), key=lambda item: sign * item[1], default=None)

    def cost(self, name: str = "mse") -> float:
        """The best score, with the sign for which lower is better; infinite without one."""
        best = self.best(name)
        return math.inf if best is None else best[1] if IS_LOWER_BETTER[name] else -best[1]


@dataclass(frozen=True)
class Ranking:
    """A group of comparable runs and their weights.

    Attributes:
        runs: at least one.
        comparability: what may be compared, what not, and why.
        architectures_differ: absolute weight distances of these runs do not compare.
        entries: by best MSE; those without one at the end.
        first_guess: the last finite value of each score of the first guess, which the runs share; empty without one.
        conclusion: rule 7: whether any weights beat the first guess, which are best, which are as good, where to look next.
    """

    runs: Sequence[Run]
    comparability: str
    architectures_differ: bool
    entries: Sequence[Entry]
    first_guess: Mapping[str, float]
    conclusion: str


def rankings(runs: Sequence[Run]) -> list[Ranking]:
    """The runs in groups that compare, each ranked by rule 7."""
    divided = groups(runs)
    ranked = []
    for group in divided:
        # Standard weights with the same scores are one entry.
        alike: dict[str, list[Run]] = {}
        for run in group:
            if run.standard.scores:
                alike.setdefault(repr(run.standard.scores), []).append(run)
        entries = [Entry(first, first.standard, twins=twins) for first, *twins in alike.values()]
        entries += [Entry(run, average, results(run, average)) for run in group for average in run.averages]
        entries.sort(key=Entry.cost)
        scores = next((run.first_guess for run in group if run.first_guess), {})
        values = {name: list(finite(series).values()) for name, series in scores.items()}
        first_guess = {name: series[-1] for name, series in values.items() if series}
        one = Ranking(
            runs=group,
            comparability=comparability(
                group, [run for other in divided if other is not group for run in other]
            ),
            architectures_differ=architectures_differ(group),
            entries=entries,
            first_guess=first_guess,
            conclusion=conclusion([entry for entry in entries if entry.best()], first_guess),
        )
        ranked.append(one)
    return ranked


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
    rivals = [entry for entry in ranked[1:] if entry.cost() <= value * (1 + SCORE_TOLERANCE)]
    if rivals:
        names = join_names([entry.label for entry in rivals])
        sentences.append(f"Within {SCORE_TOLERANCE:.0%}, which one mini-batch cannot distinguish: {names}.")
    sentences += directions_to_try(ranked, [best, *rivals])
    if unfinished := list(dict.fromkeys(entry.run.name for entry in ranked if not entry.run.is_finished)):
        verb = "is" if len(unfinished) == 1 else "are"
        sentences.append(f"Not final: {join_names(unfinished)} {verb} unfinished.")
    return " ".join(sentences)


def counterpart(best: Entry, ranked: Sequence[Entry]) -> Entry | None:
    """The weights to compare the best ones with: the standard ones of the same run, or the best average."""
    if best.variant.name == STANDARD:
        return next((entry for entry in ranked if entry.variant.name != STANDARD), None)
    standard = (entry for entry in ranked if entry.variant.name == STANDARD)
    return next((entry for entry in standard if best.run in (entry.run, *entry.twins)), None)


def directions_to_try(ranked: Sequence[Entry], leaders: Sequence[Entry]) -> list[str]:
    """Advice when all leaders lie at one end of at least three half-lives; empty when the best lies inside."""
    averages = [entry.variant for entry in ranked if entry.variant.name != STANDARD]
    half_lives = sorted({average.half_life for average in averages if average.half_life is not None})
    leading = {entry.variant.half_life for entry in leaders}
    if len(half_lives) < FEWEST_HALF_LIVES:
        return []
    ends = (("longest", half_lives[-1], "larger"), ("shortest", half_lives[0], "smaller"))
    return [
        f"It is the {end} half-life of {len(half_lives)} ({half_life:.3g} steps): try a {change} decay as well."
        for end, half_life, change in ends
        if leading == {half_life}
    ]


def text_report(runs: Sequence[Run], ranked: Sequence[Ranking]) -> str:
    """The results as plain text: which weights are best, which runs compare, and a line for each average."""
    lines: list[str] = []
    for number, one in enumerate(ranked, 1):
        title = f"Group {number} of {len(ranked)}: " if len(ranked) > 1 else ""
        lines += [f"{title}{one.conclusion}", *([one.comparability] if one.comparability else [])]
        averages = [entry for entry in one.entries if entry.results]
        width = max((len(entry.label) for entry in averages), default=0)
        if one.first_guess:
            scores = (f"{SCORES[name].label} {value:.4g}" for name, value in one.first_guess.items())
            lines.append(f"  {'first guess':{width}}  {', '.join(scores)}")
        for entry in averages:
            lines.append(f"  {entry.label:{width}}  {', '.join(result.answer for result in entry.results)}")
            lines += [f"    rule {r.rule}: {r.explanation}" for r in entry.results if r.outcome == "bad"]
        lines.append("")
    if not ranked:
        lines += ["No run has scored a reconstruction yet: nothing to rank.", ""]
    lines += [f"{run.name}: {remark}" for run in runs for remark in run.remarks]
    return "\n".join(lines).rstrip()
