"""Which weights are best (rule 7 of docs/ema.md), and the whole verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from depthdif.comparison.differences import Group, groups, listed
from depthdif.comparison.run import STANDARD, Run, WeightState
from depthdif.comparison.scalars import Series, finite
from depthdif.comparison.verdict import SCORE_TOLERANCE, Finding, findings

# Each score: whether lower is better.
IS_LOWER_BETTER = {"mse": True, "psnr": False, "ssim": False, "ratio": True}
LADDER = 3


@dataclass(frozen=True)
class Entry:
    """One set of weights of one run, as it stands among the others.

    Attributes:
        run: that it belongs to.
        state: the weights.
        findings: rules 2 to 6; none for the standard weights.
        twins: the other runs whose standard weights scored the same: EMA does not touch training.
    """

    run: Run
    state: WeightState
    findings: Sequence[Finding] = ()
    twins: Sequence[Run] = ()

    @property
    def label(self) -> str:
        """Such as `2 · EMA 0.99`."""
        if self.twins:
            return f"{listed([run.name for run in (self.run, *self.twins)], most=2)} · {self.state.label}"
        return f"{self.run.name} · {self.state.label}"

    def score(self, name: str) -> Series:
        """A score by step; "ratio" is the MSE over that of the standard weights of the same run."""
        if name != "ratio":
            return self.state.scores.get(name, {})
        own, standard = (state.scores.get("mse", {}) for state in (self.state, self.run.standard))
        if self.state.name == STANDARD:
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
        words: rule 7: which is best, what cannot be told apart from it, where to look next.
    """

    group: Group
    entries: Sequence[Entry]
    words: str


def rankings(runs: Sequence[Run]) -> list[Ranking]:
    """The runs in groups that compare, each ranked."""
    return [ranking(group) for group in groups(runs)]


def ranking(group: Group) -> Ranking:
    """Rule 7 for runs that compare."""
    entries = standard_entries(group.runs) + [
        Entry(run, state, findings(run, state)) for run in group.runs for state in run.averages
    ]
    ranked = sorted((entry for entry in entries if entry.best()), key=lambda entry: entry.best_mse)
    unranked = [entry for entry in entries if not entry.best()]
    return Ranking(group, ranked + unranked, best_in_words(ranked))


def standard_entries(runs: Sequence[Run]) -> list[Entry]:
    """The standard weights of runs, those with the same scores once."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if run.standard.scores:
            alike.setdefault(repr(run.standard.scores), []).append(run)
    return [Entry(first, first.standard, twins=twins) for first, *twins in alike.values()]


def best_in_words(ranked: Sequence[Entry]) -> str:
    """Which weights are best, what is no worse, and whether the ladder of decays should go on."""
    if not ranked:
        return "No finite MSE of a reconstruction: no best weights."
    best = ranked[0]
    step, value = best.best() or (0, 0.0)
    words = [f"Best: {best.label}, MSE {value:.4g} at step {step}."]
    if (other := counterpart(best, ranked)) and (of_other := other.best()):
        words.append(
            f"{other.label} reaches {of_other[1]:.4g} at step {of_other[0]}: the EMA has "
            f"{value / of_other[1] if best.findings else of_other[1] / value:.3f} of the MSE of the standard weights."
        )
    rivals = [entry for entry in ranked[1:] if entry.best_mse <= value * (1 + SCORE_TOLERANCE)]
    if rivals:
        names = listed([entry.label for entry in rivals], most=4)
        words.append(f"Within {SCORE_TOLERANCE:.0%} of it, and so not told apart on one mini-batch: {names}.")
    if advice := beyond_the_ladder(ranked, [best, *rivals]):
        words.append(advice)
    if unfinished := [run.name for run in {id(e.run): e.run for e in ranked}.values() if not run.is_finished]:
        words.append(f"Not final: {listed(unfinished)} {'is' if len(unfinished) == 1 else 'are'} unfinished.")
    return " ".join(words)


def counterpart(best: Entry, ranked: Sequence[Entry]) -> Entry | None:
    """What the best weights are held against: the standard ones of the same run, or the best average."""
    if best.state.name == STANDARD:
        return next((entry for entry in ranked if entry.state.name != STANDARD), None)
    standard = (entry for entry in ranked if entry.state.name == STANDARD)
    return next((entry for entry in standard if best.run in (entry.run, *entry.twins)), None)


def beyond_the_ladder(ranked: Sequence[Entry], leaders: Sequence[Entry]) -> str:
    """What to try when all leaders lie at one end of at least three half-lives; "" when the best lies inside."""
    rungs = sorted({entry.state.half_life for entry in ranked if entry.state.name != STANDARD} - {None})  # type: ignore[type-var]
    held = {entry.state.half_life for entry in leaders}
    if len(rungs) < LADDER or len(held) > 1:
        return ""
    if held == {rungs[-1]}:
        return f"It is the longest half-life of {len(rungs)} ({rungs[-1]:.3g} steps): try a larger decay as well."
    if held == {rungs[0]}:
        return f"It is the shortest half-life of {len(rungs)} ({rungs[0]:.3g} steps): try a smaller decay as well."
    return ""


def in_words(runs: Sequence[Run], ranked: Sequence[Ranking]) -> str:
    """The verdict as plain text: what is best, what compares, one line for each average and what needs a look."""
    lines: list[str] = []
    for number, one in enumerate(ranked, 1):
        title = f"Group {number} of {len(ranked)}: " if len(ranked) > 1 else ""
        lines += [f"{title}{one.words}", *([one.group.words] if one.group.words else [])]
        averages = [entry for entry in one.entries if entry.findings]
        width = max((len(entry.label) for entry in averages), default=0)
        for entry in averages:
            lines.append(f"  {entry.label:{width}}  {', '.join(f.answer for f in entry.findings)}")
            lines += [f"    rule {f.rule}: {f.words}" for f in entry.findings if f.outcome == "bad"]
        lines.append("")
    if not ranked:
        lines += ["No run has scored a reconstruction yet: nothing to rank.", ""]
    lines += [f"{run.name}: {remark}" for run in runs for remark in run.remarks]
    return "\n".join(lines).rstrip()
