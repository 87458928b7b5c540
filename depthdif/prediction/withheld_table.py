"""The scores at withheld profiles as tables on the terminal and as CSV files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.result import OI, Method
from depthdif.evaluation.table import against_oi, cell, digits
from depthdif.files import near, write_csv
from depthdif.prediction.withheld import HiddenValues, WithheldScores, rows_of
from depthdif.scores.score import Scores, in_units
from depthdif.terminal import print_lines, print_table

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
    scores: WithheldScores, hidden: HiddenValues, depths: np.ndarray, units: str, stem: Path, console: Console
) -> list[Path]:
    """Print the scores over all depths and by depth, write `STEM_scores.csv` and `STEM_withheld.csv`, and return their paths."""
    files = [stem.with_name(f"{stem.name}_{name}.csv") for name in ("scores", "withheld")]
    write_csv(files[0], list(score_rows(scores, depths, units)))
    write_csv(files[1], rows_of(hidden, depths))
    print_table(console, overall_table(scores, units))
    print_table(console, depth_table(scores, depths, units))
    best = list(scores.overall)[-1]
    if "rmse_ratio" in scores.overall[best] and best != OI:
        print_lines(
            console,
            f"{best.label} against OI at the withheld profiles: {' '.join(against_oi(scores.overall[best]))}",
        )
    print_lines(console, f"scores:   {near(files[0])}, each withheld value: {near(files[1])}")
    return files


def overall_table(scores: WithheldScores, units: str) -> Table:
    """A row for each method, over all depths."""
    table = Table(
        title=f"At {scores.values} withheld values of {scores.platforms} platforms, in {units}, error of the observations "
        "included; in brackets 95 % intervals over platforms",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    columns = [column for column in COLUMNS if any(column[0] in each for each in scores.overall.values())]
    table.add_column("method", no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for method, each in scores.overall.items():
        table.add_row(method.label, *(cell(each, name, interval) for name, _, interval in columns))
    return table


def depth_table(scores: WithheldScores, depths: np.ndarray, units: str) -> Table:
    """RMSE of each method at each depth where something was hidden."""
    table = Table(title=f"RMSE by depth, in {units}", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("depth, m", "values", *(method.label for method in scores.by_depth)):
        table.add_column(heading, justify="right")
    for level in np.flatnonzero(scores.counts):
        rmse = [levels[level].get("rmse") for levels in scores.by_depth.values()]
        table.add_row(
            f"{depths[level]:.4g}",
            str(scores.counts[level]),
            *("" if score is None else digits(score.value) for score in rmse),
        )
    return table


def score_rows(scores: WithheldScores, depths: np.ndarray, units: str) -> Iterator[dict[str, Any]]:
    """A row for each score of each method over all depths (`depth_m` empty) and at each depth."""
    groups: list[tuple[Method, Scores, float | str, int]] = [
        (method, each, "", scores.values) for method, each in scores.overall.items()
    ]
    groups += [
        (method, each, float(depth), int(count))
        for method, levels in scores.by_depth.items()
        for each, depth, count in zip(levels, depths, scores.counts, strict=True)
    ]
    for method, each, depth, count in groups:
        for name, score in each.items():
            yield {
                **method.columns,
                "depth_m": depth,
                "score": name,
                "units": in_units(name, units),
                "value": score.value,
                "low_95": score.low,
                "high_95": score.high,
                "values": count,
                "platforms": scores.platforms,
            }
