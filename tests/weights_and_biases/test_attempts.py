"""Several attempts at one run: W&B gets each row once, whatever of them the killed ones had written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from PIL import Image

import depthdif.weights_and_biases.attempts as attempts_module
from depthdif.loggers.metrics_csv import MetricsCSV
from depthdif.loggers.metrics_file import METRICS
from depthdif.weights_and_biases import STEP
from depthdif.weights_and_biases.attempts import Logged, attempts, logged_by, rows_of, run_id
from depthdif.weights_and_biases.checkpoints import CheckpointUpload
from depthdif.weights_and_biases.logger import RunLogger, sync_command, wandb_logger

PANEL = "val_imgs/x_y_full_reconstruction"

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def no_run_left_open() -> Iterator[None]:
    yield
    wandb.finish()


class Recorder(RunLogger):
    """Keeps what it would log to W&B."""

    def __init__(self, logged: Logged) -> None:
        self.rows: Rows = []
        run = SimpleNamespace(log=self.rows.append, define_metric=lambda *_, **__: None)
        super().__init__(logged, CheckpointUpload(False), experiment=run)  # type: ignore[arg-type]


def row(step: int, **values: float) -> dict[str, Any]:
    return {**values, STEP: step}


# As training logs it: learning rate and loss of each step, and a panel and the scores of a validation after step 1.
SEQUENCE: Rows = [row(0, lr=0.1), row(0, loss=3.0), row(1, lr=0.2), row(1, loss=2.0), {PANEL: [], STEP: 1},
                  row(1, score=5.0), row(2, lr=0.3), row(2, loss=1.0)]  # fmt: skip


@pytest.mark.parametrize("first", range(len(SEQUENCE) + 1))
def test_rows_that_an_earlier_attempt_has_logged_are_left_out(first: int) -> None:
    logged = Logged()
    for earlier in SEQUENCE[:first]:
        logged = logged.after(earlier)
    logger = Recorder(logged)
    for each in SEQUENCE:
        logger.log_metrics({key: value for key, value in each.items() if key != STEP}, each[STEP])
    assert logger.rows == SEQUENCE[first:]


def test_rows_of_metrics_csv_and_panels_that_w_and_b_has_lost_are_logged_again(tmp_path: Path) -> None:
    csv = MetricsCSV(tmp_path / METRICS)
    scalars = [each for each in SEQUENCE if PANEL not in each]
    for each in scalars:
        csv.log_metrics({key: value for key, value in each.items() if key != STEP}, each[STEP])
    (tmp_path / "panels").mkdir()
    for steps in (2, 9):  # The second is of a validation beyond the checkpoint.
        Image.new("RGB", (2, 2)).save(tmp_path / "panels" / f"x_y_full_reconstruction_step={steps:07d}.png")
    logger = Recorder(Logged(step=1, rows=1))
    logger.catch_up(tmp_path)
    assert [each for each in logger.rows if PANEL not in each] == scalars[3:]
    assert [each[STEP] for each in logger.rows if PANEL in each] == [1]
    logger.log_metrics({"lr": 0.4}, 3)
    assert logger.rows[-1] == row(3, lr=0.4)


def test_each_attempt_has_a_folder_of_the_same_id_and_all_are_uploaded_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    csv = MetricsCSV(tmp_path / "run" / METRICS)
    for step in range(4):
        # Folders have seconds in their names.
        if step == 2:
            shutil.move(attempts(tmp_path / "run" / "wandb")[0], tmp_path / "run" / "wandb" / renamed(csv))
        if step in (0, 2):
            logger = wandb_logger("run", project="test", name="one")
        csv.log_metrics({"loss": float(step)}, step)
        logger.log_metrics({"loss": float(step)}, step)
        if step in (1, 3):
            wandb.finish()
            command = sync_command(logger)
    folders = attempts(tmp_path / "run" / "wandb")
    assert {folder.name.rpartition("-")[2] for folder in folders} == {run_id(tmp_path / "run" / "wandb")}
    assert [[each["loss"] for each in rows_of(folder)] for folder in folders] == [[0, 1], [2, 3]]
    assert command == "wandb sync run/wandb/offline-run-*"


def renamed(csv: MetricsCSV) -> str:
    """The name of the first attempt, as if it were of an earlier day."""
    (attempt,) = attempts(csv.path.parents[1] / "wandb")
    return f"offline-run-20000101_000000-{attempt.name.rpartition('-')[2]}"


def test_an_attempt_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def rows(attempt: Path) -> Rows:
        read.append(attempt.name)
        return [row(len(read), loss=1.0)]

    monkeypatch.setattr(attempts_module, "rows_of", rows)
    assert logged_by(tmp_path) == Logged()
    first, second = "offline-run-20000101_000000-abc", "run-20000102_000000-abc"
    for number, name in enumerate((first, second), start=1):
        (tmp_path / name).mkdir()
        for _ in range(2):
            logged = logged_by(tmp_path)
            assert (logged.step, logged.rows) == (number, 1)
    assert read == [first, second]
    assert run_id(tmp_path) == "abc"


def test_an_attempt_that_was_killed_before_anything_was_written_does_not_stop_the_upload(
    tmp_path: Path,
) -> None:
    attempt = tmp_path / "offline-run-20000101_000000-abc"
    attempt.mkdir()
    # The head of the file alone.
    (attempt / "run-abc.wandb").write_bytes(b":W&B\xd4\xb3\x00")
    assert rows_of(attempt) == []
    assert logged_by(tmp_path) == Logged(attempts=[attempt.name])
    assert attempts(tmp_path) == []


def test_an_attempt_that_cannot_be_read_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attempt = tmp_path / "offline-run-20000101_000000-abc"
    attempt.mkdir()
    (attempt / "run-abc.wandb").write_bytes(b"not a file of W&B")
    assert logged_by(tmp_path) == Logged(attempts=[attempt.name])
    assert attempts(tmp_path) == [attempt]
    assert "cannot be read" in caplog.text


def test_online_the_rows_of_the_server_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, Any] = {}

    def init(**arguments: Any) -> Any:
        opened.update(arguments)
        settings = SimpleNamespace(mode="online")
        return SimpleNamespace(
            settings=settings, summary={STEP: 7}, url="", define_metric=lambda *_, **__: None, log=print
        )

    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "wandb" / "run-20000101_000000-abc").mkdir(parents=True)
    logger = wandb_logger(tmp_path, project="test")
    assert (opened["id"], opened["resume"], opened["mode"]) == ("abc", "allow", "online")
    assert isinstance(logger, RunLogger)
    assert logger.was_logged(row(7, loss=1.0))
    assert not logger.was_logged(row(8, loss=1.0))
