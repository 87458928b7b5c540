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
from depthdif.evaluation.result import IDW, MODEL, OI, TRAINING_MEAN, Evaluation, Method
from depthdif.evaluation.tally import Tally
from depthdif.figures.panel import error_limits, reconstruction_figure, save_figure
from depthdif.scores.score import Score, Scores
from depthdif.scores.score_names import STANDARD, variant_label

Array = NDArray[np.floating]

DPI = 200
AGAINST_OI = "as a ratio to OI"
TRUTH_COLOUR = "black"
COLOURS = {TRAINING_MEAN.name: "0.55", IDW.name: "#009E73", OI.name: "#0072B2"}
VARIANT_COLOURS = {"ema": "#D55E00", STANDARD: "#E69F00"}
FURTHER_COLOUR = "#CC79A7"


def draw_figures(evaluation: Evaluation, folder: Path) -> None:
    """Draw every figure that the numbers allow into `folder`."""
    figures = {
        "rmse_by_depth": rmse_by_depth(evaluation),
        "rmse_maps": rmse_maps(evaluation),
        "spread_and_error": spread_figure(evaluation),
        "ranks": rank_figure(evaluation),
        "spectra": spectrum_figure(evaluation),
        "density": density_figure(evaluation),
        "case": case_figure(evaluation),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, folder / f"{name}.png", dpi=DPI)


def rmse_by_depth(evaluation: Evaluation) -> Figure:
    """RMSE of every method against depth, and its ratio to OI, with the intervals of OI and the best."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, ("rmse", "rmse_ratio"), strict=True):
        for method, levels in evaluation.by_depth.items():
            if name == "rmse_ratio" and method in (TRAINING_MEAN, IDW):
                continue
            banded = method in (OI, evaluation.best)
            draw_scores(axis, evaluation.depths, [level.get(name) for level in levels], style(method), banded)
        axis.grid(alpha=0.3, which="both", linewidth=0.5)
        axis.tick_params(labelsize=8)
    axes[0].set_xscale("log")
    plain_ticks(axes[0].xaxis)
    axes[0].set_xlabel(f"RMSE ({evaluation.units})", fontsize=9)
    axes[0].set_ylabel("depth (m)", fontsize=9)
    axes[1].set_xlabel(f"RMSE {AGAINST_OI}", fontsize=9)
    # Observed levels crowd near the surface.
    axes[0].set_yscale("function", functions=(np.sqrt, np.square))
    axes[0].set_ylim(evaluation.depths[-1] * 1.02, 0)
    axes[0].set_yticks(depth_ticks(evaluation.depths[-1]))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return titled(figure, "RMSE over unobserved ocean cells; bands: 95 % over patches")


def draw_scores(
    axis: Axes, depths: Array, scores: Sequence[Score | None], line: Mapping[str, Any], banded: bool
) -> None:
    """A profile of scores against depth, where they are defined."""
    defined = [(depth, score) for depth, score in zip(depths, scores, strict=True) if score is not None]
    axis.plot([score.value for _, score in defined], [depth for depth, _ in defined], linewidth=1.4, **line)
    limits = [(depth, score.low, score.high) for depth, score in defined if score.low is not None]
    if banded and limits:
        where, low, high = zip(*limits, strict=True)
        axis.fill_betweenx(where, low, high, color=line["color"], alpha=0.2, linewidth=0)


def density_figure(evaluation: Evaluation) -> Figure | None:
    """RMSE and CRPS against the share of observed columns."""
    if len(evaluation.density) < 2:
        return None
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    shares = np.array(sorted(evaluation.density))
    methods = [method for method in next(iter(evaluation.density.values())) if method != TRAINING_MEAN]
    names = {
        "rmse": f"RMSE ({evaluation.units})",
        "crps": f"CRPS ({evaluation.units})",
        "rmse_ratio": f"RMSE {AGAINST_OI}",
    }
    for axis, (name, heading) in zip(axes, names.items(), strict=True):
        for method in methods:
            if name == "rmse_ratio" and method == IDW:
                continue
            draw_density(
                axis,
                100 * shares,
                [evaluation.density[share].get(method, {}) for share in shares],
                name,
                method,
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
    weights = f"; {variant_label(evaluation.chosen)} weights" if evaluation.chosen else ""
    return titled(figure, f"Skill against density of observations{weights}; whiskers: 95 % over patches")


def draw_density(axis: Axes, shares: Array, scores: Sequence[Scores], name: str, method: Method) -> None:
    """One score of one method against the share observed, in per cent."""
    defined = [(share, row[name]) for share, row in zip(shares, scores, strict=True) if name in row]
    if not defined:
        return
    where, values = [share for share, _ in defined], np.array([score.value for _, score in defined])
    limits = [(score.value if score.low is None else score.low, score.value if score.high is None else score.high)
              for _, score in defined]  # fmt: skip
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


def case_figure(evaluation: Evaluation) -> Figure | None:
    """The patch of median error: the mean of the samples, and one of them, beside OI."""
    if not evaluation.case:
        return None
    cases = [
        dataclasses.replace(case, title=f"{name}   {case.title}") for name, case in evaluation.case.items()
    ]
    limits = [error_limits([case.error for case in cases], evaluation.panel_levels)] * len(cases)
    title = f"The patch of median error, {variant_label(evaluation.chosen)} weights"
    if OI in evaluation.tallies:
        title += "; the first guess shown is OI"
    return reconstruction_figure(
        cases, evaluation.depths, evaluation.panel_levels, limits, evaluation.units, title
    )


def with_spread(evaluation: Evaluation) -> dict[Method, Tally]:
    """The methods with a spread; that of IDW, which is no estimate of its error, is in the files alone."""
    return {
        method: tally for method, tally in evaluation.tallies.items() if tally.has_spread and method != IDW
    }


def spread_figure(evaluation: Evaluation) -> Figure | None:
    """RMSE in bins of the spread; a reliable forecast is on the diagonal."""
    tallies = with_spread(evaluation)
    if not tallies:
        return None
    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axis = figure.subplots()
    shown: list[float] = []
    for (method, tally), marker in zip(tallies.items(), "sodv^<>P*X", strict=False):
        spread, error = tally.spread_and_error()
        axis.plot(spread, error, marker=marker, markersize=4, linewidth=1.2, **style(method))
        shown += [*spread[spread > 0], *error[error > 0]]
    ends = [min(shown) * 0.8, max(shown) * 1.25]
    axis.plot(ends, ends, color=TRUTH_COLOUR, linewidth=0.8, linestyle=":", label="reliable")
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for one in (axis.xaxis, axis.yaxis):
        plain_ticks(one)
    axis.set_xlabel(f"spread: expected RMSE ({evaluation.units})", fontsize=9)
    axis.set_ylabel(f"actual RMSE ({evaluation.units})", fontsize=9)
    axis.tick_params(labelsize=8, which="both")
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.legend(fontsize=8, frameon=False)
    return titled(figure, "Spread and error, 12 bins of as many cells")


def rank_figure(evaluation: Evaluation) -> Figure | None:
    """Rank histograms side by side, with the uniform share as a line."""
    tallies = with_spread(evaluation)
    if not tallies:
        return None
    figure = Figure(figsize=(2.3 * len(tallies) + 0.5, 2.9), layout="constrained")
    axes = figure.subplots(1, len(tallies), sharey=True, squeeze=False)[0]
    for axis, (method, tally) in zip(axes, tallies.items(), strict=True):
        share, low, high = tally.rank_shares(evaluation.counts)
        ranks = np.arange(len(share))
        whiskers = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
        axis.bar(ranks, share, width=0.9, color=style(method)["color"], alpha=0.75)
        axis.errorbar(ranks, share, whiskers, fmt="none", ecolor="0.2", elinewidth=0.8, capsize=1.5)
        axis.axhline(1 / len(share), color=TRUTH_COLOUR, linewidth=0.8, linestyle=":")
        axis.set_title(method.label, fontsize=9)
        axis.set_xlabel(
            "rank of the truth" if method.name == MODEL else "where the truth falls (PIT)", fontsize=8
        )
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("share of cells", fontsize=9)
    return titled(figure, "Rank histograms; dotted: reliable; whiskers: 95 % over patches")


def spectrum_figure(evaluation: Evaluation) -> Figure | None:
    """Spectra of truth, OI and model at a few depths, and below them the power of the errors over that of the truth."""
    truth_power, grid = evaluation.truth.spectrum(), evaluation.truth.grid.spectra
    if truth_power is None or grid is None:
        return None
    levels = [level for level in evaluation.panel_levels if np.isfinite(truth_power[level]).any()]
    if not levels:
        return None
    model = [
        method for method in evaluation.tallies if method.weights == evaluation.chosen and evaluation.chosen
    ]
    shown = {method: evaluation.tallies[method] for method in [OI, *model] if method in evaluation.tallies}
    figure = Figure(figsize=(2.5 * len(levels) + 0.5, 4.9), layout="constrained")
    axes = figure.subplots(2, len(levels), sharex=True, sharey="row", squeeze=False)
    wavelength = 1 / grid.wavenumbers
    for (upper, lower), level in zip(axes.T, levels, strict=True):
        upper.loglog(wavelength, truth_power[level], color=TRUTH_COLOUR, linewidth=1.6, label="truth")
        for method, tally in shown.items():
            power, error = tally.spectrum(), tally.spectrum(error=True)
            assert power is not None
            assert error is not None
            upper.loglog(wavelength, power[level], linewidth=1.3, **style(method))
            lower.loglog(wavelength, error[level] / truth_power[level], linewidth=1.3, **style(method))
        lower.axhline(0.5, color=TRUTH_COLOUR, linewidth=0.7, linestyle=":")
        upper.set_title(f"{evaluation.depths[level]:.3g} m", fontsize=9)
        lower.set_xlabel("wavelength (km)", fontsize=9)
        for axis in (upper, lower):
            axis.grid(alpha=0.3, which="both", linewidth=0.4)
            axis.tick_params(labelsize=7, which="both")
    wavelength_axis(axes[1, 0], wavelength)
    axes[0, 0].set_ylabel(f"power ({squared(evaluation.units)} km)", fontsize=9)
    axes[1, 0].set_ylabel("power of the error\nover that of the truth", fontsize=9)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return titled(
        figure,
        f"Spectra over land-free windows of {grid.window} × {grid.window} cells; dotted: half the power of the truth",
    )


def wavelength_axis(axis: Axes, wavelength: Array) -> None:
    """Long waves to the left, plain kilometres."""
    axis.set_xlim(wavelength[0] * 1.1, wavelength[-1] / 1.1)
    plain_ticks(axis.xaxis)


def depth_ticks(deepest: float) -> list[float]:
    """Round depths down to the deepest level."""
    return [
        depth for depth in (0, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000) if depth <= deepest
    ]


def style(method: Method) -> dict[str, Any]:
    """Line of a method: a colour for the weights, solid for a mean and dashed for single samples."""
    if method.name != MODEL:
        return {"color": COLOURS[method.name], "linestyle": "-", "label": method.label}
    colour = VARIANT_COLOURS.get(method.weights, FURTHER_COLOUR)
    return {"color": colour, "linestyle": "-" if method.members > 1 else (0, (4, 2)), "label": method.label}


def plain_ticks(axis: Any) -> None:
    """1, 2 and 5 of each decade, as they are, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def titled(figure: Figure, title: str) -> Figure:
    """The figure under its title."""
    figure.suptitle(title, fontsize=9)
    return figure


def squared(units: str) -> str:
    """Such as `°C²` or `(kg m-3)²`."""
    return f"({units})²" if " " in units else f"{units}²"
