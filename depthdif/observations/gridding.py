"""Superobservations: the mean of the profiles in each cell of a grid and window of time."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthdif.observations.profiles import ProfileTable

# Of a cell, by which the width of a grid that closes the globe may differ from the period: files hold float32.
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Superobservations:
    """Profiles on a grid of D depths and H x W cells.

    Attributes:
        mean: (D, H, W) float32, NaN where there is no value.
        count: (D, H, W) int32, number of profiles in the mean.
        row, column: (N,) int64, the cell of each profile; -1 outside the grid.
        on_land: number of values that were left out because their cell is no ocean at their depth.
    """

    mean: np.ndarray
    count: np.ndarray
    row: np.ndarray
    column: np.ndarray
    on_land: int


def superobservations(
    values: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    grid_latitude: np.ndarray,
    grid_longitude: np.ndarray,
    period: float,
    ocean_mask: np.ndarray | None = None,
) -> Superobservations:
    """Average the profiles of each cell, each with the same weight.

    Args:
        values: (N, D), NaN where a profile has no value.
        latitude, longitude: (N,) degrees; longitudes in any convention.
        grid_latitude, grid_longitude: (H,) and (W,), centres of the cells, ascending.
        period: degrees of longitude after which a place is the same place.
        ocean_mask: (D, H, W) bool, where values are used; None for everywhere.
    """
    row, column = cells(latitude, longitude, grid_latitude, grid_longitude, period)
    shape = values.shape[1], len(grid_latitude), len(grid_longitude)
    profile, level = np.nonzero(np.isfinite(values) & (row >= 0)[:, None])
    if ocean_mask is not None:
        ocean = ocean_mask[level, row[profile], column[profile]]
        on_land = int((~ocean).sum())
        profile, level = profile[ocean], level[ocean]
    else:
        on_land = 0
    # Sums over occupied cells only: a global grid has millions of cells, of which profiles fill thousands.
    occupied, number = np.unique(
        np.ravel_multi_index((level, row[profile], column[profile]), shape), return_inverse=True
    )
    counts = np.bincount(number, minlength=len(occupied))
    mean, count = np.full(shape, np.nan, np.float32), np.zeros(shape, np.int32)
    mean.flat[occupied] = np.bincount(number, values[profile, level], len(occupied)) / counts
    count.flat[occupied] = counts
    return Superobservations(mean, count, row, column, on_land)


def cells(
    latitude: np.ndarray,
    longitude: np.ndarray,
    grid_latitude: np.ndarray,
    grid_longitude: np.ndarray,
    period: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (N,) int64 of the cell that each place lies in; both are -1 outside the grid.

    Cells meet half-way between their centres and reach half a cell beyond the outermost; a place on the border belongs to the
    cell to its north or east. A single row or column is as wide as the cells are in the other direction, 1 degree for a single
    cell.
    """
    steps = [float(np.diff(axis).mean()) for axis in (grid_latitude, grid_longitude) if len(axis) > 1]
    step = steps[0] if steps else 1.0
    south_to_north, west_to_east = _edges(grid_latitude, step), _edges(grid_longitude, step)
    west = west_to_east[0]
    eastward = (longitude - west) % period
    # The remainder of a tiny negative number rounds to the period itself.
    eastward[eastward >= period] = 0
    width = west_to_east - west
    if abs(width[-1] - period) < _ROUNDING * step:
        width[-1] = period
    row, column = _between(south_to_north, latitude), _between(width, eastward)
    outside = (row < 0) | (column < 0)
    row[outside] = column[outside] = -1
    return row, column


def in_window(profiles: ProfileTable, centre: np.datetime64, width: np.timedelta64) -> np.ndarray:
    """(N,) bool, profiles not more than half a width before or after a time."""
    return 2 * np.abs(profiles.time - centre) <= width


def _edges(centres: np.ndarray, step: float) -> np.ndarray:
    """(n + 1,) borders of cells."""
    centres = centres.astype(np.float64)
    if len(centres) == 1:
        return centres[0] + np.array([-step / 2, step / 2])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _between(edges: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) number of the cell between `edges`; -1 outside. The last edge itself belongs to the last cell."""
    number = np.searchsorted(edges, places, side="right") - 1
    number[places == edges[-1]] = len(edges) - 2
    number[(number >= len(edges) - 1) | np.isnan(places)] = -1
    return number
