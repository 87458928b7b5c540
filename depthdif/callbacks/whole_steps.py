"""Ctrl-C takes effect between optimizer steps, so that the checkpoint that it saves can be resumed."""

from __future__ import annotations

import signal
import threading
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class WholeSteps(Callback):
    """Postpones a Ctrl-C during an optimizer step to the end of the training batch.

    Otherwise `ModelCheckpoint(save_on_exception=True)` saves some tensors before the step and some after it. A Ctrl-C at any
    other moment, and a second one, takes effect at once. Lightning itself handles SIGTERM between batches.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._is_interrupted = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Postpone Ctrl-C from here on."""
        # Only the main thread receives signals and may set a handler.
        if self._handler is None and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._postpone)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C."""
        self._restore()
        if self._is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the handler."""
        self._restore()
        self._is_interrupted = False

    def _postpone(self, *_: Any) -> None:
        self._restore()
        self._is_interrupted = True

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None
