"""Small ocean data in which every cell holds its own number, so that a test knows where a value came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif.data.field import OceanField


def numbered(times: int, depths: int, height: int, width: int) -> xr.Dataset:
    """CF data set: `temperature` numbers all cells, `sst` numbers those of (time, latitude, longitude)."""
    shape = (times, depths, height, width)
    temperature = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    sst = np.arange(times * height * width, dtype=np.float32).reshape(times, height, width)
    step = 360 / width
    cf: dict[str, Any] = {"standard_name": "sea_water_temperature", "units": "degree_Celsius"}
    return xr.Dataset(
        {
            "temperature": (("time", "depth", "latitude", "longitude"), temperature, cf),
            "sst": (("time", "latitude", "longitude"), sst, {"standard_name": "sea_surface_temperature"}),
        },
        {
            "time": (
                "time",
                np.datetime64("2000-01-01", "ns") + np.arange(times) * np.timedelta64(30, "D"),
                {"standard_name": "time", "axis": "T"},
            ),
            "depth": (
                "depth",
                10.0 * np.arange(depths),
                {"standard_name": "depth", "units": "m", "positive": "down", "axis": "Z"},
            ),
            "latitude": (
                "latitude",
                -80 + 160 * (np.arange(height) + 0.5) / height,
                {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
            ),
            "longitude": (
                "longitude",
                -180 + step * (np.arange(width) + 0.5),
                {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
            ),
        },
    )


@pytest.fixture
def make_dataset() -> Callable[..., xr.Dataset]:
    """Makes a global CF data set of some size."""

    def made(times: int = 3, depths: int = 4, height: int = 6, width: int = 12) -> xr.Dataset:
        return numbered(times, depths, height, width)

    return made


@pytest.fixture
def make_field(make_dataset: Callable[..., xr.Dataset]) -> Callable[..., OceanField]:
    """Makes an in-memory field of some size."""

    def made(**sizes: int) -> OceanField:
        dataset = make_dataset(**sizes)
        return OceanField(dataset["temperature"], (dataset["sst"],))

    return made
