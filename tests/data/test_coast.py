"""Distance of ocean cells from land."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from depthdif import EARTH_RADIUS
from depthdif.data.coast import coast_distance
from depthdif.data.field import OceanField

DEGREE = np.pi * EARTH_RADIUS / 180


def field_of(
    ocean: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, period: float | None = None
) -> OceanField:
    target = xr.DataArray(
        np.where(ocean, 1.0, np.nan)[None, None],
        {"time": [np.datetime64("2000-01-01", "ns")], "depth": [0.0], "latitude": latitude, "longitude": longitude},
        ("time", "depth", "latitude", "longitude"),
        "temperature",
    )  # fmt: skip
    return OceanField(target, periodic_longitude=period)


def test_on_the_equator_a_degree_is_111_km_and_at_60_degrees_half_of_it() -> None:
    for latitude, kilometres in ((0.0, DEGREE), (60.0, DEGREE / 2)):
        ocean = np.array([[False, True, True, True]])
        distance = coast_distance(field_of(ocean, np.array([latitude]), np.arange(4.0)))
        # The great circle is a little shorter than the parallel.
        np.testing.assert_allclose(distance[0], kilometres * np.arange(4), rtol=1e-3)


def test_land_beyond_the_seam_is_near() -> None:
    globe = np.ones((1, 36), bool)
    globe[0, 0] = False
    distance = coast_distance(field_of(globe, np.array([0.0]), np.arange(0.0, 360, 10)))
    assert distance[0, 35] == pytest.approx(10 * DEGREE, rel=1e-5)
    channel = np.ones((1, 18), bool)
    channel[0, 0] = False
    distance = coast_distance(field_of(channel, np.array([0.0]), np.arange(18.0), period=18))
    assert distance[0, 17] == pytest.approx(DEGREE, rel=1e-5)
    assert distance[0, 9] == pytest.approx(9 * DEGREE, rel=1e-5)


def test_without_land_every_cell_is_far_from_it() -> None:
    distance = coast_distance(field_of(np.ones((2, 3), bool), np.arange(2.0), np.arange(3.0)))
    np.testing.assert_allclose(distance, np.pi * EARTH_RADIUS, rtol=1e-6)
