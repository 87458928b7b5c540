from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from rich.console import Console

from depthdif.sweep.job import FAILED, FINISHED, RUNNING, JobRecord
from depthdif.sweep.table import best_job, duration, job_table, near, read_jobs, report
from depthdif.terminal import print_table

HEADER = "step,train/loss,val/recon_mse_full_recon,val/recon_psnr_full_recon,val/recon_ssim_full_recon,"
EMA = "val_standard/recon_mse_full_recon,val_ema/recon_mse_full_recon"


def job(sweep: Path, number: int, status: str, mse: float | None = None, extra: float | None = None) -> None:
    folder = sweep / str(number)
    reason = "decay is 2" if status == FAILED else ""
    JobRecord(number, f"decay=0.{number}", [f"model.ema.decay=0.{number}"], status, reason, mse, 61.0).write(
        folder
    )
    if mse is not None:
        (folder / "metrics").mkdir()
        more = (",val_ema_0.99/recon_mse_full_recon", f",{extra}") if extra is not None else ("", "")
        # The last row of training has no scores, the first validation had others.
        rows = [
            f"1,,9,9,0.1,9,9{',9' if extra is not None else ''}",
            f"3,,{mse},20,0.5,{mse + 1},{mse}{more[1]}",
            f"4,0.1,,,,,{',' if extra is not None else ''}",
        ]
        (folder / "metrics" / "metrics.csv").write_text("\n".join([HEADER + EMA + more[0], *rows]) + "\n")
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").touch()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "-m", "model.ema.decay=0.0,0.1,0.2"])
    folder = tmp_path / "multirun" / "one"
    folder.mkdir(parents=True)
    (folder / "multirun.yaml").write_text(
        "hydra: {sweeper: {_target_: hydra._internal.core_plugins.basic_sweeper.BasicSweeper}}"
    )
    return folder


def printed(sweep: Path, width: int = 110) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        print_table(console, job_table(read_jobs(sweep), width))
    return capture.get().splitlines()


def test_each_job_is_a_row_of_its_last_scores_and_the_best_is_marked(sweep: Path) -> None:
    for number, mse in ((10, 3.0), (2, 1.5), (1, 2.0)):
        job(sweep, number, FINISHED, mse)
    rows = [line for line in printed(sweep) if "decay" in line]
    assert [row.split()[0] for row in rows] == ["1", "2*", "10"]
    assert all(
        word in rows[1]
        for word in ("decay=0.2", "2.5000", "1.5000", "20.00", "0.5000", "0:01:01", "finished")
    )


def test_a_job_that_is_not_finished_is_never_the_best(sweep: Path) -> None:
    job(sweep, 0, RUNNING, 0.1)
    job(sweep, 1, FINISHED, 2.0)
    job(sweep, 2, FAILED)
    best = best_job(read_jobs(sweep))
    assert best is not None
    assert best.record.number == 1
    rows = [line for line in printed(sweep) if "decay" in line]
    assert "unfinished" in rows[0]
    assert "failed" in rows[2]
    assert "*" not in rows[0] + rows[2]


def test_where_runs_keep_several_averages_the_best_of_each_is_shown(sweep: Path) -> None:
    job(sweep, 0, FINISHED, 2.0, extra=1.25)
    job(sweep, 1, FINISHED, 1.0, extra=1.25)
    first, second = [line for line in printed(sweep) if "decay=" in line]
    assert first.split()[2:6] == ["3.0000", "2.0000", "0.99", "1.2500"]
    assert second.split()[2:6] == ["2.0000", "1.0000", "ema", "1.0000"]


@pytest.mark.parametrize("width", [60, 80, 110])
def test_no_value_is_broken_on_a_narrow_terminal(sweep: Path, width: int) -> None:
    for number in (0, 99):
        job(sweep, number, FINISHED, 12.5, extra=1.25)
    lines = printed(sweep, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for word in ("decay=0.0", "decay=0.99", "13.5000", "1.2500", "finished", "99", "standard"):
        assert word in words, word
    assert ("0.5000" in words) == (width == 110)  # SSIM is the first column to go.


def test_a_label_longer_than_the_terminal_is_not_broken_either(sweep: Path) -> None:
    job(sweep, 0, FINISHED, 1.0)
    label = f"model.ema.decay.share={'0.123456' * 10}"
    JobRecord(0, label, [], FINISHED, "", 1.0, 61.0).write(sweep / "0")
    assert any(label in line for line in printed(sweep, 80))


def test_labels_of_the_next_steps_keep_their_space(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(sweep, 0, FINISHED, 2.0)
    (sweep / "0" / "wandb" / "offline-run-1").mkdir(parents=True)
    report(sweep)
    lines = capsys.readouterr().out.splitlines()
    assert "upload to W&B: wandb sync multirun/one/*/wandb/offline-run-*" in lines


def test_the_report_shows_failures_with_their_reasons_and_the_next_commands(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(sweep, 0, FINISHED, 2.0)
    job(sweep, 1, FAILED)
    assert not report(sweep)
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "job 1 failed: decay is 2",
        "table:    multirun/one/sweep.csv",
        "compare:  python scripts/compare.py runs=[multirun/one]",
        "train on: python scripts/train.py resume=multirun/one/0/checkpoints/last.ckpt trainer.max_steps=8",
        "again:    python scripts/train.py -m model.ema.decay=0.0,0.1,0.2 hydra.sweep.dir=multirun/one  "
        "(keeps the finished jobs, continues the others)",
    ):
        assert line in lines


def test_sweep_csv_has_every_job_with_every_score_in_full(sweep: Path) -> None:
    job(sweep, 0, FINISHED, 2.123456789)
    job(sweep, 1, FAILED)
    assert not report(sweep)
    with (sweep / "sweep.csv").open() as file:
        finished, failed = csv.DictReader(file)
    assert float(finished["val_ema/recon_mse_full_recon"]) == 2.123456789
    assert (finished["status"], finished["steps"], finished["overrides"]) == (
        "finished",
        "4",
        "model.ema.decay=0.0",
    )
    assert (failed["status"], failed["reason"], failed["val_ema/recon_mse_full_recon"]) == (
        "failed",
        "decay is 2",
        "",
    )


def test_a_sweep_that_never_began_a_job_has_no_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(sweep)
    assert not capsys.readouterr().out
    assert not (sweep / "sweep.csv").exists()


def test_times_and_paths_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [duration(seconds) for seconds in (0, 61.4, 36_610)] == ["-", "0:01:01", "10:10:10"]
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "multirun" / "one") == "multirun/one"
