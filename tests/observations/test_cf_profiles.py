import dataclasses

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.observations import cf_profiles, ragged
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals

TEMPERATURE = "sea_water_temperature"
SALINITY = "sea_water_practical_salinity"
FILL = -999.0


@dataclasses.dataclass
class Profile:
    day: float
    latitude: float
    longitude: float
    platform: str
    depth: list
    value: list
    flag: list


PROFILES = [
    Profile(24106.25, -12.5, 60.0, "1901234", [5, 10, 20], [28.5, 28.25, 27.0], [1, 1, 1]),
    Profile(24107.5, -12.75, 60.5, "1901234", [5, 10, 20], [28.0, 27.75, 26.5], [1, 2, 4]),
    Profile(24108.0, 3.0, 179.5, "2900001", [5, 10, 20], [29.0, FILL, 28.5], [1, 9, 3]),
]


def describe(file, profile_dimensions, sample_dimensions, depth_dimensions):
    """The variables of a file without their values, as CF wants them."""
    time = file.createVariable("time", "f8", profile_dimensions)
    time.setncatts({"standard_name": "time", "units": "days since 1950-01-01"})
    latitude = file.createVariable("lat", "f4", profile_dimensions)
    latitude.setncatts({"standard_name": "latitude", "units": "degrees_north"})
    longitude = file.createVariable("lon", "f4", profile_dimensions)
    longitude.setncatts({"standard_name": "longitude", "units": "degrees_east"})
    depth = file.createVariable("z", "f4", depth_dimensions, fill_value=FILL)
    depth.setncatts({"standard_name": "depth", "units": "m", "positive": "down", "axis": "Z"})
    value = file.createVariable("temp", "f4", sample_dimensions, fill_value=FILL)
    value.setncatts(
        {"standard_name": TEMPERATURE, "units": "degree_Celsius", "coordinates": "time lat lon z"}
    )
    value.ancillary_variables = "temp_qc"
    flag = file.createVariable("temp_qc", "i1", sample_dimensions, fill_value=-127)
    flag.setncatts(
        {"standard_name": "sea_water_temperature status_flag", "flag_values": np.array([1, 2, 3, 4, 9], "i1")}
    )
    flag.flag_meanings = "good_data probably_good_data probably_bad_data bad_data missing_value"
    platform = file.createVariable("platform", "S1", (*profile_dimensions, "letters"))
    return {
        "time": time,
        "lat": latitude,
        "lon": longitude,
        "z": depth,
        "temp": value,
        "temp_qc": flag,
        "platform": platform,
    }


def start(path, profiles, feature="profile"):
    file = netCDF4.Dataset(path, "w")
    file.featureType = feature
    file.Conventions = "CF-1.11"
    file.createDimension("letters", 16)
    file.createDimension("profile", len(profiles))
    return file


def of_profiles(variables, profiles):
    variables["time"][:] = [profile.day for profile in profiles]
    variables["lat"][:] = [profile.latitude for profile in profiles]
    variables["lon"][:] = [profile.longitude for profile in profiles]
    names = np.array([profile.platform for profile in profiles], "S16")
    variables["platform"][:] = netCDF4.stringtochar(names)


def rows(profiles, name, width, fill):
    padded = np.full((len(profiles), width), fill)
    for row, profile in zip(padded, profiles, strict=True):
        row[: len(getattr(profile, name))] = getattr(profile, name)
    return padded


def write_orthogonal(path, profiles):
    with start(path, profiles) as file:
        file.createDimension("level", len(profiles[0].depth))
        variables = describe(file, ("profile",), ("profile", "level"), ("level",))
        of_profiles(variables, profiles)
        variables["z"][:] = profiles[0].depth
        variables["temp"][:] = [profile.value for profile in profiles]
        variables["temp_qc"][:] = [profile.flag for profile in profiles]


def write_incomplete(path, profiles):
    width = max(len(profile.depth) for profile in profiles)
    with start(path, profiles) as file:
        file.createDimension("level", width)
        variables = describe(file, ("profile",), ("profile", "level"), ("profile", "level"))
        of_profiles(variables, profiles)
        variables["z"][:] = rows(profiles, "depth", width, FILL)
        variables["temp"][:] = rows(profiles, "value", width, FILL)
        variables["temp_qc"][:] = rows(profiles, "flag", width, -127)


def samples(profiles, name):
    return np.concatenate([getattr(profile, name) for profile in profiles])


def write_contiguous(path, profiles):
    with start(path, profiles) as file:
        file.createDimension("obs", sum(len(profile.depth) for profile in profiles))
        variables = describe(file, ("profile",), ("obs",), ("obs",))
        of_profiles(variables, profiles)
        size = file.createVariable("row_size", "i4", ("profile",))
        size.sample_dimension = "obs"
        size[:] = [len(profile.depth) for profile in profiles]
        for name, key in (("z", "depth"), ("temp", "value"), ("temp_qc", "flag")):
            variables[name][:] = samples(profiles, key)


def write_indexed(path, profiles):
    """Samples in a random order of profiles."""
    lengths = [len(profile.depth) for profile in profiles]
    index = np.repeat(np.arange(len(profiles)), lengths)
    order = np.random.default_rng(0).permutation(len(index))
    with start(path, profiles) as file:
        file.createDimension("obs", len(index))
        variables = describe(file, ("profile",), ("obs",), ("obs",))
        of_profiles(variables, profiles)
        number = file.createVariable("profile_index", "i4", ("obs",))
        number.instance_dimension = "profile"
        number[:] = index[order]
        for name, key in (("z", "depth"), ("temp", "value"), ("temp_qc", "flag")):
            variables[name][:] = samples(profiles, key)[order]


LAYOUTS = {
    "orthogonal": write_orthogonal,
    "incomplete": write_incomplete,
    "contiguous": write_contiguous,
    "indexed": write_indexed,
}


def read(path, wanted=(TEMPERATURE,), quality=None, refusals=None):
    with xr.open_dataset(path, decode_cf=False, mask_and_scale=False) as dataset:
        assert cf_profiles.reads(dataset)
        return list(cf_profiles.read(dataset, list(wanted), quality or Quality(), refusals or Refusals()))


def table(parts: list[RawProfiles], name=TEMPERATURE):
    """Good samples by profile: (time, latitude, longitude, platform, [(depth, value)])."""
    return [
        (
            time,
            latitude,
            longitude,
            platform,
            sorted((d, v) for d, v in zip(depth, value, strict=True) if np.isfinite(d) and np.isfinite(v)),
        )
        for part in parts
        for time, latitude, longitude, platform, depth, value in zip(
            part.time,
            part.latitude,
            part.longitude,
            part.platform,
            part.vertical,
            part.values[name],
            strict=True,
        )
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_good_samples_of_each_profile(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "a.nc", PROFILES)
    refusals = Refusals()
    parts = read(tmp_path / "a.nc", refusals=refusals)
    assert not parts[0].is_pressure
    assert table(parts) == [
        (np.datetime64("2016-01-01T06:00"), -12.5, 60.0, "1901234", [(5, 28.5), (10, 28.25), (20, 27.0)]),
        (np.datetime64("2016-01-02T12:00"), -12.75, 60.5, "1901234", [(5, 28.0), (10, 27.75)]),
        (np.datetime64("2016-01-03T00:00"), 3.0, 179.5, "2900001", [(5, 29.0)]),
    ]


ragged_profiles = st.lists(
    st.builds(
        Profile,
        st.integers(20000, 25000).map(float),
        st.integers(-60, 60).map(float),
        st.integers(-180, 179).map(float),
        st.sampled_from(["a", "1901234", "platform-3"]),
        st.just([]),
        st.just([]),
        st.just([]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ragged_profiles, st.lists(st.integers(1, 8), min_size=6, max_size=6), st.sampled_from([1, 5, 10**6]))
def test_ragged_layouts_give_the_same_profiles_as_the_rectangle_in_blocks_of_any_size(
    tmp_path, profiles, lengths, block
):
    for number, (profile, length) in enumerate(zip(profiles, lengths, strict=False)):
        profile.depth = [float(d) for d in range(5, 5 + 10 * length, 10)]
        profile.value = [10.0 + number - 0.5 * sample for sample in range(length)]
        profile.flag = [1 + (number + sample) % 4 for sample in range(length)]
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged, "BLOCK", block)
        for layout in ("incomplete", "contiguous", "indexed"):
            LAYOUTS[layout](tmp_path / "a.nc", profiles)
            found[layout] = table(read(tmp_path / "a.nc"))
    assert len(found["incomplete"]) == len(profiles)
    assert found["contiguous"] == found["incomplete"]
    assert found["indexed"] == found["incomplete"]
    for (*_, values), profile in zip(found["incomplete"], profiles, strict=True):
        good = [
            (d, v) for d, v, f in zip(profile.depth, profile.value, profile.flag, strict=True) if f in (1, 2)
        ]
        assert values == good


def test_refused_samples_are_counted_by_reason(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["temp_qc"][0, 1] = -127
    refusals = Refusals()
    read(tmp_path / "a.nc", refusals=refusals)
    assert {reason: n for reason, n in refusals.sample_counts.items() if n} == {
        "no flag": 1,
        "flag of the value": 2,
    }
    assert not any(refusals.profile_counts.values())
    assert not refusals.notes


def test_only_the_flags_that_quality_names_are_good(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    values = [row[4] for row in table(read(tmp_path / "a.nc", quality=Quality(good=[1])))]
    assert values == [[(5, 28.5), (10, 28.25), (20, 27.0)], [(5, 28.0)], [(5, 29.0)]]


def test_values_without_any_flag_variable_are_taken_and_noted(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["temp"].delncattr("ancillary_variables")
    refusals = Refusals()
    parts = read(tmp_path / "a.nc", refusals=refusals)
    assert [len(row[4]) for row in table(parts)] == [3, 3, 2]
    assert refusals.notes == {"without quality flags": 8}


def test_profiles_without_time_or_position_or_with_bad_flags_of_them_are_refused_and_counted(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES + PROFILES[:1])
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["time"].missing_value = 1e9
        file["time"][0] = 1e9
        file["lat"].valid_max = np.float32(2.0)
        flag = file.createVariable("position_qc", "S1", ("profile",))
        flag.standard_name = "quality_flag"
        flag[:] = np.array([b"1", b"4", b"1", b"8"])
        file["lon"].ancillary_variables = "position_qc"
    refusals = Refusals()
    parts = read(tmp_path / "a.nc", refusals=refusals)
    assert [row[1:4] for row in table(parts)] == [(-12.5, 60.0, "1901234")]
    assert refusals.profile_counts == {"no time": 1, "no position": 1, "flag of time or position": 1}


@pytest.mark.parametrize(
    ("attributes", "stored", "is_pressure", "expected"),
    [
        ({"standard_name": "depth", "units": "m", "positive": "up"}, [-5, -10, -20], False, [5, 10, 20]),
        ({"standard_name": "altitude", "units": "m"}, [-5, -10, -20], False, [5, 10, 20]),
        (
            {"standard_name": "height", "units": "km", "positive": "up"},
            [-0.5, -1, -2],
            False,
            [500, 1000, 2000],
        ),
        ({"standard_name": "sea_water_pressure", "units": "dbar"}, [5, 10, 20], True, [5, 10, 20]),
        (
            {"standard_name": "sea_water_pressure", "units": "Pa", "positive": "down"},
            [5e4, 1e5, 2e5],
            True,
            [5, 10, 20],
        ),
    ],
)
def test_the_vertical_coordinate_is_depth_in_metres_or_pressure_in_dbar(
    tmp_path, attributes, stored, is_pressure, expected
):
    write_orthogonal(tmp_path / "a.nc", PROFILES[:1])
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["z"].delncattr("positive")
        file["z"].setncatts(attributes)
        file["z"][:] = stored
    (part,) = read(tmp_path / "a.nc")
    assert part.is_pressure == is_pressure
    np.testing.assert_allclose(part.vertical, [expected], rtol=1e-6)


def test_depth_is_taken_where_the_file_has_pressure_too(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        pressure = file.createVariable("pres", "f4", ("profile", "level"))
        pressure.setncatts({"standard_name": "sea_water_pressure", "units": "dbar"})
        pressure[:] = 7
    (part,) = read(tmp_path / "a.nc")
    assert not part.is_pressure
    np.testing.assert_array_equal(part.vertical[0], [5, 10, 20])


def test_packed_values_in_kelvin_are_unpacked_and_out_of_range_ones_are_missing(tmp_path):
    with start(tmp_path / "a.nc", PROFILES[:1]) as file:
        file.createDimension("level", 4)
        variables = describe(file, ("profile",), ("profile", "level"), ("level",))
        of_profiles(variables, PROFILES[:1])
        variables["z"][:] = [5, 10, 20, 30]
        packed = file.createVariable("packed", "i2", ("profile", "level"), fill_value=-1)
        packed.setncatts({"standard_name": SALINITY, "units": "1", "scale_factor": 0.01, "add_offset": 30.0})
        packed.valid_max = np.int16(1000)
        packed.set_auto_maskandscale(False)
        packed[:] = [[400, -1, 1001, 550]]
        variables["temp"].units = "K"
        variables["temp"][:] = [[300, 290, 280, 270]]
        variables["temp_qc"][:] = 1
    (part,) = read(tmp_path / "a.nc", wanted=(SALINITY, TEMPERATURE))
    np.testing.assert_allclose(part.values[SALINITY], [[34, np.nan, np.nan, 35.5]])
    np.testing.assert_allclose(part.values[TEMPERATURE], np.array([[300, 290, 280, 270]]) - 273.15)


def test_a_file_with_a_single_profile_and_scalar_position(tmp_path):
    with start(tmp_path / "a.nc", PROFILES[:1]) as file:
        file.createDimension("level", 3)
        variables = describe(file, (), ("level",), ("level",))
        variables["time"][:], variables["lat"][:], variables["lon"][:] = 24106.25, -12.5, 60.0
        variables["platform"][:] = netCDF4.stringtochar(np.array(["1901234"], "S16"))[0]
        for name, key in (("z", "depth"), ("temp", "value"), ("temp_qc", "flag")):
            variables[name][:] = getattr(PROFILES[0], key)
    write_orthogonal(tmp_path / "b.nc", PROFILES[:1])
    assert table(read(tmp_path / "a.nc")) == table(read(tmp_path / "b.nc"))


def test_trajectory_profiles_take_the_platform_of_their_trajectory(tmp_path):
    """Two trajectories of two profiles on (trajectory, profile, level), and one after another."""
    profiles = [*PROFILES[:2], PROFILES[2], dataclasses.replace(PROFILES[2], day=24109.0)]
    with start(tmp_path / "a.nc", profiles[:2], "trajectoryProfile") as file:
        file.createDimension("trajectory", 2)
        file.createDimension("level", 3)
        shape = ("trajectory", "profile")
        variables = describe(file, shape, (*shape, "level"), ("level",))
        file.renameVariable("platform", "unused")
        name = file.createVariable("trajectory", str, ("trajectory",))
        name.cf_role = "trajectory_id"
        name[0], name[1] = "1901234", "2900001"
        variables["time"][:] = np.array([profile.day for profile in profiles]).reshape(2, 2)
        variables["lat"][:] = np.array([profile.latitude for profile in profiles]).reshape(2, 2)
        variables["lon"][:] = np.array([profile.longitude for profile in profiles]).reshape(2, 2)
        variables["z"][:] = PROFILES[0].depth
        variables["temp"][:] = np.array([profile.value for profile in profiles]).reshape(2, 2, 3)
        variables["temp_qc"][:] = np.array([profile.flag for profile in profiles]).reshape(2, 2, 3)
    write_contiguous(tmp_path / "b.nc", profiles)
    with netCDF4.Dataset(tmp_path / "b.nc", "a") as file:
        file.featureType = "TrajectoryProfile"
        file.renameVariable("platform", "unused")
        file.createDimension("trajectory", 2)
        index = file.createVariable("trajectory_index", "i4", ("profile",))
        index.instance_dimension = "trajectory"
        index[:] = [1, 1, 0, 0]
        name = file.createVariable("trajectory", "i4", ("trajectory",))
        name.cf_role = "trajectory_id"
        name[:] = [2900001, 1901234]
    expected = [profile.platform for profile in profiles]
    for name in ("a.nc", "b.nc"):
        found = table(read(tmp_path / name))
        assert [row[3] for row in found] == expected
        assert [len(row[4]) for row in found] == [3, 2, 1, 1]


def test_stations_give_their_profiles_a_position_and_a_platform(tmp_path):
    """timeSeriesProfile: latitude and longitude on the station, time on the profile, depths for all."""
    with start(tmp_path / "a.nc", [], "timeSeriesProfile") as file:
        file.createDimension("station", 2)
        file.createDimension("time", 3)
        file.createDimension("level", 2)
        variables = describe(file, ("station",), ("station", "time", "level"), ("level",))
        file.renameVariable("time", "unused")
        file["unused"].delncattr("standard_name")
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"standard_name": "time", "units": "hours since 2016-01-01"})
        time[:] = [0, 6, 12]
        variables["lat"][:], variables["lon"][:] = [10, 20], [30, 40]
        variables["platform"][:] = netCDF4.stringtochar(np.array(["north", "south"], "S16"))
        variables["z"][:] = [5, 10]
        variables["temp"][:] = np.arange(12).reshape(2, 3, 2)
        variables["temp_qc"][:] = 1
    found = sorted(table(read(tmp_path / "a.nc")), key=lambda row: row[4])
    assert [(row[1], row[2], row[3]) for row in found] == [(10, 30, "north")] * 3 + [(20, 40, "south")] * 3
    assert [str(row[0])[11:13] for row in found] == ["00", "06", "12"] * 2
    assert [row[4] for row in found] == [[(5, 2 * n), (10, 2 * n + 1)] for n in range(6)]


def test_a_profile_of_unknown_platform_is_its_own_platform(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["platform"][1] = b"\0" * 16
    platforms = [row[3] for row in table(read(tmp_path / "a.nc"))]
    assert platforms == ["1901234", "2016-01-02T12:00 -12.750 60.500", "2900001"]


def test_salinity_is_practical_salinity_where_the_file_calls_it_sea_water_salinity(tmp_path):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["temp"].setncatts({"standard_name": "sea_water_salinity", "units": "psu"})
    (part,) = read(tmp_path / "a.nc", wanted=(TEMPERATURE, SALINITY))
    assert set(part.values) == {SALINITY}


@pytest.mark.parametrize("feature", ["trajectory", "point", "timeSeries", None])
def test_other_feature_types_are_not_read(tmp_path, feature):
    dataset = xr.Dataset(attrs={"featureType": feature} if feature else {})
    assert not cf_profiles.reads(dataset)
    assert cf_profiles.reads(xr.Dataset(attrs={"featuretype": "Profile"}))
    argo = xr.Dataset({"DATA_MODE": ("N_PROF", ["D"])}, attrs={"featureType": "trajectoryProfile"})
    assert not cf_profiles.reads(argo)


def rename(name, standard_name):
    return lambda file: file[name].setncattr("standard_name", standard_name)


def set_attribute(name, key, value):
    return lambda file: file[name].setncattr(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("temp", "sea_surface_temperature"), "no variable with standard_name sea_water_temperature"),
        (rename("time", "x"), "no time of the profiles"),
        (rename("z", "x"), "no vertical coordinate"),
        (rename("lat", TEMPERATURE), "lat and temp have the standard_name sea_water_temperature"),
        (set_attribute("z", "units", "dbar"), "depth has units 'dbar'; expected m"),
        (
            set_attribute("temp", "units", "1"),
            "sea_water_temperature has units '1'; expected degree_Celsius or K",
        ),
        (set_attribute("time", "calendar", "360_day"), "standard calendar"),
        (set_attribute("time", "units", "days"), "times"),
        (set_attribute("temp_qc", "flag_masks", np.array([1, 2, 4, 8, 16], "i1")), "are bits"),
        (set_attribute("temp_qc", "flag_meanings", "a b c d e"), "quality flags mean a, b, c, d, e"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_its_reason(tmp_path, change, message):
    write_incomplete(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        change(file)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.nc")


def test_samples_with_times_of_their_own_are_refused(tmp_path):
    with start(tmp_path / "a.nc", PROFILES[:1]) as file:
        file.createDimension("obs", 3)
        variables = describe(file, ("obs",), ("obs",), ("obs",))
        variables["time"][:] = [1, 2, 3]
    with pytest.raises(UserError, match="no time of the profiles"):
        read(tmp_path / "a.nc")


def test_lengths_that_do_not_fit_the_samples_are_refused(tmp_path):
    write_contiguous(tmp_path / "a.nc", PROFILES)
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["row_size"][0] = 10
    with pytest.raises(UserError, match="row_size adds up to 16 samples, but obs has 9"):
        read(tmp_path / "a.nc")


def test_a_glider_file_is_one_profile_at_the_time_and_place_of_its_profile(tmp_path):
    """Its samples have times and positions too."""
    with start(tmp_path / "a.nc", PROFILES[:1], "trajectoryProfile") as file:
        file.createDimension("obs", 3)
        variables = describe(file, ("obs",), ("obs",), ("obs",))
        file.renameVariable("platform", "unused")
        variables["time"][:] = [24106.25, 24106.26, 24106.27]
        variables["lat"][:], variables["lon"][:] = [1, 2, 3], [4, 5, 6]
        for name, standard_name, value in (
            ("profile_time", "time", 24107.0),
            ("profile_lat", "latitude", 2.0),
            ("profile_lon", "longitude", 5.0),
        ):
            scalar = file.createVariable(name, "f8", ())
            scalar.standard_name = standard_name
            scalar[:] = value
        file["profile_time"].units = file["time"].units
        container = file.createVariable("platform", "i4", ())
        container.wmo_id = "4801234"
        container[:] = 1
        for name, key in (("z", "depth"), ("temp", "value"), ("temp_qc", "flag")):
            variables[name][:] = getattr(PROFILES[0], key)
    assert table(read(tmp_path / "a.nc")) == [
        (np.datetime64("2016-01-02"), 2.0, 5.0, "4801234", [(5, 28.5), (10, 28.25), (20, 27.0)])
    ]
