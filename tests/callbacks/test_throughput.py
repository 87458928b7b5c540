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


def test_a_resumed_run_logs_the_clipped_share_of_the_steps_before_it_too() -> None:
    throughput, module = Throughput(), Gradients()
    trainer: Any = SimpleNamespace(gradient_clip_val=1.0, gradient_clip_algorithm="norm", global_step=0)
    throughput.on_before_optimizer_step(trainer, module, None)  # type: ignore[arg-type]
    resumed = Throughput()
    resumed.load_state_dict(throughput.state_dict())
    resumed.on_train_start(trainer, module)  # type: ignore[arg-type]
    trainer.gradient_clip_val = 100.0
    resumed.on_before_optimizer_step(trainer, module, None)  # type: ignore[arg-type]
    assert resumed._values()["train/clipped_share"] == 0.5


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


def test_validations_and_what_follows_them_are_not_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loader = [0.0], SimpleNamespace(seconds_waited=0.0)
    clock: Any = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("depthdif.callbacks.throughput.time", clock)
    throughput, module = Throughput(), Gradients()
    trainer: Any = SimpleNamespace(train_dataloader=loader, world_size=2, global_step=0, log_every_n_steps=0,
                                   sanity_checking=False)  # fmt: skip

    def batch(wait: float) -> None:
        now[0] += wait
        loader.seconds_waited += wait
        throughput.on_train_batch_start(trainer, module, None, 0)  # type: ignore[arg-type]
        now[0] += 1
        throughput.on_train_batch_end(trainer, module, None, {"target": torch.zeros(3)}, 0)  # type: ignore[arg-type]

    batch(wait=100)  # The first batch has to wait for the workers to start.
    batch(wait=3)
    throughput.on_validation_start(trainer, module)  # type: ignore[arg-type]
    now[0] += 50
    throughput.on_validation_end(trainer, module)  # type: ignore[arg-type]
    now[0] += 20  # A checkpoint.
    batch(wait=0)
    assert throughput.run == Stretch(samples=3 * 3 * 2, seconds=1 + 4 + 1, waited=3)
    assert (throughput.validations, throughput.validation_seconds) == (1, 50)


def test_a_run_logs_its_speed_and_the_closing_table_has_it(small_run: SmallRun, tmp_path: Path) -> None:
    train(
        small_run("trainer.max_steps=6", "trainer.val_check_interval=2", "trainer.log_every_n_steps=2",
                  "logger=csv")
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))
    of_training = [row for row in rows if row["train/samples_per_second"]]
    assert [int(row["step"]) for row in of_training] == [1, 3, 5]
    for row in of_training:
        assert float(row["train/samples_per_second"]) > 0
        assert float(row["train/gradient_norm"]) > 0
        assert 0 <= float(row["train/clipped_share"]) <= 1
        assert 0 < float(row["train/data_wait_share"]) < 1
        assert float(row["train/memory_gb"]) > 0.01
    table = (tmp_path / "run" / "closing_table.txt").read_text()
    for words in ("6 optimizer steps", "samples/s", "data wait", "peak memory of the process"):
        assert words in table


def test_with_accumulated_gradients_an_optimizer_step_is_counted_once(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=3", "trainer.accumulate_grad_batches=2", "trainer.log_every_n_steps=1",
                    "logger=csv"))  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))
    assert sum(bool(row["train/gradient_norm"]) for row in rows) == 3
    assert "3 optimizer steps" in (tmp_path / "run" / "closing_table.txt").read_text()
