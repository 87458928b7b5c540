"""The table at the end of a run: what happened, where everything lies, and what to type next."""

from __future__ import annotations

import math
import resource
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from depthdif.callbacks.reconstruction import ReconstructionCallback
from depthdif.ema import EMACallback
from depthdif.ema.decay import half_life
from depthdif.figures.panel import display_units
from depthdif.files import near
from depthdif.scores.score_names import scores_by_variant
from depthdif.weights_and_biases.logger import sync_command

# Score, unit ({} is that of the field), decimals.
SCORES = (("mse", "{}²", 4), ("psnr", "dB", 2), ("ssim", "", 4))
DISTANCES = {
    "ema/decay": "decay",
    "ema/effective_decay": "decay of the last update",
    "ema/weight_relative_rms_delta": "RMS distance / RMS of weights",
    "ema/weight_rms_delta": "RMS distance",
    "ema/weight_mean_abs_delta": "mean absolute distance",
    "ema/weight_max_abs_delta": "largest distance",
    "ema/tracked_floating_tensors": "averaged tensors",
}


def score_table(
    metrics: Mapping[str, Any],
    units: str,
    first_guess: Mapping[str, float] | None = None,
    decays: Mapping[str, float] | None = None,
) -> Table:
    """A row for the scores of the first guess, if any, and for each weight state, by rising decay; `*` marks the best weights.

    `decays` is the decay of each average by its name, "ema" for the main one.
    """
    found, decays = scores_by_variant(metrics), decays or {}
    best = {name: best_variant(found, name) for name, _, _ in SCORES}
    table = Table(
        title="First validation mini-batch, over the ocean", caption="* best of the weights", min_width=60
    )
    table.add_column("weights")
    if decays:
        table.add_column("half-life, updates", justify="right")
    for name, unit, _ in SCORES:
        table.add_column(f"{name.upper()} {unit.format(units)}".strip(), justify="right")

    def add(label: str, scores: Mapping[str, float], variant: str = "") -> None:
        lives = [f"{half_life(decays[variant]):.3g}" if variant in decays else ""] if decays else []
        shown = [
            f"{scores[name]:.{decimals}f}{'*' if variant == best[name] else ' '}" if name in scores else "- "
            for name, _, decimals in SCORES
        ]
        table.add_row(label, *lives, *shown)

    if first_guess:
        add("first guess", first_guess)
    for variant in sorted(found, key=lambda variant: decays.get(variant, 0.0)):
        add(label_of(variant, decays), found[variant], variant)
    return table


def best_variant(found: Mapping[str, Mapping[str, float]], score: str) -> str | None:
    """The weight state with the lowest MSE, or the highest PSNR or SSIM; None where no finite score was logged."""
    sign = 1 if score == "mse" else -1
    finite = {
        variant: sign * scores[score]
        for variant, scores in found.items()
        if math.isfinite(scores.get(score, math.nan))
    }
    return min(finite, key=finite.__getitem__) if finite else None


def label_of(variant: str, decays: Mapping[str, float]) -> str:
    """What a table calls a weight state: "standard", "EMA 0.99", and "EMA 0.983, main" beside others."""
    if variant != "ema" or "ema" not in decays:
        return variant.replace("ema", "EMA", 1).replace("_", " ")
    return f"EMA {decays['ema']}{', main' if len(decays) > 1 else ''}"


def best_decay(metrics: Mapping[str, Any], decays: Mapping[str, float]) -> str:
    """What a run with several averages says of its decays: the best by MSE, and what to type for it."""
    best = best_variant(scores_by_variant(metrics), "mse")
    if best is not None and best in decays:
        decay = decays[best]
        return f"{decay} (half-life {half_life(decay):.3g} updates); alone: model/ema=suited model.ema.decay={decay}"
    return "none, the standard weights score better" if best else "unknown, no score is finite"


def distance_table(metrics: Mapping[str, Any]) -> Table:
    """How far the averaged weights are from the standard ones."""
    table = Table(title="Distance of the EMA from the standard weights", min_width=60)
    table.add_column("key")
    table.add_column("value", justify="right")
    table.add_column("what")
    for key, words in DISTANCES.items():
        if key in metrics:
            table.add_row(key, f"{float(metrics[key]):.6g}", words)
    return table


def first_guess_scores(trainer: Trainer) -> dict[str, float]:
    """What the reconstruction callback found for the first guess; nothing without one."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    found = [callback for callback in callbacks if isinstance(callback, ReconstructionCallback)]
    return found[0].first_guess_scores if found else {}


def decays_of(trainer: Trainer) -> dict[str, float]:
    """The constant decay of each average that the run keeps, by its name; nothing without EMA."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    ema = next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)
    if ema is None:
        return {}
    named = {"ema": ema.decay} | {f"ema_{extra}": extra for extra in ema.extra_decays}
    return {name: decay for name, decay in named.items() if isinstance(decay, float)}


def peak_memory() -> str:
    """Largest memory so far: of the GPU where one was used, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB on the GPU"
    # Linux counts kibibytes here, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"


class ClosingTable(Callback):
    """Prints the closing table after a fit and keeps it as `closing_table.txt`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.first_step = 0
        self.training_seconds = 0.0
        self.started = self.validation_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.first_step = trainer.global_step
        self.training_seconds = 0.0
        self.started = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.training_seconds -= time.monotonic() - self.validation_started

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.training_seconds += time.monotonic() - self.started

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the tables, the places and the next commands; keep them in the run folder."""
        metrics, decays = trainer.callback_metrics, decays_of(trainer)
        units = display_units(trainer.datamodule.field.units)  # type: ignore[attr-defined]
        parts: list[Table | str] = [score_table(metrics, units, first_guess_scores(trainer), decays)]
        if "ema/decay" in metrics:
            parts.append(distance_table(metrics))
        parts.append(self.speed(trainer))
        if len(decays) > 1:
            parts.append(f"{'best decay:':17}{best_decay(metrics, decays)}")
        parts += [f"{name + ':':17}{place}" for name, place in self.places(trainer).items()]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "closing_table.txt").open("w", encoding="utf-8") as file:
            for console in (Console(), Console(file=file, width=120)):
                for part in parts:
                    # Paths and commands are never broken: they are there to be copied.
                    console.print(part, soft_wrap=isinstance(part, str), highlight=False)

    def speed(self, trainer: Trainer) -> str:
        """Steps, steps per second of training (validation apart) and memory, in one line."""
        steps = trainer.global_step - self.first_step
        rate = f"{steps / self.training_seconds:.2f} steps/s" if self.training_seconds else "no training"
        return f"{steps} optimizer steps in {self.training_seconds:.0f} s ({rate}, validation apart), peak memory {peak_memory()}"

    def places(self, trainer: Trainer) -> dict[str, str]:
        """What lies where, and the next commands."""
        places = {"run": near(self.folder), "panels": near(self.folder / "panels")}
        written = {
            "last" if callback.monitor is None else "best": callback.best_model_path
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint)
        }
        best, last = written.get("best"), written.get("last")
        if best:
            places["best checkpoint"] = near(best)
        if last:
            places["last checkpoint"] = near(last)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                upload = sync_command(logger)
                places["upload to W&B" if upload else "W&B run"] = upload or str(logger.experiment.url)
        if last:
            longer = 2 * trainer.global_step
            places["train on"] = (
                f"python scripts/train.py resume={shlex.quote(near(last))} trainer.max_steps={longer}"
            )
        return places
