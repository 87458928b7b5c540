"""The record of one job of a sweep: the process of the job writes it into its folder, the table at the end reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from depthdif.files import write_text

RECORD = "job.json"
# Scalars of a run, as the CSVLogger of conf/logger writes them.
METRICS = Path("metrics", "metrics.csv")

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
