"""Ctrl-C in the middle of an optimizer step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from depthdif.callbacks.whole_steps import WholeSteps
from depthdif.ema import EMACallback


class Interrupted(torch.optim.SGD):
    """Steps one parameter after the other, with a Ctrl-C (or several) after the first one of the third step."""

    steps = 0
    presses = 1

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure()
        self.steps += 1
        for number, parameter in enumerate(self.param_groups[0]["params"]):
            with torch.no_grad():
                parameter.sub_(1.0)
            if self.steps == 3 and number == 0:
                for _ in range(self.presses):
                    signal.raise_signal(signal.SIGINT)
        return loss


class Net(pl.LightningModule):
    presses = 1

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.one + self.two

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = Interrupted(self.parameters(), 1.0)
        optimizer.presses = self.presses
        return optimizer


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(folder: Path, *callbacks: pl.Callback, presses: int = 1) -> dict[str, Any]:
    """What the checkpoint holds that is saved on Ctrl-C."""
    net = Net()
    net.presses = presses
    saver = ModelCheckpoint(folder, filename="a", save_on_exception=True)
    trainer = pl.Trainer(
        callbacks=[saver, *callbacks], max_epochs=1, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(SystemExit):
        trainer.fit(net, torch.utils.data.DataLoader(torch.zeros(6, 1)))  # type: ignore[arg-type]
    (path,) = folder.glob("*.ckpt")
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_a_ctrl_c_inside_a_step_is_saved_after_the_whole_step_in_weights_average_and_count(
    tmp_path: Path,
) -> None:
    for order in (0, 1):
        ema = EMACallback(0.5)
        callbacks = [WholeSteps(), ema] if order else [ema, WholeSteps()]
        saved = interrupted(tmp_path / str(order), *callbacks)
        assert saved["global_step"] == 3
        assert saved["state_dict"]["one"] == saved["state_dict"]["two"] == -3
        state = saved["callbacks"]["EMACallback"]
        assert state["updates"] == state["steps"] == 3
        assert state["ema_weights"]["one"] == state["ema_weights"]["two"] == -(0.125 + 0.5 + 1.5)


def test_a_second_ctrl_c_acts_at_once(tmp_path: Path) -> None:
    saved = interrupted(tmp_path, WholeSteps(), presses=2)
    assert saved["global_step"] == 2
    assert (saved["state_dict"]["one"], saved["state_dict"]["two"]) == (-3, -2)


def test_lightning_alone_saves_half_a_step(tmp_path: Path) -> None:
    # What `WholeSteps` is for: when this fails, Lightning does it itself.
    saved = interrupted(tmp_path)
    assert (saved["state_dict"]["one"], saved["state_dict"]["two"]) == (-3, -2)


def test_no_handler_is_left_behind() -> None:
    trainer = pl.Trainer(
        callbacks=[WholeSteps()], max_steps=2, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.zeros(6, 1)))  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
