"""The CSV file of the scalars of a run, read and shortened without Lightning."""

from __future__ import annotations

import csv
from pathlib import Path

from depthdif.files import read_csv, write_csv

METRICS = Path("metrics", "metrics.csv")
"""The file within the folder of a run."""

STEP = "step"
"""Its column of steps, which count from 0: values after the first optimizer step have 0."""


def header(path: Path) -> list[str]:
    """The columns of a CSV file; empty without the file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def drop_rows_from(path: Path, step: int) -> None:
    """Remove the rows from `step` on, and a last one that was not written whole; the file too where none is left."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    kept = [row for row in csv.DictReader(whole.splitlines()) if int(row[STEP]) < step]
    if not kept:
        path.unlink()
    elif kept != read_csv(path):
        write_csv(path, kept)


def last_row_with(path: Path, key: str) -> dict[str, float]:
    """The numbers of the last row that has a value for `key`; empty without one."""
    for row in reversed(read_csv(path)):
        if row.get(key):
            return {name: float(value) for name, value in row.items() if name and value}
    return {}
