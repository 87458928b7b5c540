"""One progress bar over the optimizer steps of a run, and one line of scores for each validation."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from depthdif.scores.score_names import scores_by_variant

LOSS_EVERY_N_STEPS = 10


class StepProgress(Callback):
    """Shows optimizer steps, because epochs mean nothing when patches are drawn at random, and prints scores of validations."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, from the first step of a resumed run."""
        planned = trainer.estimated_stepping_batches
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"),
        )  # fmt: skip
        total = int(planned) if math.isfinite(planned) else None
        self.task = self.progress.add_task("training", total=total, completed=trainer.global_step, loss="")
        self.progress.start()

    @rank_zero_only
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar."""
        if self.progress is None:
            return
        self.progress.update(self.task, completed=trainer.global_step)
        # Reading the loss makes an accelerator wait: only now and then.
        if trainer.global_step % LOSS_EVERY_N_STEPS == 0 and "train/loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["train/loss"])
            self.progress.update(self.task, loss=f"train/loss {loss:.4f}")

    @rank_zero_only
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.progress is not None:
            self.progress.update(self.task, description="validating")

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the MSE of each variant."""
        if self.progress is None:
            return
        variants = scores_by_variant(trainer.callback_metrics)
        scores = ", ".join(f"{variant} {scores['mse']:.4g}" for variant, scores in variants.items())
        line = f"step {trainer.global_step}: MSE of the reconstructions: {scores}"
        self.progress.console.print(line, highlight=False)
        self.progress.update(self.task, description="training")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
