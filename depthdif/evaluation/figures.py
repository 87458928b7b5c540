"""Figures of an evaluation; colours of Okabe & Ito (2008), which colour-blind readers can tell apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from depthdif.evaluation.map_figure import rmse_maps
from depthdif.evaluation.result import CLIMATOLOGY, IDW, MODEL, OI, TRAINING_MEAN, Evaluation, Method
from depthdif.evaluation.tally import SPREAD_GROUPS, Tally
from depthdif.figures.panel import error_limits, reconstruction_figure, save_figure
from depthdif.scores.score import Score
from depthdif.scores.score_names import STANDARD, variant_label

Array = NDArray[np.floating]

DPI = 200
TRUTH_COLOUR = "black"
COLOURS = {TRAINING_MEAN.name: "0.55", CLIMATOLOGY.name: "#56B4E9", IDW.name: "#009E73", OI.name: "#0072B2"}
VARIANT_COLOURS = {"ema": "#D55E00", STANDARD: "#E69F00"}
FURTHER_COLOUR = "#CC79A7"
DEPTH_TICKS = (0, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000)


def draw_figures(evaluation: Evaluation, folder: Path) -> None:
    """Draw every figure that the numbers allow into `folder`."""
    # The spread of IDW is no estimate of its error: it is in the files alone.
    spreads = {
        method: tally for method, tally in evaluation.tallies.items() if tally.has_spread and method != IDW
    }
    figures = {
        "rmse_by_depth": rmse_by_depth(evaluation),
        "rmse_maps": rmse_maps(evaluation),
        "spread_and_error": spread_figure(spreads, evaluation.units) if spreads else None,
        "ranks": rank_figure(spreads, evaluation.counts) if spreads else None,
        "spectra": spectrum_figure(evaluation),
        "density": density_figure(evaluation),
        "case": case_figure(evaluation),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, folder / f"{name}.png", dpi=DPI)


def rmse_by_depth(evaluation: Evaluation) -> Figure:
    """RMSE of every method against depth, and its ratio to OI, with the intervals of OI and the best."""
    figure, ((left, right),) = subplots(7.2, 4.4, 1, 2, sharey=True)
    for axis, name in ((left, "rmse"), (right, "rmse_ratio")):
        for method, levels in evaluation.by_depth.items():
            if name == "rmse_ratio" and method in (TRAINING_MEAN, CLIMATOLOGY, IDW):
                continue
            line = style(method)
            depths, values, low, high = curve(evaluation.depths, [level.get(name) for level in levels])
            axis.plot(values, depths, linewidth=1.4, **line)
            if method in (OI, evaluation.best):
                axis.fill_betweenx(depths, low, high, color=line["color"], alpha=0.2, linewidth=0)
    left.set_xscale("log")
    plain_ticks(left.xaxis)
    left.set_xlabel(f"RMSE ({evaluation.units})", fontsize=9)
    left.set_ylabel("depth (m)", fontsize=9)
    right.set_xlabel("RMSE as a ratio to OI", fontsize=9)
    # Observed levels crowd near the surface.
    left.set_yscale("function", functions=(np.sqrt, np.square))
    deepest = evaluation.depths[-1]
    left.set_ylim(deepest * 1.02, 0)
    left.set_yticks([depth for depth in DEPTH_TICKS if depth <= deepest])
    return titled(figure, "RMSE over unobserved ocean cells; bands: 95 % over patches", legend=left)


def density_figure(evaluation: Evaluation) -> Figure | None:
    """RMSE and CRPS against the share of observed columns."""
    if len(evaluation.density) < 2:
        return None
    figure, (axes,) = subplots(7.2, 3.6, 1, 3)
    shares = np.array(sorted(evaluation.density))
    names = {
        "rmse": f"RMSE ({evaluation.units})",
        "crps": f"CRPS ({evaluation.units})",
        "rmse_ratio": "RMSE as a ratio to OI",
    }
    for axis, (name, heading) in zip(axes, names.items(), strict=True):
        is_ratio = name == "rmse_ratio"
        for method in next(iter(evaluation.density.values())):
            if method == TRAINING_MEAN or (is_ratio and method in (CLIMATOLOGY, IDW)):
                continue
            scores = [evaluation.density[share].get(method, {}).get(name) for share in shares]
            where, values, low, high = curve(100 * shares, scores)
            if len(where):
                axis.errorbar(where, values, whiskers(values, low, high), marker="o", markersize=3, linewidth=1.3,
                              elinewidth=0.8, capsize=2, **style(method))  # fmt: skip
        axis.set(xscale="log", yscale="linear" if is_ratio else "log")
        axis.set_xticks(100 * shares, [f"{100 * share:g}" for share in shares])
        axis.xaxis.set_minor_formatter(NullFormatter())
        if not is_ratio:
            plain_ticks(axis.yaxis)
        axis.set_xlabel("observed columns (%)", fontsize=9)
        axis.set_title(heading, fontsize=9)
    weights = f"; {variant_label(evaluation.chosen)} weights" if evaluation.chosen else ""
    title = f"Skill against density of observations{weights}; whiskers: 95 % over patches"
    return titled(figure, title, legend=axes[0])


def case_figure(evaluation: Evaluation) -> Figure | None:
    """The patch of median error: the mean of the samples, and one of them, beside OI."""
    if not evaluation.case:
        return None
    cases = [
        dataclasses.replace(case, title=f"{name}   {case.title}") for name, case in evaluation.case.items()
    ]
    levels = evaluation.panel_levels
    limits = [error_limits([case.error for case in cases], levels)] * len(cases)
    title = f"The patch of median error, {variant_label(evaluation.chosen)} weights"
    if OI in evaluation.tallies:
        title += "; the first guess shown is OI"
    return reconstruction_figure(cases, evaluation.depths, levels, limits, evaluation.units, title)


def spread_figure(tallies: Mapping[Method, Tally], units: str) -> Figure:
    """RMSE in bins of the spread; a reliable forecast is on the diagonal."""
    figure, ((axis,),) = subplots(4.4, 4.4, 1, 1)
    shown: list[float] = []
    for (method, tally), marker in zip(tallies.items(), "sodv^<>P*X", strict=False):
        spread, error = tally.spread_and_error()
        axis.plot(spread, error, marker=marker, markersize=4, linewidth=1.2, **style(method))
        shown += [*spread[spread > 0], *error[error > 0]]
    ends = [min(shown) * 0.8, max(shown) * 1.25]
    axis.plot(ends, ends, color=TRUTH_COLOUR, linewidth=0.8, linestyle=":", label="reliable")
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    axis.set_xlabel(f"spread: expected RMSE ({units})", fontsize=9)
    axis.set_ylabel(f"actual RMSE ({units})", fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return titled(figure, f"Spread and error, {SPREAD_GROUPS} bins of as many cells")


def rank_figure(tallies: Mapping[Method, Tally], counts: Array) -> Figure:
    """Rank histograms side by side, with the uniform share as a line; `counts` are the resamples of the patches."""
    figure, (axes,) = subplots(2.3 * len(tallies) + 0.5, 2.9, 1, len(tallies), sharey=True)
    for axis, (method, tally) in zip(axes, tallies.items(), strict=True):
        share, low, high = tally.rank_shares(counts)
        ranks = np.arange(len(share))
        axis.grid(False)
        axis.bar(ranks, share, width=0.9, color=style(method)["color"], alpha=0.75)
        axis.errorbar(
            ranks, share, whiskers(share, low, high), fmt="none", ecolor="0.2", elinewidth=0.8, capsize=1.5
        )
        axis.axhline(1 / len(share), color=TRUTH_COLOUR, linewidth=0.8, linestyle=":")
        axis.set_title(method.label, fontsize=9)
        label = "rank of the truth" if method.name == MODEL else "distribution function at the truth (PIT)"
        axis.set_xlabel(label, fontsize=8)
    axes[0].set_ylabel("share of cells", fontsize=9)
    return titled(figure, "Rank histograms; dotted: reliable; whiskers: 95 % over patches")


def spectrum_figure(evaluation: Evaluation) -> Figure | None:
    """Spectra of truth, OI and model at a few depths, and below them the power of the errors over that of the truth."""
    truth, grid, units = evaluation.truth.spectra(), evaluation.truth.grid.spectra, evaluation.units
    if truth is None or grid is None:
        return None
    truth_power = truth[0]
    levels = [level for level in evaluation.panel_levels if np.isfinite(truth_power[level]).any()]
    if not levels:
        return None
    chosen = evaluation.chosen
    shown = [method for method in evaluation.tallies if method == OI or (chosen and method.weights == chosen)]
    figure, axes = subplots(2.5 * len(levels) + 0.5, 4.9, 2, len(levels), sharex=True, sharey="row")
    wavelength = 1 / grid.wavenumbers
    for (upper, lower), level in zip(axes.T, levels, strict=True):
        upper.loglog(wavelength, truth_power[level], color=TRUTH_COLOUR, linewidth=1.6, label="truth")
        for method in shown:
            spectra = evaluation.tallies[method].spectra()
            assert spectra is not None
            power, error_power = spectra
            upper.loglog(wavelength, power[level], linewidth=1.3, **style(method))
            lower.loglog(wavelength, error_power[level] / truth_power[level], linewidth=1.3, **style(method))
        lower.axhline(0.5, color=TRUTH_COLOUR, linewidth=0.7, linestyle=":")
        upper.set_title(f"{evaluation.depths[level]:.3g} m", fontsize=9)
        lower.set_xlabel("wavelength (km)", fontsize=9)
    # Long waves to the left.
    axes[1, 0].set_xlim(wavelength[0] * 1.1, wavelength[-1] / 1.1)
    plain_ticks(axes[1, 0].xaxis)
    axes[0, 0].set_ylabel(f"power ({f'({units})' if ' ' in units else units}² km)", fontsize=9)
    axes[1, 0].set_ylabel("power of the error\nover that of the truth", fontsize=9)
    windows = f"{grid.window} × {grid.window} cells"
    title = f"Spectra over land-free windows of {windows}; dotted: half the power of the truth"
    return titled(figure, title, legend=axes[0, 0])


def subplots(width: float, height: float, rows: int, columns: int, **sharing: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes (rows, columns), with a grid and small labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **sharing)
    for axis in axes.flat:
        axis.grid(alpha=0.3, which="both", linewidth=0.4)
        axis.tick_params(labelsize=7, which="both")
    return figure, axes


def titled(figure: Figure, title: str, legend: Axes | None = None) -> Figure:
    """The figure under its title, with the labels of the axes `legend` below it."""
    figure.suptitle(title, fontsize=9)
    if legend is not None:
        entries = legend.get_legend_handles_labels()
        figure.legend(*entries, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def curve(positions: Array, scores: Sequence[Score | None]) -> Array:
    """(4, N) position, value and limits of the scores that are defined; without an interval both limits are the value."""
    rows = [
        (
            position,
            score.value,
            score.value if score.low is None else score.low,
            score.value if score.high is None else score.high,
        )
        for position, score in zip(positions, scores, strict=True)
        if score is not None
    ]
    return np.array(rows).reshape(-1, 4).T


def whiskers(values: Array, low: Array, high: Array) -> Array:
    """(2, N) lengths of error bars from the limits."""
    return np.maximum([values - low, high - values], 0)


def style(method: Method) -> dict[str, Any]:
    """Line of a method: a colour for the weights, solid for a mean and dashed for single samples."""
    if method.name != MODEL:
        return {"color": COLOURS[method.name], "linestyle": "-", "label": method.label}
    colour = VARIANT_COLOURS.get(method.weights, FURTHER_COLOUR)
    return {"color": colour, "linestyle": "-" if method.members > 1 else (0, (4, 2)), "label": method.label}


def plain_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade of a logarithmic axis, labelled in decimal notation."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
