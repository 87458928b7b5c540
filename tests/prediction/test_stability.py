"""Density inversions of an output of temperature and salinity."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from depthdif.data.variables import Variable
from depthdif.prediction.stability import inversion_lines

SALINITY = Variable("s", "1", "sea_water_practical_salinity")


def dataset(offset: float) -> xr.Dataset:
    """Two columns at two times; the second is warm below cold water at the second time alone."""
    temperature = np.array([20.0, 15.0]) + np.zeros((2, 1, 2, 2))
    temperature = np.moveaxis(temperature, -1, 1)
    temperature[1, :, 0, 1] = [15, 20]
    dimensions = ("time", "depth", "latitude", "longitude")
    axes = {"depth": [0.0, 100.0], "latitude": [10.0], "longitude": [60.0, 61.0]}
    return xr.Dataset(
        {
            "t": (dimensions, temperature + offset),
            "s": (dimensions, np.full(temperature.shape, 35.0)),
            "t_first_guess": (dimensions, np.sort(temperature, axis=1)[:, ::-1] + offset),
            "s_first_guess": (dimensions, np.full(temperature.shape, 35.0)),
        },
        axes,
    )


@pytest.mark.parametrize(("units", "offset"), [("degC", 0.0), ("K", 273.15)])
def test_the_share_counts_pairs_of_levels_of_all_times(units: str, offset: float) -> None:
    variables = [Variable("t", units, "sea_water_temperature"), SALINITY]
    (line,) = inversion_lines(dataset(offset), variables, ["ema"])
    assert "EMA mean 25 %" in line
    assert "first guess 0 %" in line


def test_nothing_is_said_without_both_variables() -> None:
    assert not list(inversion_lines(dataset(0), [Variable("t", "degC", "sea_water_temperature")], ["ema"]))
