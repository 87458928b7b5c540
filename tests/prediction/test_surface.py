from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif import UserError
from depthdif.data.patches import Box
from depthdif.data.synthetic import synthetic_field
from depthdif.prediction.grid import Grid
from depthdif.prediction.surface import SurfaceFields

GLOBE = synthetic_field(times=1, depths=2, height=18, width=36)
GRID = Grid.of_region(GLOBE, Box((160, -150), (-40, 40)))
TIMES = np.array(["2016-01-01", "2016-01-06", "2016-01-11", "2016-01-16"], "datetime64[ns]")


def values(latitude: np.ndarray, longitude: np.ndarray, times: np.ndarray = TIMES) -> np.ndarray:
    """A field that is linear in latitude and number of the time, and smooth in longitude."""
    number = np.arange(len(times))[:, None, None]
    return (10 * number + latitude[:, None] / 10 + np.cos(np.deg2rad(longitude))).astype(np.float32)


def state(**changes: Any) -> dict[str, Any]:
    return {"surface": ["zos-1", "zos", "zos+1"], "surface_units": ["m"] * 3, "time_step": 5.0, **changes}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def written(
        latitude: np.ndarray = GLOBE.latitude,
        longitude: np.ndarray = GLOBE.longitude,
        units: str = "m",
        name: str = "zos",
        times: np.ndarray = TIMES,
    ) -> str:
        data = xr.Dataset(
            {name: (("time", "latitude", "longitude"), values(latitude, longitude, times), {"units": units})},
            {
                "time": times,
                "latitude": ("latitude", latitude, {"standard_name": "latitude"}),
                "longitude": ("longitude", longitude, {"standard_name": "longitude"}),
            },
        )
        data.to_netcdf(tmp_path / "surface.nc")
        return str(tmp_path / "surface.nc")

    return written


def fields(path: str | None, regrid: bool = False, say: Any = print, **changes: Any) -> SurfaceFields:
    return SurfaceFields(path, changes.pop("variables", {}), state(**changes), GRID, regrid, say)


EXPECTED = values(GRID.latitude, GRID.longitude)


def test_channels_come_from_the_snapshots_at_their_offsets_on_the_cells_of_the_region(
    write: Callable[..., str],
) -> None:
    layers = fields(write())(np.datetime64("2016-01-06"))
    np.testing.assert_allclose(layers, EXPECTED[[0, 1, 2]], rtol=1e-5)


def test_offsets_count_time_steps_of_the_training_also_in_daily_files(write: Callable[..., str]) -> None:
    daily = np.arange("2016-01-01", "2016-01-20", dtype="datetime64[D]").astype("datetime64[ns]")
    layers = fields(write(times=daily))(np.datetime64("2016-01-08"))
    np.testing.assert_allclose(layers, values(GRID.latitude, GRID.longitude, daily)[[2, 7, 12]], rtol=1e-5)


def test_offsets_beyond_the_files_are_missing_as_in_training(write: Callable[..., str]) -> None:
    layers = fields(write())(np.datetime64("2016-01-16"))
    np.testing.assert_allclose(layers[:2], EXPECTED[[2, 3]], rtol=1e-5)
    assert np.isnan(layers[2]).all()


def test_a_time_that_the_files_do_not_cover_is_refused(write: Callable[..., str]) -> None:
    surface = fields(write())
    surface.check_times(TIMES)
    with pytest.raises(
        UserError, match="zos does not cover 2016-03-01: its files run from 2016-01-01 to 2016-01-16"
    ):
        surface.check_times(np.array(["2016-03-01"], "datetime64[D]"))


def test_another_order_of_the_grid_is_no_other_grid(write: Callable[..., str]) -> None:
    east = np.sort(GLOBE.longitude % 360)
    layers = fields(write(GLOBE.latitude[::-1], east))(np.datetime64("2016-01-06"))
    np.testing.assert_allclose(layers, EXPECTED[[0, 1, 2]], rtol=1e-5)


def test_another_grid_is_refused_or_interpolated_and_said(write: Callable[..., str]) -> None:
    path = write(np.arange(-85.0, 86, 5), np.arange(-180.0, 180, 2.5))
    with pytest.raises(UserError, match=r"lies on another grid .* set regrid=true"):
        fields(path)
    said: list[str] = []
    layers = fields(path, regrid=True, say=said.append)(np.datetime64("2016-01-06"))
    np.testing.assert_allclose(layers, EXPECTED[[0, 1, 2]], atol=2e-3)
    assert "interpolated linearly" in said[0]


def test_other_units_are_refused(write: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="zos is in cm, but the checkpoint was trained on zos in m"):
        fields(write(units="cm"))


def test_a_variable_of_another_name_is_found_by_surface_variables(write: Callable[..., str]) -> None:
    path = write(name="adt")
    with pytest.raises(UserError, match=r"surface_variables.zos"):
        fields(path)
    layers = fields(path, variables={"zos": "adt"})(np.datetime64("2016-01-06"))
    np.testing.assert_allclose(layers[1], EXPECTED[1], rtol=1e-5)
    with pytest.raises(UserError, match=r"surface_variables has sst; expected keys among .* zos"):
        fields(path, variables={"sst": "adt"})


def test_without_files_the_user_must_say_so() -> None:
    with pytest.raises(UserError, match="trained with the surface fields zos; set surface=FILES"):
        fields(None)
    assert np.isnan(fields("none")(np.datetime64("2016-01-06"))).all()
    assert fields(None, surface=[], surface_units=[])(np.datetime64("2016-01-06")).shape == (
        0,
        *GRID.shape[1:],
    )


def test_a_checkpoint_that_does_not_say_how_long_its_offsets_are_is_refused(
    write: Callable[..., str],
) -> None:
    known = {name: value for name, value in state().items() if name != "time_step"}
    with pytest.raises(UserError, match="did not record its time step"):
        SurfaceFields(write(), {}, known, GRID, False, print)
