"""A job of a sweep that starts again, because a queue or its sweep was restarted, continues where it stopped.

Lightning starts a new metrics.csv then: the rows of earlier attempts are put before it at the end of the job.
"""

from __future__ import annotations

import csv
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from depthdif.files import write_csv
from depthdif.sweep.record import FINISHED, METRICS, keeps_record, read_record

BEFORE = METRICS.with_name("metrics_before.csv")


def earlier_score() -> float | None:
    """The score of this job of a sweep where an earlier attempt finished it; None otherwise."""
    folder = job_folder()
    record = read_record(folder) if folder else None
    return record.score if record is not None and record.status == FINISHED else None


def own_checkpoint() -> str | None:
    """The last checkpoint of an earlier attempt at this job of a sweep; None without one.

    The metrics of the attempt are set aside, because the logger that continues would delete them.
    """
    folder = job_folder()
    if folder is None or not (folder / "checkpoints" / "last.ckpt").is_file():
        return None
    if keeps_record():
        set_aside(folder)
    return str(folder / "checkpoints" / "last.ckpt")


def job_folder() -> Path | None:
    """The folder of the job that runs here; None outside of a sweep."""
    job = HydraConfig.get()
    return Path(job.runtime.output_dir) if job.mode == RunMode.MULTIRUN else None


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
    """The rows of a metrics.csv; empty without the file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
