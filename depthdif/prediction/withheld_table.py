"""The scores at withheld profiles as tables on the terminal and as CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.result import MODEL, OI, Method
from depthdif.evaluation.table import against_oi, cell
from depthdif.files import near, write_csv
from depthdif.prediction.withheld import HiddenValues, WithheldScores, rows_of
from depthdif.scores.score import RATIOS, Scores, in_units
from depthdif.terminal import print_lines, print_table

# With fewer platforms the percentiles of the bootstrap are coarse and too narrow.
ENOUGH_PLATFORMS = 24
# Width of a terminal, in columns, that fits the table with all its intervals.
WIDE = 160
# Score, heading, whether its interval is shown.
COLUMNS = (
    ("rmse", "RMSE", True),
    ("rmse_ratio", "RMSE /\nOI", True),
    ("bias", "bias", True),
    ("crps", "CRPS", True),
    ("crps_ratio", "CRPS /\nOI", True),
    ("spread_skill", "spread /\nskill", True),
)


def print_scores(
    scores: WithheldScores,
    hidden: HiddenValues,
    depths: np.ndarray,
    units: str,
    stem: Path,
    console: Console,
    name: str = "",
) -> list[Path]:
    """Print the scores over all depths and by depth, write `STEM_scores.csv` and `STEM_withheld.csv`, and return their paths.

    `name` is that of the variable where there are several.
    """
    of = f"{name}: " if name else ""
    files = [stem.with_name(f"{stem.name}_{name}.csv") for name in ("scores", "withheld")]
    write_csv(files[0], list(score_rows(scores, depths, units)))
    write_csv(files[1], rows_of(hidden, depths))
    print_table(console, overall_table(scores, units, console.width < WIDE, of))
    print_table(console, depth_table(scores, depths, units, of))
    print_lines(
        console,
        *(of + line for line in summary(scores)),
        f"scores:   {near(files[0])}, each withheld value: {near(files[1])}",
    )
    return files


def summary(scores: WithheldScores) -> Iterator[str]:
    """The mean of each variant against OI, in sentences, and how far to trust them."""
    for method in means(scores.overall):
        if method.name == MODEL and "rmse_ratio" in scores.overall[method]:
            against = " ".join(against_oi(scores.overall[method], "platforms"))
            yield f"{method.label} against OI at the withheld profiles: {against}"
    if scores.platforms < ENOUGH_PLATFORMS:
        yield (
            f"{scores.platforms} platforms are few: the intervals are wide and themselves uncertain; set a larger withhold, or "
            "more times."
        )


def means(methods: Iterable[Method]) -> list[Method]:
    """Those that are no single members of an ensemble whose mean is there too."""
    largest = {(method.name, method.weights): method for method in methods}
    return list(largest.values())


def overall_table(scores: WithheldScores, units: str, narrow: bool = False, of: str = "") -> Table:
    """A row for each method, over all depths; on a `narrow` terminal only the ratios to OI show their intervals.

    The title starts with `of`.
    """
    table = Table(
        title=f"{of}{'at' if of else 'At'} {scores.values} values "
        f"of {scores.profiles} withheld profiles of {scores.platforms} platforms{_in(units)}, "
        "error of the observations included; in brackets 95 % intervals over platforms",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    columns = [
        (name, heading, interval and not (narrow and name not in RATIOS))
        for name, heading, interval in COLUMNS
        if any(name in each for each in scores.overall.values())
    ]
    table.add_column("method", no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for method, each in scores.overall.items():
        table.add_row(method.label, *(cell(each, name, interval) for name, _, interval in columns))
    return table


def depth_table(scores: WithheldScores, depths: np.ndarray, units: str, of: str = "") -> Table:
    """RMSE at each depth where something was hidden, and over that of OI for the means of the model; without single members."""
    table = Table(
        title=f"{of}RMSE by depth{_in(units)}, and over that of OI with its interval",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    methods = means(scores.by_depth)
    compared = [method for method in methods if method.name == MODEL and OI in methods]
    headings = [method.label.replace(", ", ",\n") for method in methods]
    ratios = [f"{method.label} / OI".replace(", ", ",\n") for method in compared]
    for heading in ("depth,\nm", "profiles", "plat-\nforms", *headings, *ratios):
        table.add_column(heading, justify="right", no_wrap=True)
    for level in np.flatnonzero(scores.counts["values"]).tolist():
        at_level = {method: levels[level] for method, levels in scores.by_depth.items()}
        table.add_row(
            f"{depths[level]:.4g}",
            *(str(scores.counts[name][level]) for name in ("profiles", "platforms")),
            *(cell(at_level[method], "rmse", interval=False) for method in methods),
            *(cell(at_level[method], "rmse_ratio", interval=True) for method in compared),
        )
    return table


def _in(units: str) -> str:
    """Units in a title; practical salinity has none."""
    return f", in {units}" if units else ""


def score_rows(scores: WithheldScores, depths: np.ndarray, units: str) -> Iterator[dict[str, Any]]:
    """A row for each score of each method over all depths (`depth_m` empty) and at each depth."""
    whole = {name: getattr(scores, name) for name in scores.counts}
    groups: list[tuple[Method, Scores, float | str, dict[str, int]]] = [
        (method, each, "", whole) for method, each in scores.overall.items()
    ]
    groups += [
        (method, each, float(depth), {name: int(counts[level]) for name, counts in scores.counts.items()})
        for method, levels in scores.by_depth.items()
        for level, (each, depth) in enumerate(zip(levels, depths, strict=True))
    ]
    for method, each, depth, counts in groups:
        for name, score in each.items():
            yield {
                **method.columns,
                "depth_m": depth,
                "score": name,
                "units": in_units(name, units),
                "value": score.value,
                "low_95": score.low,
                "high_95": score.high,
                **counts,
            }
