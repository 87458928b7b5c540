"""The figures of an evaluation, and those of them that show the scores themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from depthdif.evaluation.calibration_figures import rank_figure, spread_figure
from depthdif.evaluation.figure_style import plain_ticks, style, titled
from depthdif.evaluation.map_figure import rmse_maps
from depthdif.evaluation.result import IDW, OI, TRAINING_MEAN, Evaluation, Method
from depthdif.evaluation.spectrum_figure import spectrum_figure
from depthdif.figures.panel import error_limits, reconstruction_figure, save_figure
from depthdif.scores.score import Score, Scores
from depthdif.scores.score_names import variant_label

Array = NDArray[np.floating]

DPI = 200
AGAINST_OI = "as a ratio to OI"


def draw_figures(found: Evaluation, folder: Path) -> None:
    """Draw every figure that the numbers allow into `folder`."""
    figures = {
        "rmse_by_depth": rmse_by_depth(found),
        "rmse_maps": rmse_maps(found),
        "spread_and_error": spread_figure(found),
        "ranks": rank_figure(found),
        "spectra": spectrum_figure(found),
        "density": density_figure(found),
        "case": case_figure(found),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, folder / f"{name}.png", dpi=DPI)


def rmse_by_depth(found: Evaluation) -> Figure:
    """RMSE of every method against depth, and its ratio to OI, with the intervals of OI and the best."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, ("rmse", "rmse_ratio"), strict=True):
        for method, levels in found.by_depth.items():
            if name == "rmse_ratio" and method in (TRAINING_MEAN, IDW):
                continue
            banded = method in (OI, found.best)
            draw_scores(axis, found.depths, [level.get(name) for level in levels], style(method), banded)
        axis.grid(alpha=0.3, which="both", linewidth=0.5)
        axis.tick_params(labelsize=8)
    axes[0].set_xscale("log")
    plain_ticks(axes[0].xaxis)
    axes[0].set_xlabel(f"RMSE ({found.units})", fontsize=9)
    axes[0].set_ylabel("depth (m)", fontsize=9)
    axes[1].set_xlabel(f"RMSE {AGAINST_OI}", fontsize=9)
    # Observed levels crowd near the surface.
    axes[0].set_yscale("function", functions=(np.sqrt, np.square))
    axes[0].set_ylim(found.depths[-1] * 1.02, 0)
    axes[0].set_yticks(ticks_of_depth(found.depths[-1]))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return titled(figure, "RMSE over unobserved ocean cells; bands: 95 % over patches")


def draw_scores(
    axis: Axes, depths: Array, scores: Sequence[Score | None], line: Mapping[str, Any], banded: bool
) -> None:
    """A profile of scores against depth, where they are defined."""
    held = [(depth, score) for depth, score in zip(depths, scores, strict=True) if score is not None]
    axis.plot([score.value for _, score in held], [depth for depth, _ in held], linewidth=1.4, **line)
    limits = [(depth, score.low, score.high) for depth, score in held if score.low is not None]
    if banded and limits:
        where, low, high = zip(*limits, strict=True)
        axis.fill_betweenx(where, low, high, color=line["color"], alpha=0.2, linewidth=0)


def density_figure(found: Evaluation) -> Figure | None:
    """RMSE and CRPS against the share of observed columns."""
    if len(found.density) < 2:
        return None
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    shares = np.array(sorted(found.density))
    methods = [method for method in next(iter(found.density.values())) if method != TRAINING_MEAN]
    names = {
        "rmse": f"RMSE ({found.units})",
        "crps": f"CRPS ({found.units})",
        "rmse_ratio": f"RMSE {AGAINST_OI}",
    }
    for axis, (name, heading) in zip(axes, names.items(), strict=True):
        for method in methods:
            if name == "rmse_ratio" and method == IDW:
                continue
            draw_density(
                axis, 100 * shares, [found.density[share].get(method, {}) for share in shares], name, method
            )
        axis.set(xscale="log", yscale="linear" if name == "rmse_ratio" else "log")
        axis.set_xticks(100 * shares, [f"{100 * share:g}" for share in shares])
        axis.xaxis.set_minor_formatter(NullFormatter())
        if name != "rmse_ratio":
            plain_ticks(axis.yaxis)
        axis.set_xlabel("observed columns (%)", fontsize=9)
        axis.set_title(heading, fontsize=9)
        axis.tick_params(labelsize=8, which="both")
        axis.grid(alpha=0.3, which="both", linewidth=0.4)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    weights = f"; {variant_label(found.chosen)} weights" if found.chosen else ""
    return titled(figure, f"Skill against density of observations{weights}; whiskers: 95 % over patches")


def draw_density(axis: Axes, shares: Array, scores: Sequence[Scores], name: str, method: Method) -> None:
    """One score of one method against the share observed, in per cent."""
    held = [
        (share, of_share[name]) for share, of_share in zip(shares, scores, strict=True) if name in of_share
    ]
    if not held:
        return
    where, values = [share for share, _ in held], np.array([score.value for _, score in held])
    limits = [(score.value if score.low is None else score.low, score.value if score.high is None else score.high)
              for _, score in held]  # fmt: skip
    low, high = np.array(limits).T
    whiskers = [np.maximum(values - low, 0), np.maximum(high - values, 0)]
    axis.errorbar(
        where,
        values,
        whiskers,
        marker="o",
        markersize=3,
        linewidth=1.3,
        elinewidth=0.8,
        capsize=2,
        **style(method),
    )


def case_figure(found: Evaluation) -> Figure | None:
    """The patch of median error: the mean of the samples, and one of them, beside OI."""
    if not found.case:
        return None
    cases = [dataclasses.replace(case, title=f"{name}   {case.title}") for name, case in found.case.items()]
    limits = [error_limits([case.error for case in cases], found.panel_levels)] * len(cases)
    title = f"The patch of median error, {variant_label(found.chosen)} weights"
    if OI in found.tallies:
        title += "; the first guess shown is OI"
    return reconstruction_figure(cases, found.depths, found.panel_levels, limits, found.units, title)


def ticks_of_depth(deepest: float) -> list[float]:
    """Round depths down to the deepest level."""
    return [
        depth for depth in (0, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000) if depth <= deepest
    ]
