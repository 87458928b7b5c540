"""One progress bar over the optimizer steps of a run, and one line of scores and speed for each validation."""

from __future__ import annotations

import math
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from depthdif.callbacks.throughput import throughput
from depthdif.scores.score_names import scores_by_variant
from depthdif.terminal import print_lines

REFRESH_EVERY_N_STEPS = 10


class StepProgress(Callback):
    """Shows optimizer steps, because epochs mean nothing when patches are drawn at random, and prints a line for each validation.

    Speed and estimated end, validations included, are those of `Throughput`; without that callback they are left out.
    """

    def __init__(self) -> None:
        self.progress: Progress | None = None

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, from the first step of a resumed run."""
        planned = trainer.estimated_stepping_batches
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
            TimeElapsedColumn(), TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        total = int(planned) if math.isfinite(planned) else None
        self.task = self.progress.add_task("training", total=total, completed=trainer.global_step, state="")
        self.progress.start()

    @rank_zero_only
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar."""
        if self.progress is None:
            return
        self.progress.update(self.task, completed=trainer.global_step)
        # Reading the loss makes an accelerator wait: only now and then.
        if trainer.global_step % REFRESH_EVERY_N_STEPS == 0 and "train/loss" in trainer.callback_metrics:
            loss = f"train/loss {float(trainer.callback_metrics['train/loss']):.4f}"
            self.progress.update(self.task, state=", ".join([loss, *pace(trainer)]))

    @rank_zero_only
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.progress is not None:
            self.progress.update(self.task, description="validating")

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the MSE of each variant, speed, data wait and the estimated end: what the log file of a job shows of its run."""
        if self.progress is None:
            return
        variants = scores_by_variant(trainer.callback_metrics)
        scores = ", ".join(f"{variant} {scores['mse']:.4g}" for variant, scores in variants.items())
        line = f"step {trainer.global_step}: MSE of the reconstructions: {scores}"
        print_lines(self.progress.console, "; ".join([line, *filter(None, [", ".join(pace(trainer, True))])]))
        self.progress.update(self.task, description="training")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


def pace(trainer: Trainer, with_wait: bool = False) -> list[str]:
    """Such as ["84 samples/s", "data wait 3 %", "ends 14:32"]; what is not known is left out."""
    if (counted := throughput(trainer)) is None or not (rates := counted.run.rates()):
        return []
    parts = [f"{rates['samples_per_second']:.3g} samples/s"]
    if with_wait and "data_wait_share" in rates:
        parts.append(f"data wait {100 * rates['data_wait_share']:.0f} %")
    left = counted.seconds_left(trainer)
    if 0 < left < math.inf:
        parts.append(f"ends {clock(time.time() + left)}")
    return parts


def clock(moment: float) -> str:
    """Local time of `moment` (seconds since the epoch), with the date where it is not today."""
    local, today = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M" if local[:3] == today[:3] else "%Y-%m-%d %H:%M", local)
