"""One job of a sweep: its record, which the table at the end reads, and its continuation after an interruption.

Lightning starts a new metrics.csv for a job that continues: the rows of earlier attempts are put before it at the end.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from depthdif.files import write_csv, write_text

RECORD = "job.json"
# Scalars of a run, as the CSVLogger of conf/logger writes them.
METRICS = Path("metrics", "metrics.csv")
BEFORE = METRICS.with_name("metrics_before.csv")

# "running" is also the state of a job that was killed before it could record its end.
RUNNING, FINISHED, FAILED = "running", "finished", "failed"


@dataclass
class JobRecord:
    """State and result of a job.

    Attributes:
        number: of the job within its sweep.
        label: the overrides that the sweep varies, in short.
        overrides: all overrides of the job.
        status: "running", "finished" or "failed".
        reason: why it failed, in one line.
        score: val/recon_mse_full_recon at the end.
        seconds: duration of its last attempt.
    """

    number: int
    label: str
    overrides: list[str] = field(default_factory=list)
    status: str = RUNNING
    reason: str = ""
    score: float | None = None
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        """Write the record into the folder of the job, whole or not at all."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


def keeps_record() -> bool:
    """Whether this process keeps the record of its job: the first one, where a job of SLURM has several."""
    return os.environ.get("SLURM_PROCID", "0") == "0"


def read_record(folder: Path) -> JobRecord | None:
    """The record in the folder of a job, if there is one."""
    path = folder / RECORD
    return JobRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


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
