"""Ctrl-C never divides an optimizer step: a checkpoint that is saved on it can be resumed as if it had come between two."""

from __future__ import annotations

import signal
import threading
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class WholeSteps(Callback):
    """Postpones a Ctrl-C that comes while an optimizer updates the weights to the end of the training batch.

    Otherwise `ModelCheckpoint(save_on_exception=True)` saves some tensors before the step and some after it. A Ctrl-C at any
    other moment, and a second one, takes effect at once. SIGTERM needs none of this: Lightning looks at it between batches.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._is_interrupted = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Gradients are ready: from here on wait."""
        # Python delivers signals to the main thread alone, and only there a handler may be set.
        if self._handler is None and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._postpone)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise KeyboardInterrupt where Ctrl-C was pressed meanwhile."""
        self._restore()
        if self._is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no handler behind."""
        self._restore()
        self._is_interrupted = False

    def _postpone(self, *_: Any) -> None:
        self._restore()
        self._is_interrupted = True

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None
