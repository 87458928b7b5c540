"""Axes, lines and colours of the figures of an evaluation.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from depthdif.evaluation.result import CLIMATOLOGY, IDW, MODEL, OI, TRAINING_MEAN, Method
from depthdif.scores.score_names import STANDARD

TRUTH_COLOUR = "black"
COLOURS = {TRAINING_MEAN.name: "0.55", CLIMATOLOGY.name: "#56B4E9", IDW.name: "#009E73", OI.name: "#0072B2"}
VARIANT_COLOURS = {"ema": "#D55E00", STANDARD: "#E69F00"}
FURTHER_COLOUR = "#CC79A7"


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
