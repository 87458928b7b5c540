from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger

from depthdif.weights_and_biases.logger import job_identity, sync_command, wandb_logger
from depthdif.weights_and_biases.login import has_api_key

URL = "https://wandb.example"


@pytest.fixture(autouse=True)
def no_run_left_open() -> Iterator[None]:
    yield
    wandb.finish()


def test_a_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_api_key(URL)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert has_api_key(URL)


@pytest.mark.parametrize(("host", "expected"), [("wandb.example", True), ("elsewhere.example", False)])
def test_a_key_is_read_from_the_netrc_entry_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, expected: bool
) -> None:
    path = tmp_path / "netrc"
    path.write_text(f"machine {host}\n  login user\n  password {'k' * 40}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    assert has_api_key(URL) is expected


def test_a_broken_netrc_is_reported_and_means_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine")
    monkeypatch.setenv("NETRC", str(path))
    assert not has_api_key(URL)
    assert "cannot be read as a netrc file" in caplog.text


def test_without_a_key_the_run_is_offline_and_one_line_shows_how_to_upload_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        logger = wandb_logger(tmp_path, project="test", name="one", group="many")
    run = logger.experiment
    assert run.offline
    assert (run.name, run.group) == ("one", "many")
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "depthdif.weights_and_biases.logger"
    ]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert line == f"W&B: offline; upload with: wandb sync {folder}"
    assert sync_command(logger) == f"wandb sync {folder}"


def test_a_run_elsewhere_is_uploaded_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run 1" / "wandb" / "offline-run-1"
    settings = SimpleNamespace(mode="offline", sync_dir=str(run))
    logger = cast(WandbLogger, SimpleNamespace(experiment=SimpleNamespace(settings=settings)))
    assert sync_command(logger) == f"wandb sync '{run}'"
    monkeypatch.chdir(tmp_path)
    assert sync_command(logger) == "wandb sync 'run 1/wandb/offline-run-1'"


def test_an_offline_run_leaves_the_mode_of_later_runs_alone(tmp_path: Path) -> None:
    wandb_logger(tmp_path, project="test")
    assert "WANDB_MODE" not in os.environ


def test_wandb_mode_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = wandb_logger(tmp_path, project="test")
    assert sync_command(logger) is None
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_outside_of_a_hydra_job_a_run_has_no_name_of_its_own() -> None:
    assert job_identity() == (None, None)


def test_a_server_that_does_not_answer_leaves_an_offline_run_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = wandb.init

    def no_network(**arguments: object) -> object:
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("timed out\nwaiting")
        return original(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wandb, "init", no_network)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    logger = wandb_logger(tmp_path, project="test")
    assert logger.experiment.offline
    assert "W&B cannot be reached (timed out waiting): continuing offline" in caplog.messages
