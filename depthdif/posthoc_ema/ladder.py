"""Scores of many weight states of one model on its validation set, and the picture of them against the length of the average."""

from __future__ import annotations

import csv
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
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.precision import autocast
from depthdif.diffusion.reconstruction import physical_truth, reconstruct, score_estimate

# Kinds of weight states that stand on the ladder.
LADDER = ("tracked", "rebuilt")

# Score, what it is called ({} is the unit of the field), decimals.
SCORES = (("mse", "MSE {}²", 4), ("psnr", "PSNR dB", 2), ("ssim", "SSIM", 4), ("loss", "val/loss", 5))


@dataclass(frozen=True)
class Rung:
    """One weight state and its scores.

    Attributes:
        name: "standard", "width 0.07", "decay 0.999".
        kind: "standard", "tracked" (a snapshot holds it), "rebuilt", or "constant" for a constant decay.
        width: relative width of the average, None for the standard weights.
        fit_error: relative distance of its profile from the one wanted, None for the standard weights.
        scores: by name; what cannot be computed is left out.
    """

    name: str
    kind: str
    width: float | None
    fit_error: float | None
    scores: Mapping[str, float]


def validation_scores(
    module: DiffusionModule,
    data: OceanDataModule,
    batches: Sequence[Mapping[str, Tensor]],
    precision: str,
    advance: Callable[[], None],
) -> dict[str, float]:
    """Scores of the reconstructions and `loss`, as a validation of the training computes them.

    Draws are those of the training: same noise for the same sample, same time steps for the same batch.

    Args:
        module: with the weights to score.
        data: where the batches come from.
        batches: the validation mini-batches, in their order from the first.
        precision: of the run.
        advance: called after each batch.

    Returns:
        `mse`, `psnr`, `ssim`, `crps` where there are two independent members, and `loss`.
    """
    statistics = data.standardization
    means, losses, crps = [], 0.0, 0.0
    for number, batch in enumerate(batches):
        ensemble = reconstruct(module, batch, statistics, precision)
        means.append(ensemble.mean)
        ocean = batch["ocean_mask"].numpy()
        crps += float(ensemble.crps(physical_truth(batch, statistics))[ocean].sum())
        on_device = {name: tensor.to(module.device) for name, tensor in batch.items()}
        with torch.no_grad(), autocast(precision, module.device):
            loss = module.loss(on_device, torch.Generator().manual_seed(module.seed + number))
        losses += float(loss) * len(batch["target"])
        advance()
    together = {name: torch.cat([batch[name] for batch in batches]) for name in ("target", "ocean_mask")}
    scores = score_estimate(np.concatenate(means), together, statistics)
    if ensemble.has_spread:
        scores["crps"] = crps / int(together["ocean_mask"].sum())
    return {**scores, "loss": losses / len(together["target"])}


def best_of(rungs: Sequence[Rung], score: str = "mse") -> Rung | None:
    """The rung of the ladder with the smallest MSE or loss; None where none is finite."""
    finite = [r for r in rungs if r.kind in LADDER and math.isfinite(r.scores.get(score, math.nan))]
    return min(finite, key=lambda rung: rung.scores[score], default=None)


def ladder_table(rungs: Sequence[Rung], units: str) -> Table:
    """A row for each weight state; a star at the width with the smallest MSE."""
    best = best_of(rungs)
    table = Table(title="Validation, over the ocean (* width with the smallest MSE)")
    table.add_column("weights")
    table.add_column("fit error", justify="right")
    for _, title, _ in SCORES:
        table.add_column(title.format(units), justify="right")
    for rung in rungs:
        fit = (
            "" if rung.fit_error is None else "tracked" if rung.kind == "tracked" else f"{rung.fit_error:.1e}"
        )
        scores = [f"{rung.scores[name]:.{n}f}" if name in rung.scores else "-" for name, _, n in SCORES]
        table.add_row(rung.name, fit, scores[0] + ("*" if rung is best else ""), *scores[1:])
    return table


def write_ladder(rungs: Sequence[Rung], path: Path) -> None:
    """All weight states and scores as CSV, at full precision; empty where a number is not defined."""
    names = [name for name, _, _ in SCORES]
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["weights", "kind", "relative_width", "fit_error", *names])
        for rung in rungs:
            of_scores = [rung.scores.get(name, "") for name in names]
            known = ["" if value is None else value for value in (rung.width, rung.fit_error)]
            writer.writerow([rung.name, rung.kind, *known, *of_scores])
    unfinished.replace(path)


def ladder_figure(rungs: Sequence[Rung], units: str, title: str) -> Figure:
    """MSE of the reconstructions and loss of the validation against relative width, with the optimum of each marked."""
    figure = Figure(figsize=(9.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    scores = (("mse", f"MSE of the reconstructions ({units}²)"), ("loss", "validation loss"))
    for axis, (score, label) in zip(figure.subplots(1, 2), scores, strict=True):
        draw_score(axis, [rung for rung in rungs if math.isfinite(rung.scores.get(score, math.nan))], score)
        axis.set_ylabel(label)
        axis.set_xlabel("relative width of the average")
    return figure


def draw_score(axis: Axes, rungs: Sequence[Rung], score: str) -> None:
    """One score against width: the ladder as a line, what else was scored as points and a level."""
    points = sorted((r.width, r.scores[score], r.kind, r.name) for r in rungs if r.width is not None)
    ladder = [point for point in points if point[2] in LADDER]
    axis.plot([x for x, *_ in ladder], [y for _, y, *_ in ladder], "-", color="tab:blue", lw=1.2)
    looks: dict[str, dict[str, Any]] = {
        "rebuilt": {"marker": "o", "mfc": "white", "color": "tab:blue", "label": "rebuilt"},
        "tracked": {"marker": "o", "color": "tab:blue", "label": "tracked in training"},
        "constant": {"marker": "D", "color": "tab:orange", "label": "constant decay"},
    }
    for kind, look in looks.items():
        of_kind = [(x, y) for x, y, other, _ in points if other == kind]
        if of_kind:
            axis.plot(*zip(*of_kind, strict=True), ls="", ms=5, **look)
    draw_standard(axis, [y for _, y, *_ in points], [r.scores[score] for r in rungs if r.kind == "standard"])
    if ladder:
        width, least, _, name = min(ladder, key=lambda point: point[1])
        axis.plot(width, least, "*", ms=12, ls="", color="tab:red", label=f"best: {name}", zorder=3)
    axis.set_xscale("log")
    axis.set_xticks([x for x, *_ in ladder], minor=False)
    axis.tick_params(axis="x", labelrotation=60, labelsize=8)
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.25)


def draw_standard(axis: Axes, scores: Sequence[float], standard: Sequence[float]) -> None:
    """A level for the standard weights, or a word on them where the level would flatten everything else."""
    look: dict[str, Any] = {"color": "0.4", "ls": "--", "lw": 1}
    for level in standard:
        span = max(scores, default=level) - min(scores, default=level)
        if min(scores, default=level) - 2 * span <= level <= max(scores, default=level) + 2 * span:
            axis.axhline(level, label="standard weights", **look)
        else:
            axis.plot([], [], label=f"standard weights: {level:.4g}, off the scale", **look)
