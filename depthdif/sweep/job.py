"""The record of one job of a sweep, which the table at the end reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from depthdif.files import write_text

RECORD = "job.json"

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


def read_record(folder: Path) -> JobRecord | None:
    """The record in the folder of a job, if there is one."""
    path = folder / RECORD
    return JobRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def earlier_score() -> float | None:
    """The score of this job of a sweep where an earlier attempt finished it; None otherwise."""
    folder = job_folder()
    record = read_record(folder) if folder else None
    return record.score if record is not None and record.status == FINISHED else None


def job_folder() -> Path | None:
    """The folder of the job that runs here; None outside of a sweep."""
    job = HydraConfig.get()
    return Path(job.runtime.output_dir) if job.mode == RunMode.MULTIRUN else None
