"""The table of an evaluation, what it means in words, and where everything lies."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.result import Evaluation
from depthdif.files import near
from depthdif.scores.score import RATIOS, Score, Scores, verdict

# With fewer the percentiles of the bootstrap are coarse and too narrow.
ENOUGH_PATCHES = 24
# Columns of a terminal that hold the table with all its intervals.
WIDE = 110
# Score, heading, whether its interval is shown.
COLUMNS = (
    ("rmse", "RMSE", True),
    ("rmse_ratio", "RMSE / OI", True),
    ("bias", "bias", False),
    ("mae", "MAE", False),
    ("crps", "CRPS", True),
    ("crps_ratio", "CRPS / OI", True),
    ("spread_skill", "spread / skill", False),
)


def print_evaluation(found: Evaluation, folder: Path, console: Console) -> None:
    """Print the table, its meaning and the places; keep all of it in `evaluation.txt`."""
    lines = [*meaning(found), *places(found, folder)]
    path = folder / "evaluation.txt"
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        for target in (console, Console(file=file, width=160)):
            target.print(score_table(found, narrow=target.width < WIDE))
            for line in lines:
                # Paths and commands are never broken: they are there to be copied.
                target.print(line, soft_wrap=True, highlight=False, markup=False)
    unfinished.replace(path)


def score_table(found: Evaluation, narrow: bool = False) -> Table:
    """A row for each method; a column is left out where no method has it, a cell where it is undefined.

    On a `narrow` terminal only the ratios to OI show their intervals; the files hold all.
    """
    share = found.provenance["run"]["data"]["validation_density"]
    table = Table(
        title=f"{found.provenance['variable']} in {found.units} over unobserved ocean cells, all depths; {found.patches} "
        f"patches, {100 * share:g} % of columns observed; in brackets 95 % intervals over patches",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    columns = [column for column in COLUMNS if any(column[0] in scores for scores in found.overall.values())]
    table.add_column("method", no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for method, scores in found.overall.items():
        table.add_row(
            method.label,
            *(
                cell(scores, name, interval and not (narrow and name in RATIOS.values()))
                for name, _, interval in columns
            ),
        )
    return table


def cell(scores: Scores, name: str, interval: bool) -> str:
    """Such as `0.837 (0.781, 0.902)`."""
    if name not in scores:
        return ""
    score = scores[name]
    # The ratio of the reference to itself has no interval.
    if not interval or score.low is None or score.high is None or score.low == score.high:
        return digits(score.value)
    return f"{digits(score.value)} {brackets(score)}"


def brackets(score: Score) -> str:
    """The interval of a score; empty without one."""
    return "" if score.low is None or score.high is None else f"({digits(score.low)}, {digits(score.high)})"


def digits(value: float) -> str:
    """Three decimals, fewer for large numbers."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def meaning(found: Evaluation) -> Iterator[str]:
    """What the table says, in a line or two."""
    scores = found.overall[found.best] if found.best else {}
    if found.best is None:
        yield "No weights of the model could be scored."
    elif "rmse_ratio" in scores:
        yield f"{found.best.label} against OI: {' '.join(against_oi(scores))}"
    else:
        yield f"{found.best.label}: RMSE {cell(scores, 'rmse', True)} {found.units}; there is no OI to compare with."
    if "spread_skill" in scores:
        yield f"Its spread is {scores['spread_skill'].value:.2f} of its error (1 is reliable; below, it is too sure of itself)."
    if found.truth.spectrum() is None:
        yield "There are no spectra: no window of half a patch is free of land."
    if found.patches < ENOUGH_PATCHES:
        yield (
            f"{found.patches} patches are few: the intervals are wide and themselves uncertain; type "
            f"data.validation_patches={ENOUGH_PATCHES} or more."
        )
    yield (
        "The intervals tell what other patches and profiles of this region would give, and take patches as independent, which "
        "overlapping ones are not; they say nothing of other regions or other training runs."
    )


def against_oi(scores: Scores) -> Iterator[str]:
    """RMSE and CRPS as ratios with their verdicts."""
    for name, heading in (("rmse_ratio", "RMSE"), ("crps_ratio", "CRPS")):
        if name in scores:
            score = scores[name]
            interval = f", 95 % interval {brackets(score)}" if score.low is not None else ""
            yield f"{heading} {digits(score.value)} of OI's{interval}: {verdict(score)}."


def places(found: Evaluation, folder: Path) -> Iterator[str]:
    """What lies where, and what to type next."""
    yield f"numbers:   {near(folder / 'scores.csv')}, {near(folder / 'evaluation.json')}"
    yield f"figures:   {near(folder / 'figures')}"
    checkpoint = shlex.quote(found.provenance["checkpoint"])
    yield f"more:      python scripts/evaluate.py checkpoint={checkpoint} ensemble_size=32 data.validation_patches=128"
