"""Checkpoints with the gradients that are accumulated but not yet applied."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor


class PendingGradients(Callback):
    """Saves the gradients of an unfinished window of `trainer.accumulate_grad_batches`, and restores them on resume.

    A run that is resumed from a checkpoint within such a window equals the uninterrupted one bit for bit (on a GPU with
    `trainer.deterministic=true`). Two cases are left out, and the window then continues without the gradients of its earlier
    batches: several devices, each of which has its own gradients, and an interruption while the gradients of a batch are
    computed, because that batch is trained again.
    """

    def __init__(self) -> None:
        self.module: LightningModule | None = None
        self.devices = 1
        self.is_pending = False
        self.is_changing = False
        self.restored: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Store the module, whose gradients `state_dict` saves."""
        self.module, self.devices = pl_module, trainer.world_size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the gradients of the checkpoint into the parameters, on their device."""
        for name, parameter in pl_module.named_parameters():
            if name in self.restored:
                parameter.grad = self.restored[name].to(parameter.device, copy=True)
        self.is_pending = bool(self.restored)
        self.restored = {}

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Mark the gradients as incomplete until the end of the batch."""
        self.is_pending = self.is_changing = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Mark the window as complete: Lightning zeroes its gradients before the next one."""
        self.is_pending = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Mark the gradients as those of whole batches."""
        self.is_changing = False

    def state_dict(self) -> dict[str, Tensor]:
        """The pending gradients by the name of their parameter; empty between windows."""
        if not self.is_pending or self.module is None:
            return {}
        if self.devices > 1 or self.is_changing:
            rank_zero_warn("the gradients accumulated since the last optimizer step are not saved: set "
                           "trainer.val_check_interval to a multiple of trainer.accumulate_grad_batches")  # fmt: skip
            return {}
        parameters = self.module.named_parameters()
        return {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Keep the gradients until the parameters are on their device."""
        self.restored = state_dict
