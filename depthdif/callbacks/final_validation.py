"""A run ends with a validation, however short it is."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Asks Lightning to stop at the last planned batch, which makes it validate first.

    Lightning by itself only validates at multiples of `trainer.val_check_interval`.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        last_step = 0 <= trainer.max_steps <= trainer.global_step
        last_epoch = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
        if last_step or (last_epoch and trainer.is_last_batch):
            trainer.should_stop = True
