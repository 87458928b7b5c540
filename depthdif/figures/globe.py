"""Maps on axes of degrees, and where places lie on a grid."""

from __future__ import annotations

import functools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colorizer import ColorizingArtist
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from depthdif.figures.level_maps import LAND, format_degrees

Field = NDArray[np.floating]

SEA_FLOOR = "0.86"
GROUND_COLOURS = ListedColormap([LAND, SEA_FLOOR])
# Up to 7 ticks, 15 or 60 rather than 20 or 50 degrees apart.
DEGREE_TICKS = functools.partial(MaxNLocator, 6, steps=[1, 1.5, 3, 6, 10])


def borders(centres: Field) -> Field:
    """(N + 1,) borders of cells with (N,) centres: halfway between them, and as far beyond the outermost; one cell is 1 wide."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5], float)
    halfway = (centres[1:] + centres[:-1]) / 2
    return np.array([2 * centres[0] - halfway[0], *halfway, 2 * centres[-1] - halfway[-1]], float)


def eastward(longitude: Field, from_longitude: float) -> Field:
    """The same places with longitudes from `from_longitude` to 360 degrees east of it."""
    return from_longitude + (np.asarray(longitude) - from_longitude) % 360


def places_on_grid(
    latitude: Field, longitude: Field, grid_latitude: Field, grid_longitude: Field
) -> tuple[Field, Field]:
    """Row and column of places (N,), counted in cells from the south-western corner of the grid; NaN outside of it.

    The centre of the first cell is at 0.5.
    """
    rows, columns = borders(grid_latitude), borders(grid_longitude)
    east = eastward(longitude, columns[0])
    outside = {"left": np.nan, "right": np.nan}
    row = np.interp(latitude, rows, np.arange(len(rows)), **outside)
    column = np.interp(east, columns, np.arange(len(columns)), **outside)
    inside = np.isfinite(row) & np.isfinite(column)
    return np.where(inside, row, np.nan), np.where(inside, column, np.nan)


def draw_on_globe(
    axis: Axes,
    latitude: Field,
    longitude: Field,
    field: Field,
    colours: Colormap,
    limits: tuple[float, float],
    behind: Field,
) -> list[ColorizingArtist]:
    """Draw a field (H, W) on axes of degrees. Where it is NaN, `behind` is seen: 0 for land, 1 for sea floor, NaN for neither."""
    edges, (low, high) = (borders(longitude), borders(latitude)), limits
    ground = axis.pcolorfast(*edges, behind, cmap=GROUND_COLOURS, vmin=0, vmax=1)
    return [ground, axis.pcolorfast(*edges, np.ma.masked_invalid(field), cmap=colours, vmin=low, vmax=high)]


def label_degrees(ticks: Axis, letters: str) -> None:
    """Label an axis of longitudes ("EW") or of latitudes ("NS")."""
    ticks.set_major_locator(DEGREE_TICKS())
    ticks.set_major_formatter(FuncFormatter(lambda degrees, _: format_degrees(degrees, letters)))
