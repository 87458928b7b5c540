"""Horizontal gradients of ocean fields: how sharp their fronts are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from depthdif import EARTH_RADIUS

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Kilometres that a gradient refers to: degrees Celsius per 100 km are numbers near 1.
GRADIENT_DISTANCE = 100.0


def gradient_magnitude(fields: Array, latitude: Array, longitude: Array) -> Array:
    """|grad| of fields (..., H, W) between each cell and its neighbours to the east and to the north, (..., H - 1, W - 1).

    In units of the fields per 100 km, with the distance along the parallel of the cell. `latitude` (H,) is in degrees north and
    `longitude` (W,) in degrees east, both ascending. Differences of neighbours keep the shortest waves of the grid, which
    centred differences do not see.
    """
    north = np.radians(np.diff(latitude)) * EARTH_RADIUS
    east = np.radians(np.diff(longitude)) * EARTH_RADIUS * np.cos(np.radians(latitude[:-1, None]))
    northward = np.diff(fields, axis=-2)[..., :-1] / north[:, None]
    eastward = np.diff(fields, axis=-1)[..., :-1, :] / east
    return GRADIENT_DISTANCE * np.hypot(northward, eastward)


def gradient_mask(ocean_mask: Mask) -> Mask:
    """Cells (..., H - 1, W - 1) that are ocean together with their neighbours to the east and to the north."""
    return ocean_mask[..., :-1, :-1] & ocean_mask[..., :-1, 1:] & ocean_mask[..., 1:, :-1]


def gradient_square(fields: Array, ocean_mask: Mask, latitude: Array, longitude: Array) -> Array:
    """Sum of squared gradients over the cells of `gradient_mask`: fields and mask (..., H, W) to (...) float64."""
    squares = np.square(gradient_magnitude(fields, latitude, longitude))
    return np.where(gradient_mask(ocean_mask), squares, 0).sum(axis=(-2, -1), dtype=np.float64)
