"""Signals that end a run: when they take effect, what is saved, and what follows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

import depthdif.callbacks.stop_signals as stop_signals
from depthdif.callbacks.stop_signals import STOP_SIGNALS, StopSignals
from depthdif.ema import EMACallback


class Interrupted(torch.optim.SGD):
    """Steps one parameter after the other, with signals after the first one of the third step."""

    steps = 0
    signals: tuple[Signals, ...] = ()

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure()
        self.steps += 1
        for number, parameter in enumerate(self.param_groups[0]["params"]):
            with torch.no_grad():
                parameter.sub_(1.0)
            if self.steps == 3 and number == 0:
                for received in self.signals:
                    signal.raise_signal(received)
        return loss


class Net(pl.LightningModule):
    """Gets signals in its third optimizer step, and others in its first validation."""

    def __init__(self, *in_step: Signals, in_validation: tuple[Signals, ...] = ()) -> None:
        super().__init__()
        self.one, self.two = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))
        self.in_step, self.in_validation = in_step, in_validation
        self.validated: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.one + self.two

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(batch_idx)
        if not self.trainer.sanity_checking and batch_idx == 0:
            for received in self.in_validation:
                signal.raise_signal(received)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = Interrupted(self.parameters(), 1.0)
        optimizer.signals = self.in_step
        return optimizer


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "slurm_job", lambda: None)


def fit(folder: Path, net: Net, *callbacks: pl.Callback, **options: Any) -> StopSignals:
    """Train for six batches, with a checkpoint on an exception."""
    stop = StopSignals()
    saver = ModelCheckpoint(folder, filename="a", save_on_exception=True)
    trainer = pl.Trainer(
        callbacks=[saver, stop, *callbacks], max_epochs=1, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.zeros(6, 1))  # type: ignore[arg-type]
    with stop.obeyed():
        trainer.fit(net, loader, loader)
    return stop


def exit_code(folder: Path, net: Net, **options: Any) -> Any:
    with pytest.raises(SystemExit) as ended:
        fit(folder, net, **options)
    return ended.value.code


def saved(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.ckpt")
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_a_ctrl_c_inside_a_step_is_saved_after_the_whole_step_in_weights_average_and_count(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Net(Signals.SIGINT), EMACallback(0.5))
    checkpoint = saved(tmp_path)
    assert checkpoint["global_step"] == 3
    assert checkpoint["state_dict"]["one"] == checkpoint["state_dict"]["two"] == -3
    state = checkpoint["callbacks"]["EMACallback"]
    assert state["updates"] == state["steps"] == 3
    assert state["ema_weights"]["one"] == state["ema_weights"]["two"] == -(0.125 + 0.5 + 1.5)


def test_a_second_ctrl_c_acts_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Net(Signals.SIGINT, Signals.SIGINT))
    checkpoint = saved(tmp_path)
    assert checkpoint["global_step"] == 2
    assert (checkpoint["state_dict"]["one"], checkpoint["state_dict"]["two"]) == (-3, -2)


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGUSR1, Signals.SIGUSR2])
def test_other_signals_end_the_run_after_the_step_and_give_their_exit_code(
    tmp_path: Path, number: Signals
) -> None:
    assert exit_code(tmp_path, Net(number)) == 128 + number
    checkpoint = saved(tmp_path)
    assert checkpoint["global_step"] == 3
    assert checkpoint["state_dict"]["one"] == checkpoint["state_dict"]["two"] == -3


@pytest.mark.parametrize("where", ["before", "within"])
def test_a_validation_is_made_to_its_end(tmp_path: Path, where: str) -> None:
    net = Net(Signals.SIGTERM) if where == "before" else Net(in_validation=(Signals.SIGTERM,))
    options = {"val_check_interval": 3, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    assert exit_code(tmp_path, net, **options) == 143
    assert net.validated == list(range(6))
    assert saved(tmp_path)["global_step"] == 3


def test_no_handler_is_left_behind(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    fit(tmp_path, Net())
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    exit_code(tmp_path, Net(Signals.SIGTERM))
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_an_earlier_handler_such_as_that_of_submitit_is_called_when_the_checkpoint_is_saved(
    tmp_path: Path,
) -> None:
    def requeue(number: int, frame: Any) -> None:
        assert saved(tmp_path)["global_step"] == 3
        raise SystemExit(144)

    signal.signal(signal.SIGUSR2, requeue)
    assert exit_code(tmp_path, Net(Signals.SIGUSR2)) == 144


@pytest.mark.parametrize(
    ("number", "preempted", "accepts", "expected", "queued"),
    [
        (Signals.SIGUSR1, False, True, 138, ["7"]),
        (Signals.SIGUSR1, False, False, 1, ["7"]),
        (Signals.SIGTERM, True, True, 143, ["7"]),
        (Signals.SIGTERM, False, True, 143, []),
    ],
    ids=["signal_before_the_time_limit", "slurm_refuses", "preempted", "cancelled"],
)
def test_a_job_of_slurm_is_queued_again_when_the_checkpoint_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: Signals, preempted: bool, accepts: bool, expected: int,
    queued: list[str],
) -> None:  # fmt: skip
    calls: list[str] = []

    def requeue(job: str) -> bool:
        assert saved(tmp_path)["global_step"] == 3
        calls.append(job)
        return accepts

    monkeypatch.setattr(stop_signals, "slurm_job", lambda: "7")
    monkeypatch.setattr(stop_signals, "is_preempted", lambda job: preempted)
    monkeypatch.setattr(stop_signals, "requeue", requeue)
    assert exit_code(tmp_path, Net(number)) == expected
    assert calls == queued


def test_lightning_in_a_job_of_slurm_never_writes_a_checkpoint_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From such a file Lightning would resume ever after, also where last.ckpt is newer.
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
                        "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert exit_code(tmp_path, Net(Signals.SIGUSR1), default_root_dir=tmp_path) == 138
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
