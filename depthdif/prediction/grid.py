"""The grid of a prediction: a region of the grid of a field, with its depths and its ocean."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """D depths and H x W cells.

    Attributes:
        latitude: (H,) float64 degrees north, ascending.
        longitude: (W,) float64 degrees east, ascending, also across the date line (179, 181).
        depths: (D,) float64 metres below the surface, ascending.
        ocean_mask: (D, H, W) bool.
        rows, columns: (H,) and (W,) int64, the numbers of rows and columns in the whole grid, of which this is a region.
        whole_columns: number of columns of the whole grid.
        period: degrees of longitude after which a place is the same place.
        wraps: whether the last column is the western neighbour of the first.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    depths: np.ndarray
    ocean_mask: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    whole_columns: int
    period: float
    wraps: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depths, rows and columns."""
        depths, height, width = self.ocean_mask.shape
        return depths, height, width
