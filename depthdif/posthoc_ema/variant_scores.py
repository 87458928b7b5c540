"""Scores of the variants of one model on its validation set: table, file, and figure against the width of the average."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullLocator
from rich.table import Table
from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import VALIDATION, DiffusionModule
from depthdif.diffusion.precision import autocast
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.evaluation.variable_scores import score_variables
from depthdif.figures.panel import with_units
from depthdif.files import write_csv
from depthdif.scores.score_names import SCORES, STANDARD, ScoreName

COLUMNS = (*SCORES.values(), ScoreName("loss", "val/loss", "", 5))


@dataclass(frozen=True)
class VariantScores:
    """One variant and its scores.

    Attributes:
        name: "standard", "width 0.07", "decay 0.999".
        kind: "standard", "tracked" (a snapshot holds it), "rebuilt", or "constant" for a constant decay.
        width: relative width of the average, None for the standard weights.
        fit_error: relative distance of its profile from the requested one, None for the standard weights.
        scores: by name; what cannot be computed is left out.
    """

    name: str
    kind: str
    width: float | None
    fit_error: float | None
    scores: Mapping[str, float]

    @property
    def is_power_function(self) -> bool:
        """Whether it is a power-function average: among these the best width is chosen."""
        return self.kind in ("tracked", "rebuilt")

    def has(self, score: str) -> bool:
        """Whether a score is finite."""
        return math.isfinite(self.scores.get(score, math.nan))


def validation_scores(
    module: DiffusionModule,
    data: OceanDataModule,
    batches: Sequence[Mapping[str, Tensor]],
    precision: str,
    advance: Callable[[], None],
) -> dict[str, float]:
    """`mse`, `psnr`, `ssim`, `crps` (of at least two independent members) and `loss`, as in the validation of the training.

    Those of several variables are together (`scores_together`). Random numbers are those of the training: same noise and time
    steps for the same sample. `advance` is called after each batch.
    """
    statistics = data.standardization
    ensembles, errors, weights = [], 0.0, 0.0
    for batch in batches:
        ensembles.append(reconstruct(module, batch, statistics, precision))
        on_device = {name: tensor.to(module.device) for name, tensor in batch.items()}
        with torch.no_grad(), autocast(precision, module.device):
            error, weight = module.errors(on_device, VALIDATION)
        errors += float(error.sum())
        weights += float(weight.sum())
        advance()
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in ("target", "target_mask")}
    members = np.concatenate([ensemble.members for ensemble in ensembles])
    ensemble = dataclasses.replace(ensembles[0], members=members)
    scores = score_variables(data, whole, ensemble)[""]
    return {**scores, "loss": errors / weights}


def best_width(variants: Sequence[VariantScores], score: str = "mse") -> VariantScores | None:
    """The power-function average with the smallest MSE or loss; None where none is finite."""
    finite = [variant for variant in variants if variant.is_power_function and variant.has(score)]
    return min(finite, key=lambda variant: variant.scores[score], default=None)


def score_table(variants: Sequence[VariantScores], units: str) -> Table:
    """A row for each variant; a star at the width with the smallest MSE."""
    best = best_width(variants)
    table = Table(title="Validation, over the ocean (* width with the smallest MSE)")
    table.add_column("variant", no_wrap=True)
    table.add_column("fit error", justify="right", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.heading(units), justify="right", no_wrap=True)
    for variant in variants:
        fit = "" if variant.fit_error is None else f"{variant.fit_error:.1e}"
        cells = [column.format(variant.scores.get(column.name)) for column in COLUMNS]
        cells[0] += "*" if variant is best else ""
        table.add_row(variant.name, "tracked" if variant.kind == "tracked" else fit, *cells)
    return table


def write_scores(variants: Sequence[VariantScores], path: Path) -> None:
    """All variants and scores as CSV, at full precision; empty where a number is not defined."""
    keys = ("variant", "kind", "relative_width", "fit_error")
    rows = [
        dict(zip(keys, (v.name, v.kind, v.width, v.fit_error), strict=True)) | dict(v.scores)
        for v in variants
    ]
    write_csv(path, rows, [*keys, *(column.name for column in COLUMNS)])


def score_figure(variants: Sequence[VariantScores], units: str, title: str) -> Figure:
    """MSE of the reconstructions and loss of the validation against relative width, with the optimum of each marked."""
    figure = Figure(figsize=(9.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    scores = (
        ("mse", with_units("MSE of the reconstructions", f"{units}²" if units else "")),
        ("loss", "validation loss"),
    )
    for axis, (score, label) in zip(figure.subplots(1, 2), scores, strict=True):
        draw_score(axis, [variant for variant in variants if variant.has(score)], score)
        axis.set_ylabel(label)
        axis.set_xlabel("relative width of the average")
    return figure


def draw_score(axis: Axes, variants: Sequence[VariantScores], score: str) -> None:
    """One score against width: power functions on a line, a constant decay as a point, the standard weights as a level."""
    averages = sorted((v for v in variants if v.width is not None), key=lambda v: v.width or 0.0)
    powers = [average for average in averages if average.is_power_function]

    def same_kind(kind: str) -> list[VariantScores]:
        return [average for average in averages if average.kind == kind]

    series: list[tuple[Sequence[VariantScores], str, dict[str, Any]]] = [
        (powers, "-", {"color": "tab:blue", "lw": 1.2}),
        (same_kind("rebuilt"), "o", {"ms": 5, "mfc": "white", "color": "tab:blue", "label": "rebuilt"}),
        (same_kind("tracked"), "o", {"ms": 5, "color": "tab:blue", "label": "tracked in training"}),
        (same_kind("constant"), "D", {"ms": 5, "color": "tab:orange", "label": "constant decay"}),
    ]
    for shown, style, look in series:
        if shown:
            axis.plot([v.width or math.nan for v in shown], [v.scores[score] for v in shown], style, **look)
    for level in [variant.scores[score] for variant in variants if variant.kind == STANDARD]:
        scores = [variant.scores[score] for variant in averages]
        low, high = min(scores, default=level), max(scores, default=level)
        look = {"color": "0.4", "ls": "--", "lw": 1}
        # A line, or only a label where the line would be far off all other scores.
        if low - 2 * (high - low) <= level <= high + 2 * (high - low):
            axis.axhline(level, label="standard weights", **look)
        else:
            axis.plot([], [], label=f"standard weights: {level:.4g}, off the scale", **look)
    if (best := best_width(variants, score)) is not None:
        x, y = best.width or math.nan, best.scores[score]
        axis.plot(x, y, "*", ms=12, color="tab:red", label=f"best: {best.name}", zorder=3)
    axis.set_xscale("log")
    axis.set_xticks([variant.width for variant in powers if variant.width], minor=False)
    axis.tick_params(axis="x", labelrotation=60, labelsize=8)
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.25)
