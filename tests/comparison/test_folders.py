"""Which folders are runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from depthdif import UserError
from depthdif.comparison.run import find_run_folders

MakeRun = Callable[..., Path]


def test_jobs_of_a_sweep_come_in_the_order_of_their_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    for name in ("10", "9", "0"):
        make_run(f"sweep/{name}", panels=False)
    assert [run.name for run in find_run_folders([tmp_path / "sweep"])] == ["0", "9", "10"]


def test_runs_and_sweeps_mix_and_each_run_comes_once(make_run: MakeRun, tmp_path: Path) -> None:
    run, job = make_run("run", panels=False), make_run("sweep/0", panels=False)
    assert find_run_folders([run, tmp_path / "sweep", job, str(run)]) == [run, job]


def test_jobs_in_nested_folders_are_included(make_run: MakeRun, tmp_path: Path) -> None:
    job = make_run("sweep/lr=0.1/decay=0.9", panels=False)
    assert find_run_folders([tmp_path / "sweep"]) == [job]


@pytest.mark.parametrize("name", ["config.yaml", "metrics/metrics.csv", "job.json", "panels/x.png"])
def test_any_one_trace_makes_a_run(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "0" / name
    trace.parent.mkdir(parents=True)
    trace.touch()
    assert find_run_folders([tmp_path]) == [tmp_path / "0"]


def test_a_job_that_left_only_what_hydra_keeps_is_a_run_and_that_of_another_script_is_not(
    tmp_path: Path,
) -> None:
    for name, config in {"train": "trainer:\n  max_steps: 1\n", "compare": "runs: []\n"}.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").write_text(config)
    assert find_run_folders([tmp_path]) == [tmp_path / "train"]


def test_no_folder_is_refused_with_what_to_set() -> None:
    with pytest.raises(UserError, match=r"^runs=\[\]: .*set runs=\[runs/DATE_TIME"):
        find_run_folders([])


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*no such folder.*set runs="):
        find_run_folders([tmp_path / "nowhere"])


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match=r"expected config\.yaml.*set runs="):
        find_run_folders([tmp_path])
