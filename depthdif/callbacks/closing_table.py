"""The table at the end of a run: scores, distances, speed, the paths of what was written and the next commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.callbacks.reconstruction import ema_callback
from depthdif.callbacks.throughput import peak_memory, throughput
from depthdif.data.variables import Variable
from depthdif.ema.decay import half_life, horizon
from depthdif.figures.panel import display_units
from depthdif.files import near
from depthdif.loggers.metrics_file import METRICS, last_row_with
from depthdif.scores.score_names import (
    MONITORED,
    SCORES,
    first_guess_scores,
    of_variable,
    scores_by_variant,
    variant_label,
)
from depthdif.terminal import command, print_lines, print_table
from depthdif.weights_and_biases.logger import sync_command

TABLE = "closing_table.txt"

DISTANCES = {
    "ema/decay": "configured decay",
    "ema/effective_decay": "decay of the last update",
    "ema/weight_relative_rms_delta": "RMS distance / RMS of weights",
    "ema/weight_rms_delta": "RMS distance",
    "ema/weight_mean_abs_delta": "mean absolute distance",
    "ema/weight_max_abs_delta": "largest distance",
    "ema/tracked_floating_tensors": "averaged tensors",
}


def score_tables(
    metrics: Mapping[str, Any], variables: Sequence[Variable], decays: Mapping[str, float]
) -> list[Table]:
    """The table of the scores; of several variables one for each of them, after that of all together."""
    if len(variables) == 1:
        return [score_table(metrics, display_units(variables[0].units), decays)]
    together = score_table(metrics, "", decays, "all variables, in standard deviations")
    return [
        together,
        *(
            score_table(
                of_variable(metrics, variable.name), display_units(variable.units), decays, variable.name
            )
            for variable in variables
        ),
    ]


def score_table(
    metrics: Mapping[str, Any], units: str, decays: Mapping[str, float] | None = None, of: str = ""
) -> Table:
    """A row for the scores of the first guess, if any, and for each variant, by rising decay; `*` marks the best variant.

    `decays` is the decay of each average by its variant, "ema" for the main one.
    """
    variants, decays = scores_by_variant(metrics), decays or {}
    best = {name: best_variant(variants, name) for name in SCORES}
    title = "First validation mini-batch, over the ocean"
    table = plain_table(f"{title}: {of}" if of else title, caption="* best of the weights")
    table.add_column("weights")
    if decays:
        table.add_column("half-life,\nupdates", justify="right", no_wrap=True)
    for score in SCORES.values():
        table.add_column(score.heading(units).replace(" ", "\n", 1), justify="right", no_wrap=True)
    rows = {"first_guess": first_guess} if (first_guess := first_guess_scores(metrics)) else {}
    for variant in sorted(variants, key=lambda variant: decays.get(variant, 0.0)):
        rows[variant] = variants[variant]
    for variant, scores in rows.items():
        label = variant_label(variant)
        if variant == "ema" and variant in decays:
            label = f"EMA {decays[variant]}{', main' if len(decays) > 1 else ''}"
        lives = [f"{half_life(decays[variant]):.3g}" if variant in decays else ""] if decays else []
        cells = [
            f"{score.format(scores.get(name))}{'*' if variant == best[name] else ' '}"
            for name, score in SCORES.items()
        ]
        table.add_row(label, *lives, *cells)
    return table


def plain_table(title: str, caption: str | None = None) -> Table:
    """An empty table of the closing table, of at least 60 columns."""
    return Table(title=title, caption=caption, box=box.SIMPLE_HEAD, min_width=60, padding=(0, 0, 0, 1))


def best_variant(variants: Mapping[str, Mapping[str, float]], score: str) -> str | None:
    """The variant with the best value of a score; None where no finite one was logged."""
    sign = -1 if SCORES[score].higher_is_better else 1
    values = {variant: sign * scores.get(score, math.nan) for variant, scores in variants.items()}
    finite = [variant for variant, value in values.items() if math.isfinite(value)]
    return min(finite, key=values.__getitem__, default=None)


def against_first_guess(metrics: Mapping[str, Any]) -> str:
    """One line where no variant has a lower MSE than the first guess; "" otherwise, and without a first guess."""
    first_guess, variants = first_guess_scores(metrics), scores_by_variant(metrics)
    best = {score: best_variant(variants, score) for score in ("mse", "crps") if score in first_guess}
    if not best.get("mse") or variants[str(best["mse"])]["mse"] < first_guess["mse"]:
        return ""
    comparisons = [
        f"{SCORES[score].label} {SCORES[score].format(variants[variant][score])} ({variant_label(variant)}), "
        f"first guess {SCORES[score].format(first_guess[score])}"
        for score, variant in best.items()
        if variant
    ]
    return f"no weights have a lower MSE than the first guess: {'; '.join(comparisons)}"


def too_long(decay: float, updates: float) -> str:
    """One line where the average reaches back beyond the start of the run, so that initial weights stay in it; else ""."""
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
    table = plain_table("Distance of the EMA from the standard weights")
    table.add_column("key", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for key, meaning in DISTANCES.items():
        if key in metrics:
            table.add_row(key, f"{float(metrics[key]):.6g}", meaning)
    return table


def speed_line(trainer: Trainer) -> str:
    """Steps, speed, data wait and peak memory of the training."""
    parts = []
    if (counted := throughput(trainer)) is not None:
        run, rates = counted.run, counted.run.rates()
        parts.append(f"{run.steps} optimizer steps in {run.seconds:.0f} s, validation apart")
        if rates:
            parts.append(
                f"{run.steps / run.seconds:.2f} steps/s, {rates['samples_per_second']:.3g} samples/s"
            )
        if "data_wait_share" in rates:
            parts.append(f"data wait {100 * rates['data_wait_share']:.0f} %")
    gigabytes, whose = peak_memory()
    return "; ".join([*parts, f"peak memory of the {whose} {gigabytes:.2f} GB"])


class ClosingTable(Callback):
    """Prints the closing table after a fit and writes it to `closing_table.txt` in the `folder` of the run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the tables, the paths and the next commands, and write them to the run folder."""
        # Nothing was logged when an earlier attempt had made the last step already.
        metrics = trainer.callback_metrics or last_row_with(self.folder / METRICS, MONITORED)
        ema = ema_callback(trainer)
        # A power-function average has no constant decay.
        averages = {} if ema is None else ema.decays
        decays = {variant: decay for variant, decay in averages.items() if isinstance(decay, float)}
        tables = score_tables(metrics, trainer.datamodule.variables, decays)  # type: ignore[attr-defined]
        if "ema/tracked_floating_tensors" in metrics:
            tables.append(distance_table(metrics))
        lines = [against_first_guess(metrics)]
        if ema is not None and "ema" in decays and not ema.warmup and ema.start_step <= 1:
            lines.append(too_long(decays["ema"], trainer.global_step / ema.apply_every_n_steps))
        lines.append(speed_line(trainer))
        places = {"best decay": best_decay(metrics, decays)} if len(decays) > 1 else {}
        places |= self.places(trainer)
        width = max(map(len, places)) + 2
        lines += [f"{name + ':':{width}}{place}" for name, place in places.items()]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / TABLE).open("w", encoding="utf-8") as file:
            for console in (Console(), Console(file=file, width=120)):
                for table in tables:
                    print_table(console, table)
                print_lines(console, *filter(None, lines))

    def places(self, trainer: Trainer) -> dict[str, str]:
        """Paths and the next commands by their labels."""
        places = {"run": near(self.folder), "panels": near(self.folder / "panels")}
        checkpoints = {
            "last checkpoint" if callback.monitor is None else "best checkpoint": callback.best_model_path
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint) and callback.best_model_path
        }
        places |= {label: near(checkpoints[label]) for label in sorted(checkpoints)}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                upload = sync_command(logger)
                places["upload to W&B" if upload else "W&B run"] = upload or str(logger.experiment.url)
        if "last checkpoint" in places:
            resume = shlex.quote(places["last checkpoint"])
            places["train on"] = (
                f"{command('train')} resume={resume} trainer.max_steps={2 * trainer.global_step}"
            )
        return places
