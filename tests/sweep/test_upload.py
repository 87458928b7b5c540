"""The printed command uploads every offline run of a sweep, and fails at the login alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from depthdif.sweep.table import sync_command


def offline_run(job: Path) -> Path:
    """An offline W&B run with one value, in the folder of a job."""
    job.mkdir(parents=True)
    run = wandb.init(dir=job, project="test", mode="offline", settings=wandb.Settings(silent=True))
    run.log({"val/loss": 1.0})
    run.finish()
    (folder,) = job.glob("wandb/offline-run-*")
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A printed command, as a user without a W&B login types it."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "WANDB_CONFIG_DIR": str(folder / "config")}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
                          check=False, stdin=subprocess.DEVNULL)  # fmt: skip


def test_a_sweep_is_uploaded_with_one_command_for_all_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "multirun" / "one sweep"
    runs = [offline_run(sweep / str(number)) for number in range(3)]
    monkeypatch.chdir(tmp_path)
    command = sync_command(sweep)
    assert command == "wandb sync 'multirun/one sweep'/*/wandb/offline-run-*"
    done = shell(command, tmp_path)
    output = done.stdout + done.stderr
    assert "Syncing 3 run(s)" in output
    assert all(run.name in output for run in runs)
    # Only the login is missing.
    assert done.returncode == 1
    assert [line for line in output.splitlines() if line.startswith("Error")] == [
        "Error: No API key configured. Use `wandb login` to log in."
    ]


def test_jobs_in_folders_of_several_levels_are_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for job in ("0", "lr=1/decay=0.9"):
        (tmp_path / "sweep" / job / "wandb" / "offline-run-20000101_000000-abc").mkdir(parents=True)
    command = sync_command(tmp_path / "sweep")
    assert command == "wandb sync sweep/*/wandb/offline-run-* sweep/*/*/wandb/offline-run-*"


def test_a_sweep_without_offline_runs_has_no_command(tmp_path: Path) -> None:
    (tmp_path / "0" / "wandb" / "run-20000101_000000-abc").mkdir(parents=True)
    assert sync_command(tmp_path) is None
