"""The PNG summary: verdict, curves, scores against half-life and distances on one sheet."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from depthdif.comparison.charts import LOG_SPAN, Line, can_be_drawn
from depthdif.comparison.curves import (
    DISTANCE_NAMES,
    SCORE_NAMES,
    distance_lines,
    half_life_lines,
    score_lines,
)
from depthdif.comparison.ranking import Ranking

MOST_NAMED = 14


def summary(ranked: Sequence[Ranking]) -> bytes:
    """A PNG of the largest group: what is best, MSE by step and by half-life, relative distance; others are mentioned."""
    figure = Figure(figsize=(15, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    title = "No run has scored a reconstruction yet"
    if ranked:
        first = ranked[0]
        title = textwrap.fill(first.words, 150)
        if len(ranked) > 1:
            title += f"\nThis is group 1 of {len(ranked)}; the scores of the groups do not compare."
        mse, relative = SCORE_NAMES["mse"], DISTANCE_NAMES["relative_rms"]
        left, middle, right = figure.subplots(1, 3)
        draw(left, score_lines(first, "mse"), "optimizer steps", mse)
        draw(middle, half_life_lines(first, "mse"), "half-life (optimizer steps)", mse, log_x=True)
        draw(right, distance_lines(first, "relative_rms"), "optimizer steps", relative)
        left.set_title("Validations, best ringed", fontsize=10)
        middle.set_title("Best validation of each average", fontsize=10)
        right.set_title("Distance from the standard weights", fontsize=10)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    written = io.BytesIO()
    figure.savefig(written, dpi=110, format="png")
    return written.getvalue()


def draw(axis: Axes, lines: Sequence[Line], x_label: str, y_label: str, log_x: bool = False) -> None:
    """Lines as the page shows them."""
    drawn = 0
    for line in lines:
        points = [point for point in line.points if can_be_drawn(point, log_x)]
        if not points:
            continue
        label = line.label if drawn < MOST_NAMED else None
        drawn += 1
        style = "--" if line.is_dashed else "-"
        marker = "" if line.is_dashed else "o"
        xs, ys = [point.x for point in points], [point.y for point in points]
        axis.plot(xs, ys, linestyle=style, marker=marker, markersize=3.5, color=line.colour, label=label)
        if line.marked:
            axis.plot(line.marked.x, line.marked.y, "o", markersize=11, markerfacecolor="none", color="black")
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.grid(alpha=0.3)
    if not drawn:
        axis.text(0.5, 0.5, "no values yet", ha="center", transform=axis.transAxes)
        return
    values = [point.y for line in lines for point in line.points if can_be_drawn(point, log_x)]
    if log_x:
        axis.set_xscale("log")
    if min(values) > 0 and max(values) > LOG_SPAN * min(values):
        axis.set_yscale("log")
    more = f"and {drawn - MOST_NAMED} more" if drawn > MOST_NAMED else None
    axis.legend(fontsize=7, title=more, title_fontsize=7)
