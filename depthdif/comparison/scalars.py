"""The scalars of a run out of its metrics.csv, also while it is being written."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

# Optimizer step -> value, ascending. A value that was logged as NaN is kept: it says that something diverged.
Series = dict[int, float]

METRICS_FILE = Path("metrics", "metrics.csv")


def read_scalars(path: Path) -> tuple[dict[str, Series], list[str]]:
    """Every scalar of a file of Lightning's CSVLogger by optimizer step, and what is to be said of the file.

    Lightning counts steps from 0 in what it logs; here a step is the number of optimizer steps made, as in the names of the
    panels. Several lines of one step are one. A line that is being written is left out, also when it looks whole.
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
        cells = dict(zip(header, row, strict=False))
        step = as_number(cells.pop("step", ""))
        if len(row) != len(header) or step is None or not math.isfinite(step):
            unreadable += 1
            continue
        for name, cell in cells.items():
            if (value := as_number(cell)) is not None:
                columns[name][int(step) + 1] = value
    if unreadable:
        remarks.append(f"{unreadable} lines of {path.name} cannot be read; they are left out")
    return {name: dict(sorted(series.items())) for name, series in columns.items()}, remarks


def as_number(text: str) -> float | None:
    """The number that a cell holds, NaN and infinities among them; None where it holds none."""
    try:
        return float(text)
    except ValueError:
        return None


def finite(series: Series) -> Series:
    """Without the values that are NaN or infinite."""
    return {step: value for step, value in series.items() if math.isfinite(value)}
