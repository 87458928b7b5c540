"""How much ocean a cell of a regular grid stands for: its area and the thickness of its layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def relative_areas(latitude: Array) -> Array:
    """cos(latitude): areas of the cells of a grid with equal steps in degrees, over that of a cell on the equator.

    `latitude` (...) is in degrees north; the result is float64 of the same shape.
    """
    return np.clip(np.cos(np.radians(np.asarray(latitude, np.float64))), 0, None)


def layer_thickness(depths: Array) -> Array:
    """(D,) metres that each of the ascending `depths` (D,) stands for: half the distance to both neighbours together.

    The outermost layers reach as far beyond their level as towards their only neighbour, but not above the sea surface. A single
    level has the thickness 1.
    """
    levels = np.asarray(depths, np.float64)
    if len(levels) < 2:
        return np.ones(len(levels))
    half = np.diff(levels) / 2
    borders = [max(levels[0] - half[0], 0.0), *(levels[:-1] + half), levels[-1] + half[-1]]
    return np.diff(borders)
