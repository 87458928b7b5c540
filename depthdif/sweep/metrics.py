"""The metrics.csv of a job that goes on: Lightning begins it anew, and what was logged before joins it at the end."""

from __future__ import annotations

import csv
from pathlib import Path

METRICS = Path("metrics") / "metrics.csv"
BEFORE = Path("metrics") / "metrics_before.csv"


def set_aside(folder: Path) -> None:
    """Keep what the attempts so far have logged from being deleted."""
    join(folder)
    if (folder / METRICS).is_file():
        (folder / METRICS).replace(folder / BEFORE)


def join(folder: Path) -> None:
    """Put what was set aside before what was logged since then; steps that were trained twice count once."""
    if not (folder / BEFORE).is_file():
        return
    before, since = rows_of(folder / BEFORE), rows_of(folder / METRICS)
    first = min((int(row["step"]) for row in since), default=None)
    rows = [row for row in before if first is None or int(row["step"]) < first] + since
    names = dict.fromkeys(name for row in rows for name in row)
    unfinished = (folder / METRICS).with_suffix(".unfinished.csv")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names), restval="")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(folder / METRICS)
    (folder / BEFORE).unlink()


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
