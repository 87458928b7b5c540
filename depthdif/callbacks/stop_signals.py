"""Signals that end a run take effect between two batches, after which its last checkpoint is complete."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from depthdif.sweep.slurm import is_preempted, requeue, slurm_job

log = logging.getLogger(__name__)

STOP_SIGNALS = (Signals.SIGINT, Signals.SIGTERM, Signals.SIGUSR1, Signals.SIGUSR2)


class StopSignals(Callback):
    """Postpones Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 to the end of the training batch, or of the validation.

    All processes of a run stop at the same batch, whichever of them got the signal. Lightning then raises `SIGTERMException`,
    for which `ModelCheckpoint(save_on_exception=True)` saves. A second Ctrl-C takes effect at once. This takes the place of the
    handlers of Lightning, which end a validation half-way, and in a job of SLURM write checkpoints of another name, from
    which every later start would resume.
    """

    def __init__(self) -> None:
        self._handlers: dict[Signals, Any] = {}
        # Numbers of signals, 0 for none: what this process got, and what ends the run.
        self._received = 0
        self._stops_by = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over from Lightning, which sets its handlers just before."""
        self._received = self._stops_by = 0
        # Only the main thread receives signals and may set a handler.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._postpone) for number in STOP_SIGNALS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning stop after this batch if there was a signal."""
        self._stop_if_asked(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep Lightning from stopping within a validation: a resumed run would not repeat the part before."""
        if self._stops_by:
            trainer._signal_connector.received_sigterm = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning stop after this validation if there was a signal."""
        if not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the handlers."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the handlers."""
        self._restore()

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """Around a fit: when a signal has ended it, have the job queued again where it asks for that, and exit.

        The exit code is that of the signal (143 for SIGTERM), or 1 where SLURM could not queue the job again. For SIGUSR1 and
        SIGUSR2, a handler that was set before the fit, such as that of submitit, is called instead.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
        """
        try:
            yield
        except SIGTERMException:
            number = Signals(self._stops_by or Signals.SIGTERM)
            if number == Signals.SIGINT:
                raise KeyboardInterrupt from None
            # Of several processes the first one speaks to the queue, and an exit code of another would end it before that.
            if rank_zero_only.rank:  # type: ignore[attr-defined]
                sys.exit(0)
            log.info("stopped by %s", number.name)
            sys.exit(self._exit_code(number))

    def _exit_code(self, number: Signals) -> int:
        handler, job = signal.getsignal(number), slurm_job()
        if number != Signals.SIGTERM and callable(handler):
            handler(number, None)
        elif job and (number != Signals.SIGTERM or is_preempted(job)) and not requeue(job):
            return 1
        return 128 + number

    def _postpone(self, number: int, frame: Any) -> None:
        self._received = number
        if number == Signals.SIGINT:
            signal.signal(number, self._handlers[Signals.SIGINT])

    def _stop_if_asked(self, trainer: Trainer) -> None:
        number = self._received
        if trainer.world_size > 1:
            here = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(here, reduce_op="max"))
        if number:
            self._stops_by = number
            # Lightning looks at it when the batch is logged, and validated where that is due; hooks come before that.
            trainer._signal_connector.received_sigterm = True

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
