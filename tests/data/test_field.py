from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from depthdif import UserError
from depthdif.data.field import OceanField, open_field, sample_path

MakeDataset = Callable[..., xr.Dataset]


def opened(dataset: xr.Dataset) -> OceanField:
    return OceanField(dataset["temperature"], (dataset["sst"],))


def test_sample_is_the_world_ocean_atlas() -> None:
    field = open_field(sample_path(), surface=["sst"])
    assert (field.variable, field.units, field.surface_names) == ("temperature", "degree_Celsius", ("sst",))
    assert field.target.shape == (12, 19, 90, 180)
    assert (field.depths[0], field.depths[-1]) == (0, 1000)
    assert field.wraps
    np.testing.assert_array_equal(field.day_of_year[:3], [15, 46, 75])
    assert field.days[0] == (np.datetime64("2000-01-15") - np.datetime64("1970-01-01")).astype(int)
    # Warm tropical surface, cold deep ocean, land in the Sahara.
    at = field.target.isel(time=0).sel(latitude=0.5, longitude=-150.5, method="nearest")
    assert 24 < at[0] < 30
    assert 3 < at[-1] < 6
    assert not field.surface_ocean_mask[
        np.abs(field.latitude - 22.5).argmin(), np.abs(field.longitude - 10).argmin()
    ]


def test_sample_of_eddies_is_a_channel_that_repeats_itself_after_18_degrees() -> None:
    field = open_field(sample_path("eddies"), "temperature", ["zos", "sst"], periodic_longitude=18)
    assert field.target.shape == (439, 10, 40, 72)
    assert (str(field.times[0])[:10], str(field.times[-1])[:10]) == ("2001-01-01", "2006-12-31")
    assert (field.units, field.wraps, field.period) == ("degC", True, 18)
    # Warm in the south and at the surface, cold in the north and below.
    zonal = field.target.isel(time=0).mean("longitude").values
    assert 15 < zonal[0, 0] < 25
    assert zonal[0, 0] - zonal[0, -1] > 5
    assert zonal[0, 0] - zonal[-1, 0] > 5
    # Surface height is the smooth imprint of eddies in half a metre, the SST has clouds and an error of 0.3 deg C.
    zos, sst = (array.isel(time=0).values for array in field.surface)
    assert 0.1 < np.nanstd(zos) < 1
    assert 0 < np.isnan(sst[field.surface_ocean_mask]).mean() < 0.7
    assert 0.2 < np.nanstd(sst - field.target.isel(time=0, depth=0).values) < 0.4


def test_unknown_sample_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"data\.path\.name=glorys; expected .*name=woa or woa_annual or eddies"
    ):
        sample_path("glorys")


def test_descending_latitude_is_sorted(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    field = opened(dataset.isel(latitude=slice(None, None, -1)))
    np.testing.assert_array_equal(field.latitude, dataset["latitude"].values)
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)
    np.testing.assert_array_equal(field.surface[0].values, dataset["sst"].values)


def test_depth_from_the_bottom_up_is_sorted(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    field = opened(dataset.isel(depth=slice(None, None, -1)))
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)


def test_global_grid_wraps_and_regional_does_not(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    assert opened(dataset).wraps
    assert opened(dataset.assign_coords(longitude=dataset["longitude"] + 180)).wraps
    assert not opened(dataset.isel(longitude=slice(1, None))).wraps
    assert not opened(dataset.isel(longitude=[3])).wraps


def test_periodic_domain_wraps_after_its_period(make_dataset: MakeDataset) -> None:
    channel = make_dataset(width=12).isel(longitude=slice(0, 6))  # 6 cells of 30 degrees
    target, sst = channel["temperature"], channel["sst"]
    field = OceanField(target, (sst,), periodic_longitude=180)
    assert (field.wraps, field.period) == (True, 180)
    assert (field.load().wraps, field.load().period) == (True, 180)
    assert field.domain()["period"] == 180
    assert (OceanField(target).wraps, OceanField(target).period) == (False, 360)
    assert OceanField(make_dataset()["temperature"], periodic_longitude=360).wraps


@pytest.mark.parametrize(
    ("period", "message"),
    [
        (360, "covers 180 degrees .* a gap of 180 degrees east of -15; set data.periodic_longitude=180"),
        (195, "a gap of 15 degrees"),
        (150, "an overlap of 30 degrees"),
        (0, "above 0 and at most 360"),
        (361, "above 0 and at most 360"),
        ("wide", "above 0 and at most 360"),
        (float("nan"), "above 0 and at most 360"),
    ],
)
def test_period_that_the_columns_do_not_fill_is_refused(
    make_dataset: MakeDataset, period: float, message: str
) -> None:
    channel = make_dataset(width=12).isel(longitude=slice(0, 6))["temperature"]
    with pytest.raises(UserError, match=f"data.periodic_longitude={period}[,;].*{message}") as error:
        OceanField(channel, periodic_longitude=period)
    assert "\n" not in str(error.value)


def test_period_is_filled_to_within_half_a_cell(make_dataset: MakeDataset) -> None:
    channel = make_dataset(width=12).isel(longitude=slice(0, 6))["temperature"]
    for period in (166, 194):
        assert OceanField(channel, periodic_longitude=period).wraps


def test_periodic_domain_with_a_column_missing_inside_is_refused(make_dataset: MakeDataset) -> None:
    channel = make_dataset(width=12).isel(longitude=[0, 1, 2, 4, 5])["temperature"]
    with pytest.raises(UserError, match="a gap of 30 degrees east of -105; fill the missing columns"):
        OceanField(channel, periodic_longitude=180)


def test_longitude_that_jumps_at_the_date_line_is_unwrapped(make_dataset: MakeDataset) -> None:
    dataset = make_dataset().roll(longitude=4, roll_coords=True)
    field = opened(dataset)
    assert np.all(np.diff(field.longitude) > 0)
    assert field.wraps
    np.testing.assert_allclose((field.longitude + 180) % 360 - 180, dataset["longitude"].values)
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)


def test_max_depth_keeps_the_levels_above(make_dataset: MakeDataset, tmp_path: object) -> None:
    path = f"{tmp_path}/ocean.nc"
    make_dataset().to_netcdf(path)
    np.testing.assert_array_equal(open_field(path, max_depth=20).depths, [0, 10, 20])
    with pytest.raises(UserError, match=r"data\.max_depth=-1 is above the first level"):
        open_field(path, max_depth=-1)


def test_loaded_field_holds_the_same_values_in_memory(make_dataset: MakeDataset, tmp_path: object) -> None:
    path = f"{tmp_path}/ocean.nc"
    make_dataset().isel(latitude=slice(None, None, -1)).to_netcdf(path)
    lazy = open_field(path, surface=["sst"])
    loaded = lazy.load()
    assert isinstance(loaded.target.variable._data, np.ndarray)
    assert not isinstance(lazy.target.variable._data, np.ndarray)
    np.testing.assert_array_equal(loaded.target.values, lazy.target.values)
    np.testing.assert_array_equal(loaded.surface[0].values, lazy.surface[0].values)


def test_descending_longitude_is_refused(make_dataset: MakeDataset) -> None:
    with pytest.raises(UserError, match="longitude of 'temperature' descends") as error:
        opened(make_dataset().isel(longitude=slice(None, None, -1)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dimension", ["time", "depth", "latitude", "longitude"])
def test_duplicate_coordinates_are_refused(make_dataset: MakeDataset, dimension: str) -> None:
    dataset = make_dataset()
    values = dataset[dimension].values.copy()
    values[1] = values[0]
    with pytest.raises(UserError, match=f"{dimension} of 'temperature' holds a value twice") as error:
        opened(dataset.assign_coords({dimension: values}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dimension", ["time", "depth", "latitude"])
def test_unsorted_coordinates_are_refused(make_dataset: MakeDataset, dimension: str) -> None:
    with pytest.raises(UserError, match=f"{dimension} of 'temperature' is not sorted"):
        opened(make_dataset().isel({dimension: [0, 2, 1]}))


def test_repeated_meridian_is_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    both_ends = dataset.isel(longitude=[*range(12), 0])
    both_ends = both_ends.assign_coords(longitude=np.linspace(0, 360, 13))
    with pytest.raises(UserError, match="duplicate or unordered modulo 360"):
        opened(both_ends)


def test_projected_coordinates_are_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    with pytest.raises(UserError, match="latitude of 'temperature' is beyond -90 to 90"):
        opened(dataset.assign_coords(latitude=dataset["latitude"].values * 1000))


def test_missing_coordinate_value_is_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    values = dataset["latitude"].values.copy()
    values[3] = np.nan
    with pytest.raises(UserError, match="latitude of 'temperature' is not sorted"):
        opened(dataset.assign_coords(latitude=values))


def test_surface_on_another_grid_is_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    shifted = dataset["sst"].assign_coords(longitude=dataset["longitude"] + 0.5)
    with pytest.raises(UserError, match="'sst' lies on another grid than 'temperature': longitude") as error:
        OceanField(dataset["temperature"], (shifted,))
    assert "\n" not in str(error.value)


def test_misaligned_times_raise_instead_of_interpolating(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    later = dataset["sst"].assign_coords(time=dataset["time"] + np.timedelta64(1, "D"))
    with pytest.raises(UserError, match="times of surface variable 'sst'") as error:
        OceanField(dataset["temperature"], (later,))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="times of surface variable 'sst'"):
        OceanField(dataset["temperature"], (dataset["sst"].isel(time=[0]),))


def test_times_that_are_missing_or_no_dates_are_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    times = dataset["time"].values.copy()
    times[2] = np.datetime64("NaT")
    with pytest.raises(
        UserError, match=r"time of 'temperature' .* missing \(NaT\) in 1 of 3 records"
    ) as error:
        opened(dataset.assign_coords(time=times))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="not dates; expected CF units"):
        opened(dataset.assign_coords(time=[0.0, 1.0, 2.0]))
