"""Distance of the cells of a grid from land."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from depthdif import EARTH_RADIUS
from depthdif.data.field import OceanField


def coast_distance(field: OceanField) -> np.ndarray:
    """(H, W) float32: great-circle distance of each cell from the centre of the nearest land cell of the field, km; 0 on land.

    Land is what is no ocean at the shallowest level. Without land it is half the circumference of the Earth.
    """
    land = ~field.surface_ocean_mask
    distance = np.full(land.shape, np.pi * EARTH_RADIUS, np.float32)
    if not land.any():
        return distance
    latitude, longitude = np.meshgrid(field.latitude, field.longitude, indexing="ij")
    # A domain that repeats itself before 360 degrees has land beyond both ends too.
    turns = (-1, 0, 1) if field.wraps and field.period < 360 else (0,)
    coasts = np.concatenate(
        [_on_sphere(latitude[land], longitude[land] + turn * field.period) for turn in turns]
    )
    chord, _ = cKDTree(coasts).query(_on_sphere(latitude[~land], longitude[~land]))
    distance[land] = 0
    distance[~land] = 2 * EARTH_RADIUS * np.arcsin(np.minimum(chord / 2, 1))
    return distance


def _on_sphere(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """(N, 3) points of the unit sphere for degrees (N,)."""
    latitude, longitude = np.radians(latitude), np.radians(longitude)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
