"""A job of a sweep that starts a second time, because a queue or its sweep was started again, goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from depthdif.sweep.metrics import set_aside
from depthdif.sweep.record import FINISHED, keeps_record, read_record


def earlier_score() -> float | None:
    """The score of this job of a sweep where an earlier attempt finished it; None otherwise."""
    folder = job_folder()
    record = read_record(folder) if folder else None
    return record.score if record is not None and record.status == FINISHED else None


def own_checkpoint() -> str | None:
    """The last checkpoint that an earlier attempt at this job of a sweep left, where there is one.

    What the attempt logged is set aside, because the logger that goes on would delete it.
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
