from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from depthdif import UserError
from depthdif.data.field import open_field
from depthdif.data.files import join_in_time, open_files

MakeDataset = Callable[..., xr.Dataset]
FOUR = ("time", "depth", "latitude", "longitude")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a data set to a NetCDF file and returns its path."""

    def written(dataset: xr.Dataset, name: str = "ocean.nc") -> str:
        dataset.to_netcdf(tmp_path / name)
        return str(tmp_path / name)

    return written


def test_netcdf_file_is_read_back_cell_by_cell(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset()
    field = open_field(write(dataset), surface=["sst"])
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)
    np.testing.assert_array_equal(field.surface[0].values, dataset["sst"].values)
    assert field.variable == "temperature"
    assert field.units == "degree_Celsius"


def test_opening_reads_no_values(
    make_dataset: MakeDataset, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(make_dataset().isel(latitude=slice(None, None, -1)))

    def refuse(*_: object) -> None:
        raise AssertionError("values were read while opening")

    monkeypatch.setattr("depthdif.data.files._JoinedArray._read_step", refuse)
    field = open_field(path, surface=["sst"], max_depth=15)
    with pytest.raises(AssertionError, match="values were read"):
        field.target.values  # noqa: B018


def test_glob_joins_files_along_time(
    make_dataset: MakeDataset, write: Callable[..., str], tmp_path: Path
) -> None:
    dataset = make_dataset(times=5)
    # Named so that the order of names is not the order of times.
    write(dataset.isel(time=slice(3, 5)), "a.nc")
    write(dataset.isel(time=slice(0, 3)), "b.nc")
    field = open_field(f"{tmp_path}/*.nc", surface=["sst"])
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)
    np.testing.assert_array_equal(field.surface[0].values, dataset["sst"].values)
    np.testing.assert_array_equal(field.times, dataset["time"].values)
    picked = field.target[[4, 0, 3], 1:3, [0, 2], ::-1]
    np.testing.assert_array_equal(
        picked.values, dataset["temperature"].values[[4, 0, 3], 1:3][:, :, [0, 2], ::-1]
    )


def test_list_joins_files_that_hold_different_variables(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset()
    paths = [write(dataset[["temperature"]], "t.nc"), write(dataset[["sst"]], "s.nc")]
    field = open_field(paths, surface="sst")
    np.testing.assert_array_equal(field.surface[0].values, dataset["sst"].values)


@pytest.mark.filterwarnings("ignore:.*consolidated.*")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_store_is_read_back(make_dataset: MakeDataset, tmp_path: Path, zarr_format: int) -> None:
    dataset = make_dataset()
    chunks = {"time": 1, "latitude": 3}
    encoding = {
        name: {"chunks": [chunks.get(str(axis), size) for axis, size in array.sizes.items()]}
        for name, array in dataset.data_vars.items()
    }
    dataset.to_zarr(
        tmp_path / "ocean.zarr", zarr_format=zarr_format, consolidated=zarr_format == 2, encoding=encoding
    )
    field = open_field(tmp_path / "ocean.zarr", surface=["sst"])
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)
    assert field.target.encoding["preferred_chunks"]["latitude"] == 3


def test_url_of_a_zarr_store_is_opened(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    dataset.to_zarr(tmp_path / "ocean.zarr", zarr_format=2)
    field = open_field(f"file://{tmp_path}/ocean.zarr")
    np.testing.assert_array_equal(field.target.values, dataset["temperature"].values)


def test_packed_and_missing_values_become_float32_and_nan(
    make_dataset: MakeDataset, write: Callable[..., str], tmp_path: Path
) -> None:
    dataset = make_dataset()
    dataset["temperature"][:, 2:, 1] = np.nan
    packing = {"dtype": "int32", "scale_factor": 0.5, "_FillValue": -1}
    dataset.to_netcdf(tmp_path / "packed.nc", encoding={"temperature": packing})
    read = open_field(tmp_path / "packed.nc").target
    assert read.dtype == np.float32
    assert read[0].values.dtype == read[[0, 1]].values.dtype == np.float32
    np.testing.assert_array_equal(read.values, dataset["temperature"].values)


def test_other_names_and_order_of_dimensions_are_identified_by_cf_attributes(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset()
    renamed = dataset.rename(time="t", depth="lev", latitude="y", longitude="x").transpose(
        "x", "y", "lev", "t"
    )
    target = open_field(write(renamed)).target
    assert target.dims == FOUR
    np.testing.assert_array_equal(target.values, dataset["temperature"].values)
    np.testing.assert_array_equal(target[1, :, 2:4, 5].values, dataset["temperature"].values[1, :, 2:4, 5])


def test_usual_names_serve_where_attributes_are_missing(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset().rename(latitude="lat", longitude="lon")
    for name in ("time", "depth", "lat", "lon"):
        dataset[name].attrs.clear()
    np.testing.assert_array_equal(open_field(write(dataset)).depths, [0, 10, 20, 30])


def test_auxiliary_coordinates_of_nameless_dimensions_are_identified(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset().rename_dims(latitude="j", longitude="i").reset_index(["latitude", "longitude"])
    field = open_field(write(dataset))
    np.testing.assert_allclose(field.longitude, dataset["longitude"].values)


def test_coordinates_are_selected_by_name(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset().rename(depth="k")
    dataset["k"].attrs.clear()
    path = write(dataset)
    with pytest.raises(UserError, match="no variable has a depth axis"):
        open_field(path)
    assert open_field(path, coordinates={"depth": "k"}).target.sizes["depth"] == 4


def test_file_of_one_time_without_time_dimension_is_read(
    make_dataset: MakeDataset, write: Callable[..., str], tmp_path: Path
) -> None:
    dataset = make_dataset(times=2)
    write(dataset.isel(time=0), "0.nc")
    write(dataset.isel(time=1), "1.nc")
    np.testing.assert_array_equal(open_field(f"{tmp_path}/?.nc").target.values, dataset["temperature"].values)


def test_height_below_zero_becomes_depth(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset()
    upward = dataset.assign_coords(
        depth=("depth", -dataset["depth"].values, {"units": "m", "positive": "up"})
    )
    np.testing.assert_array_equal(open_field(write(upward)).depths, [0, 10, 20, 30])


def test_target_is_chosen_by_standard_name(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    path = write(make_dataset())
    assert open_field(path, variable="sea_water_temperature").variable == "temperature"
    assert open_field(path, surface=["sea_surface_temperature"]).surface_names == ("sst",)


def test_noleap_calendar_is_read(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset(times=3)
    dataset["time"] = xr.date_range("2001-12-30", periods=3, calendar="noleap", use_cftime=True)
    field = open_field(write(dataset))
    np.testing.assert_array_equal(field.day_of_year, [364, 365, 1])
    np.testing.assert_array_equal(np.diff(field.days), [1, 1])


def test_preferred_chunks_follow_the_new_names(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset().rename(latitude="lat")
    chunks = {"temperature": {"chunksizes": (1, 2, 3, 4)}}
    dataset.to_netcdf(tmp_path / "chunked.nc", encoding=chunks)
    joined = join_in_time(open_files(tmp_path / "chunked.nc"), "temperature", FOUR, {})
    assert joined.encoding["preferred_chunks"] == {"time": 1, "depth": 2, "latitude": 3, "longitude": 4}


def one_line(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    return message


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        open_field(tmp_path / "none.nc")
    assert "none.nc: no such file" in one_line(error.value)


def test_glob_without_match_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        open_field(f"{tmp_path}/*.nc")
    assert "no file matches data.path=" in one_line(error.value)


def test_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("not an ocean")
    with pytest.raises(UserError, match="cannot be read") as error:
        open_field(tmp_path / "text.nc")
    one_line(error.value)


def test_folder_without_zarr_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a CF NetCDF file or a Zarr store") as error:
        open_field(tmp_path)
    one_line(error.value)


def test_missing_variable_lists_what_the_file_holds(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=r"data\.variable=thetao") as error:
        open_field(write(make_dataset()), variable="thetao")
    assert "temperature (time, depth, latitude, longitude), sst (time, latitude, longitude)" in one_line(
        error.value
    )


def test_missing_surface_variable_names_its_option(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=r"data\.surface=zos, but no variable has that name") as error:
        open_field(write(make_dataset()), surface=["zos"])
    one_line(error.value)


def test_several_candidates_require_a_name(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset()
    dataset["salinity"] = dataset["temperature"] + 1
    with pytest.raises(
        UserError, match=r"data\.variable is not set and several variables have a depth axis"
    ) as error:
        open_field(write(dataset))
    assert "set data.variable to one of these" in one_line(error.value)


def test_curvilinear_coordinates_are_refused(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset()
    lon, lat = np.meshgrid(dataset["longitude"].values, dataset["latitude"].values)
    curved = dataset.drop_vars(["latitude", "longitude"]).rename_dims(latitude="j", longitude="i")
    curved = curved.assign_coords(
        nav_lat=(("j", "i"), lat, {"units": "degrees_north"}),
        nav_lon=(("j", "i"), lon, {"units": "degrees_east"}),
    )
    with pytest.raises(
        UserError, match=r"'nav_lat' of 'temperature' .* two-dimensional \(a curvilinear"
    ) as error:
        open_field(write(curved))
    assert "regrid first" in one_line(error.value)


def test_missing_depth_is_reported(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    path = write(make_dataset())
    with pytest.raises(UserError, match=r"'sst' .* has no depth coordinate") as error:
        open_field(path, variable="sst")
    assert "+data.coordinates.depth=NAME" in one_line(error.value)


def test_single_level_is_no_depth_axis(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    with pytest.raises(UserError, match=r"'temperature' .* has no depth coordinate"):
        open_field(write(make_dataset().isel(depth=0)), variable="temperature")


def test_surface_variable_with_many_levels_is_refused(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match="also runs along depth") as error:
        open_field(write(make_dataset()), surface=["temperature"])
    one_line(error.value)


def test_surface_variable_with_one_level_is_taken(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset()
    dataset["zos"] = dataset["sst"].expand_dims(level=1, axis=1)
    np.testing.assert_array_equal(
        open_field(write(dataset), "temperature", ["zos"]).surface[0].values, dataset["sst"].values
    )


def test_depth_in_pressure_is_refused(make_dataset: MakeDataset, write: Callable[..., str]) -> None:
    dataset = make_dataset()
    dataset["depth"].attrs["units"] = "dbar"
    with pytest.raises(UserError, match="units 'dbar'; expected metres") as error:
        open_field(write(dataset))
    one_line(error.value)


def test_several_coordinates_for_one_role_require_a_name(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    dataset = make_dataset().rename_dims(depth="k").reset_index("depth")
    dataset = dataset.assign_coords(w_depth=("k", dataset["depth"].values + 5, dataset["depth"].attrs))
    path = write(dataset)
    with pytest.raises(UserError, match=r"several depth coordinates \(depth, w_depth\)") as error:
        open_field(path, "temperature")
    one_line(error.value)
    np.testing.assert_array_equal(
        open_field(path, "temperature", coordinates={"depth": "w_depth"}).depths, [5, 15, 25, 35]
    )


def test_unknown_coordinate_name_and_key_are_refused(
    make_dataset: MakeDataset, write: Callable[..., str]
) -> None:
    path = write(make_dataset())
    with pytest.raises(UserError, match=r"data\.coordinates\.depth=lev, but") as error:
        open_field(path, "temperature", coordinates={"depth": "lev"})
    one_line(error.value)
    with pytest.raises(UserError, match="expected keys among") as error:
        open_field(path, "temperature", coordinates={"level": "depth"})
    one_line(error.value)


def test_files_on_different_grids_are_refused(
    make_dataset: MakeDataset, write: Callable[..., str], tmp_path: Path
) -> None:
    dataset = make_dataset()
    write(dataset.isel(time=[0]), "a.nc")
    write(dataset.isel(time=[1], latitude=slice(1, None)), "b.nc")
    with pytest.raises(UserError, match="differ in latitude") as error:
        open_field(f"{tmp_path}/*.nc")
    one_line(error.value)


def test_files_that_overlap_in_time_are_refused(
    make_dataset: MakeDataset, write: Callable[..., str], tmp_path: Path
) -> None:
    dataset = make_dataset()
    write(dataset.isel(time=[0, 1]), "a.nc")
    write(dataset.isel(time=[1, 2]), "b.nc")
    with pytest.raises(UserError, match="time of 'temperature' holds a value twice") as error:
        open_field(f"{tmp_path}/*.nc")
    one_line(error.value)


def write_times(path: Path, dataset: xr.Dataset, values: list[float], **attrs: str) -> str:
    """A file whose time axis holds these numbers and attributes, as another program may write them."""
    dataset.isel(time=slice(0, len(values))).assign_coords(time=("time", values, attrs)).to_netcdf(path)
    return str(path)


def test_time_without_units_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    path = write_times(tmp_path / "ocean.nc", make_dataset(), [0, 1, 2])
    with pytest.raises(UserError, match=r"ocean\.nc is .* not dates; expected CF units") as error:
        open_field(path, "temperature")
    one_line(error.value)


@pytest.mark.parametrize(
    ("values", "units", "calendar"),
    [
        ([0, 1, 2], "months since 2000-01-01", "standard"),
        ([0, 1, 2], "days since 2000-02-30", "standard"),
        ([0, 1, 2], "days since 2000-01-01", "martian"),
        ([0, 1e30, 2], "days since 2000-01-01", "standard"),
    ],
)
def test_times_off_the_calendar_are_refused_with_their_file(
    make_dataset: MakeDataset, tmp_path: Path, values: list[float], units: str, calendar: str
) -> None:
    path = write_times(tmp_path / "ocean.nc", make_dataset(), values, units=units, calendar=calendar)
    with pytest.raises(UserError, match=r"ocean\.nc has times that cannot be decoded") as error:
        open_field(path)
    assert "write the times anew, e.g. cdo settaxis" in one_line(error.value)
    assert "decode_times=False" not in str(error.value)


def test_months_and_30_february_are_read_in_a_calendar_of_360_days(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    for units, values in (("months since 2000-01-30", [0, 1, 2]), ("days since 2000-01-30", [0, 30, 60])):
        path = write_times(tmp_path / "ocean.nc", make_dataset(), values, units=units, calendar="360_day")
        np.testing.assert_array_equal(open_field(path).day_of_year, [30, 60, 90])


def test_missing_time_is_refused_with_its_file(make_dataset: MakeDataset, tmp_path: Path) -> None:
    path = write_times(tmp_path / "ocean.nc", make_dataset(), [0, np.nan, 2], units="days since 2000-01-01")
    with pytest.raises(
        UserError, match=r"ocean\.nc is missing \(NaT\) in 1 of 3 records.* number 1;"
    ) as error:
        open_field(path)
    one_line(error.value)


def test_files_of_different_calendars_are_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    cf = {"units": "days since 2000-01-01"}
    paths = [
        write_times(tmp_path / f"{calendar}.nc", make_dataset(), [0, 1], calendar=calendar, **cf)
        for calendar in ("standard", "noleap", "360_day")
    ]
    for pair in (paths[:2], paths[1:]):
        with pytest.raises(UserError, match=r"differ in the calendar: .* noleap") as error:
            open_field(pair)
        one_line(error.value)
