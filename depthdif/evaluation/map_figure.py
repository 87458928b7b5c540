"""Maps of the RMSE."""

from __future__ import annotations

import cmocean
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthdif.evaluation.result import OI, Evaluation
from depthdif.evaluation.tally import Tally
from depthdif.figures.globe import draw_on_globe, label_degrees
from depthdif.figures.panel import with_units


def rmse_maps(evaluation: Evaluation) -> Figure | None:
    """RMSE over depths and patches of OI and of the model, and their difference, where patches lie."""
    if evaluation.best is None:
        return None
    methods = [method for method in (OI, evaluation.best) if method in evaluation.tallies]
    fields = [evaluation.tallies[method].rmse_map for method in methods]
    limits = (0.0, float(np.nanpercentile(fields, 98)))
    panels = [
        (f"{method.label}\nRMSE", field, cmocean.cm.amp, limits, "max")
        for method, field in zip(methods, fields, strict=True)
    ]
    if OI in methods:
        difference = fields[1] - fields[0]
        limit = float(np.nanpercentile(np.abs(difference), 98)) or 1.0
        title = f"{evaluation.best.label}\nminus OI"
        panels.append((title, difference, cmocean.cm.balance, (-limit, limit), "both"))
    best = evaluation.tallies[evaluation.best]
    grid, (columns, rows) = best.grid, covered(best)
    # Ascending also across the seam of the grid.
    longitude = grid.longitude[columns[0]] + np.median(np.diff(grid.longitude)) * np.arange(len(columns))
    land = np.where(grid.ocean[rows][:, columns], np.nan, 0.0)
    figure = Figure(figsize=(2.9 * len(panels) + 0.4, 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, field, colours, limits, extend) in zip(axes, panels, strict=True):
        shown = field[rows][:, columns]
        _, image = draw_on_globe(axis, grid.latitude[rows], longitude, shown, colours, limits, land)
        label_degrees(axis.xaxis, "EW")
        label_degrees(axis.yaxis, "NS")
        bar = figure.colorbar(image, ax=axis, location="bottom", shrink=0.9, extend=extend)
        bar.ax.tick_params(labelsize=7)
        axis.tick_params(labelsize=7)
        axis.set_title(with_units(title, evaluation.units), fontsize=9)
    figure.suptitle(
        f"RMSE of {evaluation.variable} over all depths and patches; grey: land; white: scored in no patch",
        fontsize=9,
    )
    return figure


def covered(tally: Tally) -> tuple[NDArray[np.integer], slice]:
    """Columns of the grid, in one piece across the seam, and rows that the patches touch."""
    touched = tally.map_count > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    width = touched.shape[1]
    # They begin after the widest gap, which goes round the globe.
    first = columns[((columns - np.roll(columns, 1)) % width).argmax()]
    span = ((columns - first) % width).max() + 1
    return (first + np.arange(span)) % width, slice(int(rows[0]), int(rows[-1]) + 1)
