"""Runs that are cut off and go on in their folder: what they leave is what the uninterrupted run leaves."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer

from depthdif.files import read_csv
from depthdif.loggers.metrics_file import METRICS, last_row_with
from depthdif.training import train

SmallRun = Callable[..., DictConfig]

ROOT = Path(__file__).resolve().parents[1]
COMMON = ("trainer.max_steps=8", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1", "logger=csv",
          "model.ema.enabled=true", "model.ema.decay=0.9", "model.denoiser.dropout=0.1")  # fmt: skip

QUICK = ("data=synthetic", "data.patch_size=16", "data.batch_size=4", "data.validation_patches=4", "model/denoiser=unet_tiny",
         "model/first_guess=none", "model.sampler.steps=2", "model.sampler.ensemble_size=1", "model.sampler.antithetic=false",
         "callbacks.reconstruction.panel_samples=1", "callbacks.progress=null")  # fmt: skip


class Terminate(Callback):
    """Sends SIGTERM to its own process in a batch, or in the validation after it."""

    def __init__(self, batch: int, in_validation: bool) -> None:
        self.batch, self.in_validation = batch, in_validation

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self.batch and not self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.batch and self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)


def terminated(batch: int, in_validation: bool = False) -> tuple[str, ...]:
    return (f"+callbacks.end._target_={__name__}.Terminate", f"+callbacks.end.batch={batch}",
            f"+callbacks.end.in_validation={in_validation}")  # fmt: skip


def last(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def scalars(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without what is measured."""
    measured = ("train/samples_per_second", "train/data_wait_share", "train/memory_gb")
    rows = read_csv(folder / METRICS)
    return [{key: value for key, value in row.items() if key not in measured} for row in rows]


def leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """The values of nested mappings and sequences by their path; tensors as bytes."""
    if isinstance(tree, list | tuple):
        tree = dict(enumerate(tree))
    if isinstance(tree, dict):
        nested = [leaves(value, f"{name}/{key}") for key, value in tree.items()]
        return {path: value for values in nested for path, value in values.items()}
    return {name: tree.numpy().tobytes() if torch.is_tensor(tree) else tree}


def test_a_run_that_signals_end_again_and_again_leaves_what_the_uninterrupted_one_does(
    small_run: SmallRun, tmp_path: Path
) -> None:
    score = train(small_run(*COMMON, name="whole"))
    # In a batch; in one after which a validation is due; in a validation.
    for steps, end in ((2, terminated(2)), (3, terminated(3)), (6, terminated(6, in_validation=True))):
        with pytest.raises(SystemExit, match="143"):
            train(small_run(*COMMON, *end, name="cut"))
        assert last(tmp_path / "cut")["global_step"] == steps
    assert train(small_run(*COMMON, name="cut")) == score
    whole, cut = last(tmp_path / "whole"), last(tmp_path / "cut")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        assert leaves(cut[part]) == leaves(whole[part])
    averages = [leaves(saved["callbacks"]["EMACallback"]) for saved in (cut, whole)]
    assert averages[0] == averages[1]
    rows = scalars(tmp_path / "whole")
    assert len(rows) == 8 * 2 + 3
    assert scalars(tmp_path / "cut") == rows
    for part in ("checkpoints", "panels"):
        names = [sorted(path.name for path in (tmp_path / run / part).iterdir()) for run in ("cut", "whole")]
        assert names[0] == names[1]


def test_a_finished_run_returns_its_score_and_one_without_its_closing_table_gets_it(
    small_run: SmallRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = small_run(*COMMON, "trainer.max_steps=3")
    score = train(cfg)
    run = tmp_path / "run"
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with caplog.at_level(logging.INFO):
        assert train(cfg) == score
    assert f"finished: {run} has all 3 steps; set trainer.max_steps=6 to train on" in caplog.messages
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    table = run / "closing_table.txt"
    table.unlink()
    assert train(cfg) == score
    scores = files[table].decode().partition("optimizer steps")[0][:-2]
    assert table.read_text().startswith(scores)
    changed = {path for path, content in files.items() if path.read_bytes() != content}
    assert changed <= {table}


def test_a_run_that_is_continued_twice_keeps_the_overrides_of_its_first_start(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    place = "hydra.run.dir=run"
    first = (*QUICK, "logger=csv", "seed=3", "trainer.max_steps=1")
    for arguments in (first, ("trainer.max_steps=2",), ("trainer.max_steps=3",)):
        done = run_script("train", place, *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    saved = last(tmp_path / "run")
    assert saved["global_step"] == 3
    assert saved["hyper_parameters"]["seed"] == 3
    assert {"data=synthetic", "seed=3"} < set(saved["hyper_parameters"]["overrides"])
    assert not (tmp_path / "run" / "wandb").exists()


@pytest.mark.end_to_end
def test_a_run_that_is_killed_goes_on_when_the_same_command_is_started_again(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = (
        *QUICK,
        *COMMON,
        "trainer.max_steps=30",
        "trainer.val_check_interval=10",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
    )
    assert run_script("train", *run, "hydra.run.dir=whole", folder=tmp_path).returncode == 0
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *run, "hydra.run.dir=cut"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while (
            process.poll() is None
            and last_row_with(tmp_path / "cut" / METRICS, "lr-AdamW").get("step", 0) < 12
        ):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = run_script("train", *run, "hydra.run.dir=cut", folder=tmp_path)
    assert done.returncode == 0
    assert "continuing from step " in done.stdout
    for part in ("state_dict", "optimizer_states", "loops"):
        assert leaves(last(tmp_path / "cut")[part]) == leaves(last(tmp_path / "whole")[part])
    assert scalars(tmp_path / "cut") == scalars(tmp_path / "whole")
