"""Records the jobs of a sweep in whatever process they run: a failed one does not stop the others."""

from __future__ import annotations

import logging
import math
import sys
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from depthdif.sweep.job import FAILED, FINISHED, JobRecord, read_record
from depthdif.sweep.plugins import check_plugin
from depthdif.sweep.slurm import is_first_process
from depthdif.terminal import in_one_line, lines_about
from depthdif.weights_and_biases.job_name import MULTIRUN, job_label

log = logging.getLogger(__name__)


class SweepCallback(Callback):
    """Records each job of a sweep in its folder, and turns the exception of a failed one into a return value.

    Hydra raises the first exception again at the end of its batch of jobs, which would skip the batches after it and the
    end of the sweep. A failed job returns text instead: Optuna cannot read a number in it and marks the trial failed.
    """

    # Folders of the sweeps that this process has started.
    started_sweeps: ClassVar[list[Path]] = []

    def __init__(self) -> None:
        self.started = 0.0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit with one line where the sweep cannot run; else save its config, from which jobs know the swept keys."""
        for part in ("launcher", "sweeper"):
            check_plugin(part, config.hydra[part]._target_)
        folder = Path(config.hydra.sweep.dir)
        if (folder / MULTIRUN).is_file():
            # Only the jobs of the same sweep can continue there, by their numbers.
            earlier = OmegaConf.load(folder / MULTIRUN).hydra.overrides.task
            if earlier != config.hydra.overrides.task or not is_repeatable(config):
                sys.exit(
                    f"error: hydra.sweep.dir={folder} contains another sweep; set hydra.sweep.dir=FOLDER for a new one"
                )
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / MULTIRUN)
        self.started_sweeps.append(folder)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record that the job runs, unless it was finished before."""
        if not is_recorded(config):
            return
        self.started = time.monotonic()
        folder, overrides = Path(config.hydra.runtime.output_dir), list(config.hydra.overrides.task)
        earlier = read_record(folder)
        if earlier is None or earlier.status != FINISHED:
            label = job_label(Path(config.hydra.sweep.dir), overrides)
            JobRecord(config.hydra.job.num, label, overrides).write(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record how the job ended."""
        if not is_recorded(config):
            return
        folder = Path(config.hydra.runtime.output_dir)
        record = read_record(folder)
        if record is None or record.status == FINISHED:
            return
        record.seconds = time.monotonic() - self.started
        value = job_return._return_value
        if job_return.status is JobStatus.FAILED:
            record.status, record.reason = FAILED, failure_reason(value)
            with (folder / f"{config.hydra.job.name}.log").open("a", encoding="utf-8") as file:
                traceback.print_exception(value, file=file)
        elif not math.isfinite(value):
            reason = f"its score is {value}: it diverged, or was never validated"
            record.status, record.reason = FAILED, reason
        else:
            record.status, record.score = FINISHED, float(value)
        record.write(folder)
        if record.status == FAILED:
            log.error("job %d failed: %s", record.number, record.reason)
            job_return.status, job_return.return_value = JobStatus.COMPLETED, f"failed: {record.reason}"


def is_recorded(config: DictConfig) -> bool:
    """Whether this process keeps the record of a job, one of a sweep."""
    return config.hydra.mode == RunMode.MULTIRUN and is_first_process()


def is_repeatable(config: DictConfig) -> bool:
    """Whether the same command makes the same jobs again, as with Hydra's own sweeper."""
    return str(config.hydra.sweeper._target_).endswith(".BasicSweeper")


def failure_reason(error: BaseException) -> str:
    """Why a job failed, in one line."""
    known = ValueError | OSError | HydraException | OmegaConfBaseException
    if lines := lines_about(error, "train") if isinstance(error, known) else []:
        return lines[0].removeprefix("error: ")
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {in_one_line(cause)}"
