"""A run ends with a validation, however short it is."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Asks Lightning to stop at the last planned optimizer step, which makes it validate first.

    Lightning by itself only validates at multiples of `trainer.val_check_interval` and at the end of an epoch.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if 0 <= trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
