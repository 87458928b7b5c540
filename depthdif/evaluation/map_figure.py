"""Maps of the RMSE."""

from __future__ import annotations

from typing import Any

import cmocean
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from depthdif.evaluation.result import OI, Evaluation
from depthdif.evaluation.tally import Tally
from depthdif.figures.level_maps import LAND

Array = NDArray[np.floating]


def rmse_maps(evaluation: Evaluation) -> Figure | None:
    """RMSE over depths and patches of OI and of the model, and their difference, where patches lie."""
    if evaluation.best is None:
        return None
    best = evaluation.tallies[evaluation.best]
    pictures = {evaluation.best.label: best.rmse_map}
    if OI in evaluation.tallies:
        pictures = {OI.label: evaluation.tallies[OI].rmse_map, **pictures}
        pictures["difference"] = pictures[evaluation.best.label] - pictures[OI.label]
    columns, rows = covered(best)
    figure = Figure(figsize=(2.9 * len(pictures) + 0.4, 4.2), layout="constrained")
    axes = figure.subplots(1, len(pictures), sharey=True, squeeze=False)[0]
    errors = [field for name, field in pictures.items() if name != "difference"]
    high = float(np.nanpercentile(np.concatenate([field.ravel() for field in errors]), 98))
    for axis, (name, field) in zip(axes, pictures.items(), strict=True):
        if name == "difference":
            limit = float(np.nanpercentile(np.abs(field), 98)) or 1.0
            draw_grid(figure, axis, best, field, columns, rows, cmocean.cm.balance, (-limit, limit))
            axis.set_title(f"{evaluation.best.label}\nminus OI ({evaluation.units})", fontsize=9)
        else:
            draw_grid(figure, axis, best, field, columns, rows, cmocean.cm.amp, (0.0, high))
            axis.set_title(f"{name}\nRMSE ({evaluation.units})", fontsize=9)
    figure.suptitle("RMSE over all depths and patches; grey: land; white: scored in no patch", fontsize=9)
    return figure


def covered(tally: Tally) -> tuple[NDArray[np.integer], slice]:
    """Columns of the grid, in one piece across the seam, and rows that the patches touch."""
    touched = tally.map_count > 0
    rows = np.flatnonzero(touched.any(axis=1))
    columns = np.flatnonzero(touched.any(axis=0))
    # They begin after the widest gap, which goes round the globe.
    width = touched.shape[1]
    gaps = (columns - np.roll(columns, 1)) % width
    first = int(columns[gaps.argmax()]) if len(columns) < width else 0
    span = (
        int((columns - first).max() + 1)
        if first == columns[0]
        else int(((columns - first) % width).max() + 1)
    )
    return (first + np.arange(span)) % width, slice(int(rows[0]), int(rows[-1]) + 1)


def draw_grid(
    figure: Figure,
    axis: Axes,
    tally: Tally,
    field: Array,
    columns: NDArray[np.integer],
    rows: slice,
    colours: Colormap,
    limits: tuple[float, float],
) -> None:
    """A part of the grid as a map; land where the field is missing at the surface."""
    latitude = tally.grid.latitude[rows]
    step = np.median(np.diff(tally.grid.longitude))
    longitude = tally.grid.longitude[columns[0]] + step * np.arange(len(columns))
    height = np.median(np.diff(latitude))
    extent = (
        longitude[0] - step / 2,
        longitude[-1] + step / 2,
        latitude[0] - height / 2,
        latitude[-1] + height / 2,
    )
    land = np.where(tally.grid.ocean[rows][:, columns], np.nan, 1.0)
    shape: dict[str, Any] = {
        "origin": "lower",
        "extent": extent,
        "interpolation": "nearest",
        "aspect": "auto",
    }
    axis.imshow(land, cmap=ListedColormap([LAND]), **shape)
    shown = np.ma.masked_invalid(field[rows][:, columns])
    image = axis.imshow(shown, cmap=colours, vmin=limits[0], vmax=limits[1], **shape)
    bar = figure.colorbar(
        image, ax=axis, location="bottom", shrink=0.9, extend="both" if limits[0] else "max"
    )
    bar.ax.tick_params(labelsize=7)
    axis.tick_params(labelsize=7)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda east, _: degrees((east + 180) % 360 - 180, "E", "W")))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda north, _: degrees(north, "N", "S")))


def degrees(value: float, positive: str, negative: str) -> str:
    """Degrees with the letter of their side, such as `40°S`."""
    return f"{abs(value):g}°{positive if value > 0 else negative if value < 0 else ''}"
