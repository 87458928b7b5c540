"""The table at the end of a run: scores, distances, speed, the paths of what was written and the next commands."""

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
from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.ema import EMACallback
from depthdif.ema.decay import half_life, horizon
from depthdif.figures.panel import display_units
from depthdif.files import near
from depthdif.scores.score_names import SCORES, first_guess_scores, scores_by_variant, variant_label
from depthdif.terminal import print_lines, print_table
from depthdif.weights_and_biases.logger import sync_command

DISTANCES = {
    "ema/decay": "configured decay",
    "ema/effective_decay": "decay of the last update",
    "ema/weight_relative_rms_delta": "RMS distance / RMS of weights",
    "ema/weight_rms_delta": "RMS distance",
    "ema/weight_mean_abs_delta": "mean absolute distance",
    "ema/weight_max_abs_delta": "largest distance",
    "ema/tracked_floating_tensors": "averaged tensors",
}


def score_table(metrics: Mapping[str, Any], units: str, decays: Mapping[str, float] | None = None) -> Table:
    """A row for the scores of the first guess, if any, and for each variant, by rising decay; `*` marks the best variant.

    `decays` is the decay of each average by its variant, "ema" for the main one.
    """
    variants, decays = scores_by_variant(metrics), decays or {}
    best = {name: best_variant(variants, name) for name in SCORES}
    table = Table(
        title="First validation mini-batch, over the ocean", caption="* best of the weights", box=box.SIMPLE_HEAD,
        min_width=60, padding=(0, 0, 0, 1),
    )  # fmt: skip
    table.add_column("weights")
    if decays:
        table.add_column("half-life,\nupdates", justify="right", no_wrap=True)
    for score in SCORES.values():
        table.add_column(score.heading(units).replace(" ", "\n", 1), justify="right", no_wrap=True)

    def add(label: str, scores: Mapping[str, float], variant: str = "") -> None:
        lives = [f"{half_life(decays[variant]):.3g}" if variant in decays else ""] if decays else []
        cells = [
            f"{score.format(scores.get(name))}{'*' if variant and variant == best[name] else ' '}"
            for name, score in SCORES.items()
        ]
        table.add_row(label, *lives, *cells)

    if first_guess := first_guess_scores(metrics):
        add("first guess", first_guess)
    for variant in sorted(variants, key=lambda variant: decays.get(variant, 0.0)):
        add(label_of(variant, decays), variants[variant], variant)
    return table


def best_variant(variants: Mapping[str, Mapping[str, float]], score: str) -> str | None:
    """The variant with the best value of a score; None where no finite one was logged."""
    sign = -1 if SCORES[score].higher_is_better else 1
    finite = {
        variant: sign * scores[score]
        for variant, scores in variants.items()
        if math.isfinite(scores.get(score, math.nan))
    }
    return min(finite, key=finite.__getitem__) if finite else None


def label_of(variant: str, decays: Mapping[str, float]) -> str:
    """The label of a variant in a table: "standard", "EMA 0.99", and "EMA 0.983, main" beside others."""
    if variant != "ema" or "ema" not in decays:
        return variant_label(variant)
    return f"EMA {decays['ema']}{', main' if len(decays) > 1 else ''}"


def against_first_guess(metrics: Mapping[str, Any]) -> str:
    """One line where no variant has a lower MSE than the first guess; "" otherwise, and without a first guess."""
    first_guess, variants = first_guess_scores(metrics), scores_by_variant(metrics)
    best = best_variant(variants, "mse")
    if best is None or "mse" not in first_guess or variants[best]["mse"] < first_guess["mse"]:
        return ""
    values = [SCORES["mse"].format(value) for value in (first_guess["mse"], variants[best]["mse"])]
    return (
        f"no weights beat the first guess: MSE {values[0]} of the first guess, {values[1]} of the best weights "
        f"({variant_label(best)})"
    )


def too_long(decays: Mapping[str, float], updates: float) -> str:
    """One line where the main average reaches back beyond the start of the run, so that initial weights stay in it; else ""."""
    decay = decays.get("ema", 0.0)
    if not 0 < updates < horizon(decay):
        return ""
    return (
        f"EMA decay {decay} averages over {horizon(decay):.0f} updates, this run made {updates:.0f}: "
        f"{decay**updates:.0%} of the average are initial weights; set model/ema=suited"
    )


def best_decay(metrics: Mapping[str, Any], decays: Mapping[str, float]) -> str:
    """For a run with several averages: the decay with the lowest MSE, and the options that train it alone."""
    best = best_variant(scores_by_variant(metrics), "mse")
    if best is not None and best in decays:
        decay = decays[best]
        return f"{decay} (half-life {half_life(decay):.3g} updates); alone: model/ema=suited model.ema.decay={decay}"
    return "none, the standard weights score better" if best else "unknown, no score is finite"


def distance_table(metrics: Mapping[str, Any]) -> Table:
    """How far the averaged weights are from the standard ones."""
    table = Table(
        title="Distance of the EMA from the standard weights", box=box.SIMPLE_HEAD, min_width=60, padding=(0, 0, 0, 1)
    )  # fmt: skip
    table.add_column("key", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for key, meaning in DISTANCES.items():
        if key in metrics:
            table.add_row(key, f"{float(metrics[key]):.6g}", meaning)
    return table


def ema_callback(trainer: Trainer) -> EMACallback | None:
    """The callback that keeps the averages of a run; None without EMA."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)


def constant_decays(ema: EMACallback | None) -> dict[str, float]:
    """The constant decay of each average by its variant; empty without EMA."""
    if ema is None:
        return {}
    decays = {"ema": ema.decay} | {f"ema_{extra}": extra for extra in ema.extra_decays}
    return {variant: decay for variant, decay in decays.items() if isinstance(decay, float)}


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
        """Print the tables, the paths and the next commands; keep them in the run folder."""
        metrics, ema = trainer.callback_metrics, ema_callback(trainer)
        decays = constant_decays(ema)
        units = display_units(trainer.datamodule.field.units)  # type: ignore[attr-defined]
        tables = [score_table(metrics, units, decays)]
        if "ema/tracked_floating_tensors" in metrics:
            tables.append(distance_table(metrics))
        lines = [against_first_guess(metrics)]
        if ema is not None and not ema.warmup and ema.start_step <= 1:
            lines.append(too_long(decays, trainer.global_step / ema.apply_every_n_steps))
        lines.append(self.speed(trainer))
        places = {"best decay": best_decay(metrics, decays)} if len(decays) > 1 else {}
        places |= self.places(trainer)
        width = max(map(len, places)) + 2
        lines += [f"{name + ':':{width}}{place}" for name, place in places.items()]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "closing_table.txt").open("w", encoding="utf-8") as file:
            for console in (Console(), Console(file=file, width=120)):
                for table in tables:
                    print_table(console, table)
                print_lines(console, *filter(None, lines))

    def speed(self, trainer: Trainer) -> str:
        """Steps, steps per second of training (validation apart) and memory, in one line."""
        steps = trainer.global_step - self.first_step
        rate = f"{steps / self.training_seconds:.2f} steps/s" if self.training_seconds else "no training"
        return f"{steps} optimizer steps in {self.training_seconds:.0f} s ({rate}, validation apart), peak memory {peak_memory()}"

    def places(self, trainer: Trainer) -> dict[str, str]:
        """Paths and the next commands by their labels."""
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
