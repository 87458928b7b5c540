"""The job of SLURM that this process belongs to: its number, the name of its run folder, and its return to the queue."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from datetime import datetime

from omegaconf import OmegaConf

log = logging.getLogger(__name__)

# Names that SLURM gives to allocations in which a user types commands.
INTERACTIVE = ("bash", "interactive")
TIMEOUT_SECONDS = 60


def slurm_job() -> str | None:
    """The number of the batch job, of an array that of the task such as "7_2"; None outside of one."""
    if os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def is_first_process() -> bool:
    """Whether this is the first process of a job of SLURM, or there is no such job."""
    return os.environ.get("SLURM_PROCID", "0") == "0"


def run_name() -> str:
    """The name of a run folder: date and time, or in a batch job its number and a digest of the command line.

    A job that is queued again finds its folder by that name, and all its processes have the same; the digest separates
    several runs of one job.
    """
    if (job := slurm_job()) is None:
        return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    return f"slurm_{job}_{hashlib.sha256(repr(sys.argv[1:]).encode()).hexdigest()[:6]}"


# Processes of joblib and submitit get the config, and with it the name that it had when it was first resolved.
OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)


def is_preempted(job: str) -> bool:
    """Whether a job that got SIGTERM still counts as running: then it is preempted, and not cancelled or out of time."""
    try:
        state = _output("squeue", "--noheader", "--format=%T", f"--jobs={job}")
    except (OSError, subprocess.SubprocessError):
        return False
    return state.strip() == "RUNNING"


def requeue(job: str) -> bool:
    """Have SLURM queue the job again; False, after a line about it, where that fails."""
    try:
        _output("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        log.error("the job is not queued again: scontrol requeue %s: %s", job, str(reason).strip())
        return False
    log.info("SLURM has queued job %s again", job)
    return True


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout
