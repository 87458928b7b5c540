"""The result as a table with a summary in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.result import Evaluation
from depthdif.figures.panel import nearest_levels
from depthdif.files import atomic_path, near
from depthdif.scores.score import RATIOS, WEIGHTED, Score, Scores, verdict
from depthdif.terminal import command, print_lines

# With fewer patches the percentiles of the bootstrap are coarse and too narrow.
ENOUGH_PATCHES = 24
# Width of a terminal, in columns, that fits the table with all its intervals.
WIDE = 130
# Score, heading, whether its interval is shown.
COLUMNS = (
    ("rmse", "RMSE", True),
    ("rmse_ratio", "RMSE / OI", True),
    ("crps", "CRPS", True),
    ("crps_ratio", "CRPS / OI", True),
    ("spread_skill", "spread / skill", False),
    ("gradient_ratio", "grad / truth", False),
)
# Metres; the effective resolution is printed at the depth nearest to this.
RESOLUTION_DEPTH = 100.0


def print_evaluation(evaluation: Evaluation, folder: Path, console: Console) -> None:
    """Print the table, a summary and where the files are; write the same to `evaluation.txt`."""
    checkpoint = shlex.quote(evaluation.provenance["checkpoint"])
    lines = [
        *summary(evaluation),
        f"numbers:   {near(folder / 'scores.csv')}, {near(folder / 'evaluation.json')}",
        f"figures:   {near(folder / 'figures')}",
        f"more:      {command('evaluate')} checkpoint={checkpoint} ensemble_size=32 data.validation_patches=128",
    ]
    with atomic_path(folder / "evaluation.txt") as path, path.open("w", encoding="utf-8") as file:
        for target in (console, Console(file=file, width=160)):
            for suffix in ("", WEIGHTED):
                target.print(score_table(evaluation, target.width < WIDE, suffix))
            print_lines(target, *lines)


def score_table(evaluation: Evaluation, narrow: bool = False, suffix: str = "") -> Table:
    """A row for each method; a column is left out where no method has it, a cell where it is undefined.

    Over all depths, but for the effective resolution, which is that near 100 m. Bias and MAE are in the files.
    On a `narrow` terminal only the ratios to OI show their intervals; the files hold all, also bias and MAE. With the `suffix`
    WEIGHTED the scores are those weighted by area and thickness.
    """
    share = evaluation.provenance["run"]["data"]["validation_density"]
    units = f" in {evaluation.units}" if evaluation.units else ""
    table = Table(
        title="the same, each cell weighted by its area and the thickness of its layer"
        if suffix
        else f"{evaluation.variable}{units} over unobserved ocean cells, all depths; "
        f"{evaluation.patches} patches, {100 * share:g} % of columns observed; in brackets 95 % intervals over patches",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    columns = [
        (f"{name}{suffix}", heading, interval and not (narrow and name in RATIOS.values()))
        for name, heading, interval in COLUMNS
        if any(f"{name}{suffix}" in scores for scores in evaluation.overall.values())
    ]
    table.add_column("method", no_wrap=True)
    for _, heading, _ in columns:
        # In two lines, which leaves room for the intervals.
        table.add_column(heading.replace(" / ", " /\n"), justify="right")
    for method, scores in evaluation.overall.items():
        table.add_row(method.label, *(cell(scores, name, interval) for name, _, interval in columns))
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
    """Three decimals, or four significant digits for large numbers."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def summary(evaluation: Evaluation) -> Iterator[str]:
    """The result in sentences, and how far to trust it."""
    scores = evaluation.overall[evaluation.best] if evaluation.best else {}
    if evaluation.best is None:
        yield "No weights of the model could be scored."
    elif "rmse_ratio" in scores:
        yield f"{evaluation.best.label} against OI: {' '.join(against_oi(scores))}"
    else:
        yield f"{evaluation.best.label}: RMSE {cell(scores, 'rmse', True)} {evaluation.units}; there is no OI to compare with."
    if "spread_skill" in scores:
        yield f"Its spread is {scores['spread_skill'].value:.2f} of its error (1 is reliable; below 1 is overconfident)."
    yield from resolution(evaluation)
    if evaluation.followed is not None:
        flicker = ", ".join(f"{name} {value:.2f}" for name, value in evaluation.followed.flicker.items())
        yield f"Change from one time to the next over that of the truth, in the followed patch: {flicker}."
    if evaluation.inversions:
        shares = [
            f"{method.label} {100 * found.share:.2g} %"
            for method, found in evaluation.inversions.items()
            if found.share is not None
        ]
        yield f"Density inversions, of the pairs of neighbouring levels: {', '.join(shares)}."
    if evaluation.truth.structure.spectra() is None:
        yield "There are no spectra: no window of half a patch is free of land."
    if evaluation.patches < ENOUGH_PATCHES:
        yield (
            f"{evaluation.patches} patches are few: the intervals are wide and themselves uncertain; set "
            f"data.validation_patches={ENOUGH_PATCHES} or more."
        )
    yield (
        "The intervals cover other patches and profiles of this region, not other regions or training runs; they take "
        "patches as independent, which overlapping ones are not."
    )


def resolution(evaluation: Evaluation) -> Iterator[str]:
    """The effective resolution of each method near 100 m; none where no method reaches one."""
    (level,) = nearest_levels(evaluation.depths, [RESOLUTION_DEPTH])
    reached = [
        f"{method.label} {scores[level]['resolution'].value:.0f} km"
        for method, scores in evaluation.by_depth.items()
        if "resolution" in scores[level]
    ]
    if not reached:
        return
    best = evaluation.by_depth[evaluation.best][level] if evaluation.best else {}
    ratio = best.get("resolution_ratio")
    interval = f", 95 % interval {brackets(ratio)}" if ratio and brackets(ratio) else ""
    against = f" ({digits(ratio.value)} of OI's{interval})" if ratio else ""
    yield f"Effective resolution at {evaluation.depths[level]:.3g} m: {', '.join(reached)}{against}."


def against_oi(scores: Scores, resampled: str = "patches") -> Iterator[str]:
    """RMSE and CRPS as ratios to OI, and whether the difference is significant; `resampled` names what the intervals are over."""
    for name, heading in (("rmse_ratio", "RMSE"), ("crps_ratio", "CRPS")):
        if name in scores:
            score = scores[name]
            interval = f", 95 % interval {brackets(score)}" if score.low is not None else ""
            yield f"{heading} {digits(score.value)} of OI's{interval}: {verdict(score, resampled)}."
