"""A climatology is what least squares make of the training times."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif import DAYS_PER_YEAR, UserError
from depthdif.first_guess.climatology import Climatology
from depthdif.first_guess.climatology_fit import ClimatologyFit, smoothed


@dataclasses.dataclass
class Region:
    """The times and cells to measure."""

    times: np.ndarray
    cells: np.ndarray


def ocean(
    field: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    days: int = 730,
    height: int = 4,
    width: int = 6,
    step: float = 1.0,
) -> xr.DataArray:
    """field(day of the year, latitude, longitude) at two depths, the second twice the first, every 5 days."""
    time = np.datetime64("2001-01-01", "ns") + np.arange(0, days, 5) * np.timedelta64(1, "D")
    latitude, longitude = (10 + step * np.arange(size) for size in (height, width))
    array = xr.DataArray(
        np.empty((len(time), 2, height, width)),
        dims=("time", "depth", "latitude", "longitude"),
        coords={"time": time, "depth": [0.0, 10.0], "latitude": latitude, "longitude": longitude},
        name="temperature",
    )
    day = array["time"].dt.dayofyear.values[:, None, None].astype(float)
    values = np.broadcast_to(field(day, latitude[:, None], longitude), (len(time), height, width))
    array.values[:] = np.stack([values, 2 * values], axis=1)
    return array


def everywhere(array: xr.DataArray) -> Region:
    return Region(np.ones(array.sizes["time"], bool), np.ones(array.shape[-2:], bool))


def measured(
    array: xr.DataArray, wraps: bool = False, region: Region | None = None, **options: Any
) -> Climatology:
    return ClimatologyFit(**{"smoothing": 0, **options})([array], region or everywhere(array), wraps)  # type: ignore[arg-type]


def at_cells(climatology: Climatology, array: xr.DataArray, day: float) -> np.ndarray:
    return climatology(array["latitude"].values, array["longitude"].values, day)


def seasonal(day: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    angle = 2 * math.pi * day / DAYS_PER_YEAR
    return (
        15
        - latitude / 3
        + (2 + longitude / 9) * np.cos(angle)
        + np.sin(angle)
        - 0.5 * np.sin(2 * angle + latitude)
    )


def test_mean_and_harmonics_are_reproduced_to_rounding_wherever_and_whenever_values_are_missing() -> None:
    array = ocean(seasonal)
    expected = ocean(seasonal).isel(time=20)
    array.values[np.random.default_rng(0).random(array.shape) < 0.3] = np.nan
    climatology = measured(array)
    np.testing.assert_allclose(at_cells(climatology, array, 101.0), expected, rtol=1e-5)
    assert climatology.coefficients.dtype == np.float32


def test_a_constant_has_no_seasons_however_it_is_averaged_and_smoothed() -> None:
    array = ocean(lambda *_: np.array(7.0))
    array.values[:, :, 1, 2] = np.nan
    climatology = measured(array, resolution=2, smoothing=3)
    np.testing.assert_allclose(
        climatology.coefficients[0], np.array([7.0, 14.0])[:, None, None] + np.zeros((2, 3))
    )
    np.testing.assert_allclose(climatology.coefficients[1:], 0, atol=1e-6)
    np.testing.assert_allclose(at_cells(climatology, array, 200.0)[0], 7.0, rtol=1e-6)


def test_a_ramp_in_blocks_is_a_ramp_between_the_centres_of_the_blocks() -> None:
    array = ocean(lambda _, latitude, longitude: latitude + 2 * longitude, height=8, width=8)
    climatology = measured(array, resolution=2.9, harmonics=0)
    assert climatology.coefficients.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(climatology.latitude, [10.5, 12.5, 14.5, 16.5])
    inner = array.isel(latitude=slice(1, -1), longitude=slice(1, -1))
    np.testing.assert_allclose(at_cells(climatology, inner, 1.0), inner[0], rtol=1e-6)


def test_blocks_are_at_most_as_large_as_the_resolution() -> None:
    array = ocean(lambda *_: np.array(1.0), height=7, width=11, step=0.25)
    for resolution, shape in ((0.1, (7, 11)), (0.25, (7, 11)), (0.5, (4, 6)), (1.0, (2, 3)), (50.0, (1, 1))):
        assert measured(array, resolution=resolution, harmonics=0).coefficients.shape == (1, 2, *shape)


def test_a_cell_with_too_few_defined_times_is_undefined() -> None:
    array = ocean(seasonal)
    array.values[4:, :, 0, 0] = np.nan
    array.values[:, 1, 0, 1] = np.nan
    # Defined in winter alone: a seasonal cycle cannot be told from it.
    array.values[(array["time"].dt.month > 3).values, :, 0, 2] = np.nan
    undefined = np.argwhere(np.isnan(measured(array).coefficients[0])).tolist()
    assert undefined == [[0, 0, 0], [0, 0, 2], [1, 0, 0], [1, 0, 1], [1, 0, 2]]
    assert np.isnan(measured(array, harmonics=0).coefficients[0]).sum() == 1


def test_times_and_cells_outside_of_the_region_take_no_part() -> None:
    array = ocean(seasonal, days=1095)
    inside = everywhere(array)
    inside.times[-73:] = False
    inside.cells[:, 0] = False
    expected = measured(array.isel(time=slice(0, -73)))
    array.values[-73:] = 1e3
    array.values[..., 0] = 1e3
    climatology = measured(array, region=inside)
    assert np.isnan(climatology.coefficients[..., 0]).all()
    np.testing.assert_array_equal(climatology.coefficients[..., 1:], expected.coefficients[..., 1:])


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_the_times_has_no_effect(seed: int) -> None:
    generator = np.random.default_rng(seed)
    array = ocean(seasonal) + generator.normal(size=(146, 2, 4, 6))
    array.values[generator.random(array.shape) < 0.2] = np.nan
    years = [array.isel(time=slice(73)), array.isel(time=slice(73, None))]
    # The years exchange their places: the same days of the year with the same values.
    swapped = xr.concat(
        [years[1].assign_coords(time=years[0]["time"]), years[0].assign_coords(time=years[1]["time"])], "time"
    )
    assert (years[0]["time"].dt.dayofyear.values == years[1]["time"].dt.dayofyear.values).all()
    np.testing.assert_allclose(
        measured(swapped).coefficients, measured(array).coefficients, rtol=1e-5, atol=1e-5
    )


def test_bands_of_rows_give_what_the_whole_field_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    array = ocean(seasonal, height=7)
    for resolution in (None, 2.0):
        expected = measured(array, resolution=resolution).coefficients
        with monkeypatch.context() as small:
            small.setattr("depthdif.first_guess.climatology_fit._BAND_BYTES", 1)
            np.testing.assert_array_equal(measured(array, resolution=resolution).coefficients, expected)


def test_at_most_so_many_times_are_read_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    array = ocean(seasonal, days=1460)
    monkeypatch.setattr("depthdif.first_guess.climatology_fit._MOST_TIMES", 50)
    array.values[1] = np.nan  # not read
    np.testing.assert_allclose(at_cells(measured(array), array, 46.0), array[9], rtol=1e-5)


def test_the_year_is_that_of_the_calendar() -> None:
    array = ocean(lambda day, *_: np.cos(2 * math.pi * day / 360), days=720)
    days = cftime.num2date(np.arange(0, 720, 5), "days since 2001-01-01", "360_day")
    array = array.assign_coords(time=days)
    array.values[:] = np.cos(2 * math.pi * (np.arange(0, 720, 5) % 360 + 1) / 360)[:, None, None, None]
    climatology = measured(array)
    assert climatology.year == 360
    expected = np.zeros((5, 2, 4, 6))
    expected[1] = 1
    np.testing.assert_allclose(climatology.coefficients, expected, atol=1e-6)


def test_a_surface_variable_is_a_channel_after_those_of_the_target() -> None:
    array = ocean(seasonal)
    surface = array.isel(depth=1, drop=True)
    climatology = ClimatologyFit()([array, surface, surface], everywhere(array), False)  # type: ignore[arg-type]
    for channel in (2, 3):
        np.testing.assert_array_equal(climatology.coefficients[:, 1], climatology.coefficients[:, channel])


@pytest.mark.parametrize("wraps", [False, True])
def test_smoothing_acts_on_the_harmonics_alone_and_across_the_seam_where_the_field_wraps(wraps: bool) -> None:
    def wave(day: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        return longitude + np.where(longitude == 10, np.cos(2 * math.pi * day / DAYS_PER_YEAR), 0.0)

    array = ocean(wave, width=12)
    rough, smooth = (measured(array, wraps, smoothing=width) for width in (0, 1))
    np.testing.assert_array_equal(smooth.coefficients[0], rough.coefficients[0])
    cosine = smooth.coefficients[1, 0, 0]
    assert (cosine[-1] > 0.1) == wraps
    assert (cosine[1] == pytest.approx(cosine[-1])) == wraps
    assert 0 < cosine[1] < cosine[0] < 1
    assert smooth.period == (12 if wraps else 360)


def test_smoothing_keeps_constants_and_undefined_cells() -> None:
    field = np.full((5, 6), 3.0)
    field[2, 3] = np.nan
    np.testing.assert_allclose(smoothed(field, [1.0, 2.0], wraps=True), field)


@pytest.mark.parametrize(
    ("days", "every", "harmonics", "message"),
    [
        (
            300,
            1,
            2,
            r"with 60 training times that cover 300 days; expected a year of 365.25 days at least: set ",
        ),
        (5, 1, 2, r"with 1 training times that cover 0 days"),
        (730, 73, 2, r"training times on 1 days of the year; expected at least 5, spread over the year"),
        (730, 20, 6, r"training times on 8 days of the year; expected at least 13, spread over the year"),
    ],
)
def test_times_that_do_not_determine_the_harmonics_are_refused(
    days: int, every: int, harmonics: int, message: str
) -> None:
    array = ocean(seasonal, days=days).isel(time=slice(None, None, every))
    with pytest.raises(UserError, match=message) as error:
        measured(array, harmonics=harmonics)
    assert "set data.climatology.harmonics=0" in str(error.value)
    assert "\n" not in str(error.value)
    assert np.isfinite(measured(array, harmonics=0).coefficients).all()


def test_twelve_months_are_a_year() -> None:
    array = ocean(seasonal, days=365).isel(time=slice(3, None, 6))
    assert array.sizes["time"] == 12
    assert np.isfinite(measured(array).coefficients).all()


def test_a_climatology_larger_than_memory_says_which_resolution_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depthdif.first_guess.climatology_fit._MOST_BYTES", 1000)
    with pytest.raises(UserError, match=r"2 levels in 4 x 6 blocks .* set data\.climatology\.resolution=1$"):
        measured(ocean(seasonal))


@pytest.mark.parametrize(
    "options",
    [{"harmonics": -1}, {"harmonics": 1.5}, {"resolution": 0}, {"smoothing": -1}, {"smoothing": math.nan}],
)
def test_a_setting_out_of_range_is_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=rf"data\.climatology\.{name}="):
        ClimatologyFit(**options)
