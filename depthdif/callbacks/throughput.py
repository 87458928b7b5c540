"""Speed of training, what it waits for, gradient norms and memory, as logged values."""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


@dataclass
class Stretch:
    """A stretch of training, validation and checkpoints apart.

    Attributes:
        steps: optimizer steps.
        samples: patches, of all devices.
        seconds: wall time.
        waited: seconds of it in which training waited for the loader; None for a loader that does not count them.
    """

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float | None = 0.0

    def add(self, samples: int, seconds: float, waited: float | None) -> None:
        """Add one batch."""
        self.samples += samples
        self.seconds += seconds
        self.waited = None if waited is None or self.waited is None else self.waited + waited

    def rates(self) -> dict[str, float]:
        """`samples_per_second` and, where it is known, `data_wait_share`; empty before the first batch."""
        if not self.seconds:
            return {}
        rates = {"samples_per_second": self.samples / self.seconds}
        return rates if self.waited is None else rates | {"data_wait_share": self.waited / self.seconds}


class Throughput(Callback):
    """Logs every `trainer.log_every_n_steps` optimizer steps, each over the steps since the last time.

    - `train/gradient_norm`: of the last step, before clipping, over all parameters and all processes.
    - `train/clipped_share`: share of the steps whose gradient was clipped to `trainer.gradient_clip_val`; left out without it.
    - `train/data_wait_share`: share of the time in which training waited for the loader.
    - `train/samples_per_second`: patches, of all devices together, validation and checkpoints apart.
    - `train/memory_gb`: peak so far, of the GPU where one is used, else of the process, 10^9 bytes.

    Steps in between do not wait for the device: norms are computed there and read when they are logged.
    """

    def __init__(self) -> None:
        self._begin(0)
        self._resumed: dict[str, int] = {}

    def _begin(self, step: int) -> None:
        self.run = Stretch()
        self.recent = Stretch()
        self.validations = 0
        self.validation_seconds = 0.0
        self._started: float | None = None
        self._waited: float | None = None
        self._validation_started = 0.0
        self._step = step
        self._norm: Tensor | None = None
        # Steps whose gradient was compared with the limit since the last log, and those that were above it.
        self._compared = 0
        self._clipped: int | Tensor = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, or go on."""
        self._begin(trainer.global_step)
        self._compared, self._clipped = self._resumed.get("compared", 0), self._resumed.get("clipped", 0)
        self._resumed = {}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock, at the first batch and after a validation."""
        if self._started is None:
            self._started, self._waited = time.perf_counter(), seconds_waited(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Compute the norm of the gradient, on its device."""
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        # Of sharded parameters each process has a part.
        self._norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        limit = trainer.gradient_clip_val
        if limit and trainer.gradient_clip_algorithm in (None, "norm"):
            self._compared += 1
            self._clipped = self._clipped + (self._norm > limit)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        """Count the batch, and log where Lightning logs."""
        now, waited, samples = time.perf_counter(), seconds_waited(trainer), len(batch["target"])
        assert self._started is not None
        wait = None if waited is None or self._waited is None else waited - self._waited
        for stretch in (self.run, self.recent):
            stretch.add(samples * trainer.world_size, now - self._started, wait)
        self._started, self._waited = now, waited
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self.run.steps += 1
        self.recent.steps += 1
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if interval and self._step % interval == 0:
            pl_module.log_dict(self._values(), batch_size=samples)
            self.recent, self._compared, self._clipped = Stretch(), 0, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._started = None
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the validation."""
        if not trainer.sanity_checking:
            self.validations += 1
            self.validation_seconds += time.perf_counter() - self._validation_started

    def seconds_left(self, trainer: Trainer) -> float:
        """Estimate of the rest of the run, validations included; infinite where the number of steps is not bounded."""
        steps = trainer.estimated_stepping_batches - trainer.global_step
        batches = steps * trainer.accumulate_grad_batches
        pace = self.run.seconds / max(1, self.run.steps)
        interval = trainer.val_check_batch or math.inf
        validations = math.ceil(batches / interval) if math.isfinite(batches) else 0
        return steps * pace + validations * self.validation_seconds / max(1, self.validations)

    def state_dict(self) -> dict[str, int]:
        """Gradients compared and clipped since the last log, so that a resumed run logs the share of an uninterrupted one."""
        return {"compared": self._compared, "clipped": int(self._clipped)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Keep them until training starts."""
        self._resumed = state_dict

    def _values(self) -> dict[str, float | Tensor]:
        values: dict[str, float | Tensor] = dict(self.recent.rates())
        if self._norm is not None:
            values["gradient_norm"] = self._norm
        if self._compared:
            values["clipped_share"] = self._clipped / self._compared
        values["memory_gb"] = peak_memory()[0]
        return {f"train/{name}": value for name, value in values.items()}


def throughput(trainer: Trainer) -> Throughput | None:
    """The callback of a run that counts its speed; None without one."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Throughput)), None)


def seconds_waited(trainer: Trainer) -> float | None:
    """How long training has waited for its loader; None for a loader that does not count it (`TimedLoader` does)."""
    return getattr(trainer.train_dataloader, "seconds_waited", None)


def peak_memory() -> tuple[float, str]:
    """Largest memory so far in GB (10^9 bytes), and whose: of the GPU where one was used, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9, "GPU"
    # Linux counts kibibytes here, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, "process"
