from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch import nn

from depthdif.callbacks.progress import clock
from depthdif.callbacks.throughput import Stretch, Throughput
from depthdif.training import train

SmallRun = Callable[..., DictConfig]


def test_rates_are_samples_and_waiting_over_the_time() -> None:
    stretch = Stretch()
    stretch.add(samples=8, seconds=2.0, waited=0.5)
    stretch.add(samples=8, seconds=2.0, waited=1.5)
    assert stretch.rates() == {"samples_per_second": 4.0, "data_wait_share": 0.5}


def test_what_cannot_be_computed_is_left_out() -> None:
    assert Stretch().rates() == {}
    unknown = Stretch()
    unknown.add(samples=8, seconds=2.0, waited=None)
    unknown.add(samples=8, seconds=2.0, waited=1.0)
    assert unknown.rates() == {"samples_per_second": 4.0}


class Gradients(nn.Module):
    """Two parameters whose gradients have the norm 5."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2, 2))
        self.first.grad, self.second.grad = torch.tensor([3.0]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize(("limit", "share"), [(4.0, 1.0), (6.0, 0.0), (None, None)])
def test_the_norm_is_that_of_all_gradients_before_clipping(limit: float | None, share: float | None) -> None:
    throughput, logged = Throughput(), {}
    trainer: Any = SimpleNamespace(
        gradient_clip_val=limit, gradient_clip_algorithm=None, train_dataloader=None, world_size=1,
        global_step=0, log_every_n_steps=2,
    )  # fmt: skip
    module: Any = Gradients()
    module.log_dict = lambda values, **_: logged.update(values)
    throughput.on_train_start(trainer, module)
    for step in (1, 2):
        throughput.on_train_batch_start(trainer, module, None, 0)
        throughput.on_before_optimizer_step(trainer, module, None)
        trainer.global_step = step
        throughput.on_train_batch_end(trainer, module, None, {"target": torch.zeros(4, 1)}, 0)
    assert logged["train/gradient_norm"] == 5
    assert ("train/clipped_share" in logged) == (share is not None)
    assert logged.get("train/clipped_share") == share
    assert "train/data_wait_share" not in logged  # No loader that counts it.


def test_the_estimate_of_the_rest_has_the_steps_and_the_validations() -> None:
    throughput = Throughput()
    throughput.run = Stretch(steps=10, samples=40, seconds=20.0)
    throughput.validations, throughput.validation_seconds = 2, 60.0
    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=110, global_step=10, accumulate_grad_batches=2, val_check_batch=50
    )
    assert throughput.seconds_left(trainer) == 100 * 2 + 200 / 50 * 30
    trainer.estimated_stepping_batches = math.inf
    assert throughput.seconds_left(trainer) == math.inf


def test_the_end_has_a_date_where_it_is_not_today() -> None:
    assert len(clock(time.time())) == len("14:32")
    assert len(clock(time.time() + 2 * 86400)) == len("2026-11-27 14:32")


class SlowValidation(Callback):
    """A validation that takes a second, and a batch that takes a tenth."""

    def on_validation_epoch_end(self, *_: Any) -> None:
        time.sleep(1)

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.1)


def test_a_run_logs_its_speed_without_the_validations(small_run: SmallRun, tmp_path: Path) -> None:
    train(
        small_run("trainer.max_steps=6", "trainer.val_check_interval=2", "trainer.log_every_n_steps=2",
                  "logger=csv", f"+callbacks.slow._target_={__name__}.SlowValidation")
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))
    of_training = [row for row in rows if row["train/samples_per_second"]]
    assert [int(row["step"]) for row in of_training] == [1, 3, 5]
    # Two batches of four take 0.2 s at least, and a validation in between would make them 1.2 s.
    assert all(float(row["train/samples_per_second"]) <= 40 for row in of_training)
    assert max(float(row["train/samples_per_second"]) for row in of_training) > 8 / 1.2
    for row in of_training:
        assert float(row["train/gradient_norm"]) > 0
        assert 0 <= float(row["train/clipped_share"]) <= 1
        assert 0 <= float(row["train/data_wait_share"]) <= 1
        assert float(row["train/memory_gb"]) > 0.01
    table = (tmp_path / "run" / "closing_table.txt").read_text()
    assert "6 optimizer steps" in table
    assert "samples/s" in table
    assert "data wait" in table


def test_with_accumulated_gradients_an_optimizer_step_is_counted_once(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=3", "trainer.accumulate_grad_batches=2", "trainer.log_every_n_steps=1",
                    "logger=csv"))  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))
    assert sum(bool(row["train/gradient_norm"]) for row in rows) == 3
    assert "3 optimizer steps" in (tmp_path / "run" / "closing_table.txt").read_text()
