"""The metrics.csv of a resumed job: Lightning starts a new file, and the rows of earlier attempts go before it at the end."""

from __future__ import annotations

import csv
from pathlib import Path

from depthdif.files import write_csv

METRICS = Path("metrics") / "metrics.csv"
BEFORE = Path("metrics") / "metrics_before.csv"


def set_aside(folder: Path) -> None:
    """Move the rows of the attempts so far to a file that Lightning does not delete."""
    join(folder)
    if (folder / METRICS).is_file():
        (folder / METRICS).replace(folder / BEFORE)


def join(folder: Path) -> None:
    """Put the rows set aside before those logged since then; of steps that were trained twice the later rows count."""
    if not (folder / BEFORE).is_file():
        return
    before, since = read_rows(folder / BEFORE), read_rows(folder / METRICS)
    first = min((int(row["step"]) for row in since), default=None)
    rows = [row for row in before if first is None or int(row["step"]) < first] + since
    write_csv(folder / METRICS, rows)
    (folder / BEFORE).unlink()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
