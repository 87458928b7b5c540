"""The scalars of a run from its metrics.csv, also while it is being written."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

# Optimizer step -> value, ascending. A value that was logged as NaN is kept: it shows that something diverged.
Series = dict[int, float]


def read_scalars(path: Path) -> tuple[dict[str, Series], list[str]]:
    """Every scalar of a file of Lightning's CSVLogger by optimizer step, and remarks on what is missing or broken.

    Lightning counts steps from 0 in what it logs; here a step is the number of optimizer steps made, as in the names of the
    panels. Several lines of one step are merged. A line that is being written is left out, even if it looks complete.
    """
    if not path.is_file():
        return {}, [f"no scalars yet: {path.name} is missing"]
    # What follows the last line break is still being written: its last number may be cut short.
    whole, _, unfinished = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    header, *rows = csv.reader(whole.splitlines()) if whole.strip() else [[]]
    if "step" not in header or not rows:
        return {}, [f"no scalars yet: {path.name} is empty"]
    remarks = [f"the last line of {path.name} is still being written; it is left out"] if unfinished else []
    columns: dict[str, Series] = defaultdict(dict)
    unreadable = 0
    for row in rows:
        cells = dict(zip(header, map(as_number, row), strict=False))
        step = cells.pop("step", None)
        if len(row) != len(header) or step is None or not math.isfinite(step):
            unreadable += 1
            continue
        for name, value in cells.items():
            if value is not None:
                columns[name][int(step) + 1] = value
    if unreadable:
        remarks.append(f"{unreadable} lines of {path.name} cannot be read; they are left out")
    return {name: dict(sorted(series.items())) for name, series in columns.items()}, remarks


def as_number(text: str) -> float | None:
    """The number in a cell, NaN and infinity included; None for any other text."""
    try:
        return float(text)
    except ValueError:
        return None


def finite(series: Series) -> Series:
    """The series without NaN and infinity."""
    return {step: value for step, value in series.items() if math.isfinite(value)}
