"""Figures of an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from depthdif.evaluation.figure_style import style
from depthdif.evaluation.followed_figure import followed_figure
from depthdif.evaluation.map_figure import rmse_maps
from depthdif.evaluation.result import CLIMATOLOGY, IDW, MODEL, OI, TRAINING_MEAN, Evaluation, Method
from depthdif.evaluation.scale_figures import gradient_figure, spectrum_figure
from depthdif.evaluation.tally import SPREAD_GROUPS, Tally
from depthdif.figures.axes import TRUTH_COLOUR, plain_ticks, scale_depth, subplots, titled
from depthdif.figures.panel import error_limits, reconstruction_figure, save_figure, with_units
from depthdif.scores.score import Score
from depthdif.scores.score_names import variant_label

Array = NDArray[np.floating]

DPI = 200


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
        "gradients": gradient_figure(evaluation),
        "density": density_figure(evaluation),
        "case": case_figure(evaluation),
        "followed": followed_figure(evaluation),
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
    left.set_xlabel(with_units("RMSE", evaluation.units), fontsize=9)
    left.set_ylabel("depth (m)", fontsize=9)
    right.set_xlabel("RMSE as a ratio to OI", fontsize=9)
    scale_depth(left, 1.02 * evaluation.depths[-1])
    return titled(
        figure,
        f"RMSE of {evaluation.variable} over unobserved ocean cells; bands: 95 % over patches",
        legend=left,
    )


def density_figure(evaluation: Evaluation) -> Figure | None:
    """RMSE and CRPS against the share of observed columns."""
    if len(evaluation.density) < 2:
        return None
    figure, (axes,) = subplots(7.2, 3.6, 1, 3)
    shares = np.array(sorted(evaluation.density))
    names = {
        "rmse": with_units("RMSE", evaluation.units),
        "crps": with_units("CRPS", evaluation.units),
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
    title = f"The patch of median error of {evaluation.variable}, {variant_label(evaluation.chosen)} weights"
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
    axis.set_xlabel(with_units("spread: expected RMSE", units), fontsize=9)
    axis.set_ylabel(with_units("actual RMSE", units), fontsize=9)
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
