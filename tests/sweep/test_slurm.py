"""The name of the run folder in a job of SLURM, and its return to the queue, with commands of SLURM that only answer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from depthdif.sweep.slurm import is_preempted, requeue, run_name, slurm_job

SLURM = ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")

Command = Callable[..., Path]


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a command on the path that keeps its arguments in the file that is returned."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def put(name: str, prints: str = "", code: int = 0) -> Path:
        kept = tmp_path / f"{name}.txt"
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\necho \"$@\" >> {kept}\necho '{prints}' >&{2 if code else 1}\nexit {code}\n"
        )
        program.chmod(0o755)
        return kept

    return put


def test_outside_of_slurm_and_in_an_interactive_allocation_the_name_is_the_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    date = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"
    assert re.fullmatch(date, run_name())
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for name in ("bash", "interactive"):
        monkeypatch.setenv("SLURM_JOB_NAME", name)
        assert re.fullmatch(date, run_name())


def test_a_job_that_is_queued_again_and_all_its_processes_have_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    name = run_name()
    assert re.fullmatch(r"slurm_12_[0-9a-f]{6}", name)
    for variable in ("SLURM_PROCID", "SLURM_RESTART_COUNT"):
        monkeypatch.setenv(variable, "3")
        assert run_name() == name


def test_two_runs_of_one_job_and_two_tasks_of_an_array_have_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    names = [run_name()]
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=2"])
    names.append(run_name())
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    for task in ("0", "1"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        assert slurm_job() == f"10_{task}"
        names.append(run_name())
    assert len(set(names)) == 4


def test_run_and_sweep_folders_have_that_name(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for part, parent in (("run", "runs"), ("sweep", "multirun")):
        printed = run_script(
            "train", "--cfg", "hydra", "--package", f"hydra.{part}", "--resolve", folder=tmp_path
        )
        assert re.search(rf"dir: {parent}/slurm_12_[0-9a-f]{{6}}\n", printed.stdout), printed.stderr


def test_a_job_is_queued_again_by_its_number(command: Command) -> None:
    kept = command("scontrol")
    assert requeue("10_2")
    assert kept.read_text() == "requeue 10_2\n"


def test_where_slurm_refuses_to_queue_a_job_again_one_line_has_its_reason(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    command("scontrol", "Job has no requeue", code=1)
    assert not requeue("12")
    assert caplog.messages == ["the job is not queued again: scontrol requeue 12: Job has no requeue"]


def test_without_the_commands_of_slurm_nothing_is_queued_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    assert not requeue("12")
    assert not is_preempted("12")
    assert "No such file or directory: 'scontrol'" in caplog.text


@pytest.mark.parametrize(
    ("state", "expected"), [("RUNNING", True), ("COMPLETING", False), ("CANCELLED", False)]
)
def test_a_job_that_got_sigterm_is_preempted_if_it_still_runs(
    command: Command, state: str, expected: bool
) -> None:
    kept = command("squeue", state)
    assert is_preempted("12") is expected
    assert kept.read_text() == "--noheader --format=%T --jobs=12\n"
