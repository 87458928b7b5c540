"""Commands that upload offline W&B runs; nothing heavy is imported here."""

from __future__ import annotations

import shlex
from pathlib import Path

from depthdif.files import near

OFFLINE_RUNS = "wandb/offline-run-*"


def run_sync_command(folder: Path) -> str:
    """The command that uploads one offline run, by its folder `wandb/offline-run-...`."""
    return f"wandb sync {shlex.quote(near(folder))}"


def sweep_sync_command(folder: Path) -> str | None:
    """The command that uploads every offline run of a sweep, by the sweep folder; None where there is no such run.

    The shell expands the runs: FOLDER/*/wandb/offline-run-*, with one star for each level of the job folders. `wandb sync`
    skips runs that are uploaded already, so that the command may be repeated.
    """
    jobs = [run.relative_to(folder).parts[:-2] for run in folder.rglob(OFFLINE_RUNS) if run.is_dir()]
    stars = sorted({"*/" * len(job) for job in jobs})
    patterns = [f"{shlex.quote(near(folder))}/{job}{OFFLINE_RUNS}" for job in stars]
    return " ".join(["wandb sync", *patterns]) if patterns else None
