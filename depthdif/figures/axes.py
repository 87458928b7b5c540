"""Axes and colours that the figures of several jobs share.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from depthdif.scores.score_names import STANDARD

TRUTH_COLOUR = "black"
OI_COLOUR = "#0072B2"
VARIANT_COLOURS = {"ema": "#D55E00", STANDARD: "#E69F00"}
FURTHER_COLOUR = "#CC79A7"
DEPTH_TICKS = (0, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000)


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


def plain_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade of a logarithmic axis, labelled in decimal notation."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def scale_depth(axis: Axes, deepest: float) -> None:
    """Depth from 0 to `deepest` metres, downwards, with room for the levels that crowd near the surface."""
    axis.set_yscale("function", functions=(lambda depth: np.sqrt(np.maximum(depth, 0)), np.square))
    axis.set_ylim(deepest, 0)
    axis.set_yticks([depth for depth in DEPTH_TICKS if depth <= deepest])
