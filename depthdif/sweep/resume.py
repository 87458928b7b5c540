"""A job that starts a second time, because a queue or its sweep was started again, does not begin anew."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from depthdif.sweep.metrics import set_aside
from depthdif.sweep.record import FINISHED, keeps_record, read_record


def score_before() -> float | None:
    """The score of this job of a sweep, where it was finished before in the same folder."""
    folder = folder_of_job()
    record = read_record(folder) if folder else None
    return record.score if record is not None and record.status == FINISHED else None


def from_where_it_was_cut_off(cfg: DictConfig) -> DictConfig:
    """`cfg`, resuming the job's own last checkpoint where an earlier attempt at this job of a sweep left one."""
    folder = folder_of_job()
    if folder and (folder / "checkpoints" / "last.ckpt").is_file():
        if keeps_record():
            set_aside(folder)
        cfg.resume = str(folder / "checkpoints" / "last.ckpt")
    return cfg


def folder_of_job() -> Path | None:
    """The folder of the job that runs here; None outside of a sweep."""
    job = HydraConfig.get()
    return Path(job.runtime.output_dir) if job.mode == RunMode.MULTIRUN else None
