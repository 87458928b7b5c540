from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from depthdif import UserError
from depthdif.observations import argo
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals
from tests.observations.argo_files import write_argo

TEMPERATURE, SALINITY = "sea_water_temperature", "sea_water_practical_salinity"
WANTED = ["sea_water_potential_temperature", TEMPERATURE, SALINITY]


def read(path: Path, quality: Quality | None = None) -> tuple[RawProfiles, Refusals]:
    refusals = Refusals()
    with netCDF4.Dataset(path) as file:
        assert argo.reads(file)
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        return argo.read(file, WANTED, quality or Quality(), refusals), refusals


def one(
    tmp_path: Path, quality: Quality | None = None, **profile: Any
) -> tuple[list[float], list[float], Refusals]:
    """Pressures and temperatures that are left of one profile."""
    raw, refusals = read(write_argo(tmp_path / "R1.nc", [profile]), quality)
    there = np.isfinite(raw.vertical[0]) & np.isfinite(raw.values[TEMPERATURE][0])
    return raw.vertical[0][there].tolist(), raw.values[TEMPERATURE][0][there].tolist(), refusals


def test_time_position_platform_and_values_are_those_of_the_file(tmp_path: Path) -> None:
    raw, _ = read(write_argo(tmp_path / "R1.nc", [{"pres": [5, 10], "temp": [20, 19], "psal": [35, 35.5]}]))
    assert (
        raw.time.astype("datetime64[m]").tolist() == np.array(["2016-01-01T06:00"], "datetime64[m]").tolist()
    )
    assert (raw.latitude.tolist(), raw.longitude.tolist(), raw.platform.tolist()) == (
        [-20],
        [80],
        ["5900446"],
    )
    assert raw.is_pressure
    assert raw.vertical.tolist() == [[5, 10]]
    assert raw.values[SALINITY].tolist() == [[35, 35.5]]


@pytest.mark.parametrize("mode", ["A", "D"])
def test_adjusted_modes_take_adjusted_values_and_never_raw_ones(tmp_path: Path, mode: str) -> None:
    profile: dict[str, Any] = {
        "mode": mode, "pres": [5, 10, 20], "temp": [20, 19, 18],
        "pres_adjusted": [5.5, 10.5, 20.5], "temp_adjusted": [20.5, 19.5],
    }  # fmt: skip
    pressure, temperature, refusals = one(tmp_path, **profile)
    assert pressure == [5.5, 10.5]
    assert temperature == [20.5, 19.5]
    assert refusals.sample_counts["no adjusted temperature"] == 1


def test_real_time_profiles_take_raw_values(tmp_path: Path) -> None:
    profile = {"pres": [5], "temp": [20], "pres_adjusted": [6], "temp_adjusted": [21]}
    assert one(tmp_path, **profile)[:2] == ([5], [20])


def test_only_good_flags_are_used_and_a_missing_one_is_not_good(tmp_path: Path) -> None:
    profile: dict[str, Any] = {"pres": [5, 10, 20, 30, 40], "temp": [20, 19, 18, 17, 16]}
    pressure, _, refusals = one(tmp_path, **profile, temp_qc="12 34", pres_qc="11111")
    assert pressure == [5, 10]
    assert refusals.sample_counts["no flag of the temperature"] == 1
    assert refusals.sample_counts["flag of the temperature"] == 2
    assert one(tmp_path, Quality(good=[1]), **profile, temp_qc="12 34")[0] == [5]
    assert one(tmp_path, **profile, pres_qc="14111")[0] == [5, 20, 30, 40]


def test_estimated_dates_and_interpolated_positions_are_good(tmp_path: Path) -> None:
    profile = {"pres": [5], "temp": [20]}
    assert one(tmp_path, **profile, juld_qc="8", position_qc="8")[0] == [5]
    for flags in ({"juld_qc": "4"}, {"position_qc": "9"}, {"position_qc": " "}):
        pressure, _, refusals = one(tmp_path, **profile, **flags)
        assert pressure == []
        assert refusals.profile_counts["flag of time or position"] == 1


def test_other_sampling_schemes_and_on_request_other_modes_are_refused(tmp_path: Path) -> None:
    profile = {"pres": [5], "temp": [20]}
    for scheme, kept in (
        ("Near-surface sampling: discrete", []),
        ("", [5]),
        ("Primary sampling: mixed", [5]),
    ):
        assert one(tmp_path, **profile, scheme=scheme)[0] == kept
    pressure, _, refusals = one(tmp_path, Quality(delayed_mode_only=True), **profile)
    assert pressure == []
    assert refusals.profile_counts["not in delayed mode"] == 1


def test_pressure_increases_also_of_profiles_that_are_stored_from_below(tmp_path: Path) -> None:
    pressure, temperature, refusals = one(tmp_path, pres=[5, 10, 8, 10, 20], temp=[20, 19, 18.5, 18, 17])
    assert pressure == [5, 10, 20]
    assert refusals.sample_counts["pressure does not increase"] == 2
    pressure, temperature, _ = one(tmp_path, pres=[20, 10, 5], temp=[17, 19, 20], direction="D")
    assert (pressure, temperature) == ([5, 10, 20], [20, 19, 17])


def test_profiles_without_time_or_position_are_refused(tmp_path: Path) -> None:
    for missing in ({"juld": 999999.0}, {"latitude": 99999.0}):
        pressure, _, refusals = one(tmp_path, pres=[5], temp=[20], **missing)
        assert pressure == []
        assert sum(refusals.profile_counts.values()) == 1


def test_a_file_without_temperature_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "B.nc", [{"pres": [5]}])
    with pytest.raises(UserError, match="has no TEMP or PSAL"):
        read(path)


def test_the_variable_itself_needs_no_salinity_and_none_is_counted_as_refused(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "R1.nc", [{"pres": [5], "temp": [20], "psal": [35], "psal_qc": "4"}])
    refusals = Refusals()
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        raw = argo.read(file, [TEMPERATURE, SALINITY], Quality(), refusals)
    assert list(raw.values) == [TEMPERATURE]
    assert not any(refusals.sample_counts.values())


def test_the_data_mode_of_a_parameter_replaces_that_of_the_profile(tmp_path: Path) -> None:
    adjusted = {"pres_adjusted": [6, 11], "temp_adjusted": [21, 20], "psal_adjusted": [36, 36.5]}
    profile = {"pres": [5, 10], "temp": [20, 19], "psal": [35, 35.5], **adjusted, "mode": "D"}
    path = write_argo(tmp_path / "D1.nc", [profile, {**profile, "mode": "R"}])
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("N_PARAM", 3)
        file.createDimension("STRING16", 16)
        names = file.createVariable("STATION_PARAMETERS", "S1", ("N_PROF", "N_PARAM", "STRING16"))
        # The second profile has no parameters of its own, so that the mode of the profile counts.
        names[:] = np.array(
            [[list(name.ljust(16)) for name in ("PRES", "TEMP", "PSAL")], [[" "] * 16] * 3], "S1"
        )
        modes = file.createVariable("PARAMETER_DATA_MODE", "S1", ("N_PROF", "N_PARAM"))
        modes[:] = np.array([list("DAR"), list("   ")], "S1")
    raw, _ = read(path)
    assert raw.vertical.tolist() == [[6, 11], [5, 10]]
    assert raw.values[TEMPERATURE].tolist() == [[21, 20], [20, 19]]
    assert raw.values[SALINITY].tolist() == [[35, 35.5], [35, 35.5]]


def test_a_refused_profile_has_no_samples_and_keeps_its_identity_and_rank(tmp_path: Path) -> None:
    raw, _ = read(write_argo(tmp_path / "D1.nc", [{"pres": [5], "temp": [20], "mode": "D", "juld_qc": "4"}]))
    assert np.isnat(raw.time).all()
    assert np.isnan(raw.vertical).all()
    assert (raw.identities().tolist(), raw.ranks().tolist()) == (["5900446 1 A"], [2])


def test_other_sampling_schemes_of_a_cycle_do_not_replace_its_primary_profile(tmp_path: Path) -> None:
    profile = {"pres": [5], "temp": [20]}
    near_surface = {**profile, "scheme": "Near-surface sampling: discrete", "mode": "D"}
    raw, _ = read(write_argo(tmp_path / "R1.nc", [profile, near_surface]))
    assert raw.identities().tolist() == ["5900446 1 A", ""]


def test_platforms_survive_other_ways_of_writing_text(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "R1.nc", [{"pres": [5], "temp": [20]}])
    with netCDF4.Dataset(path, "a") as file:
        # xarray marks characters so, and netCDF4 makes strings of them.
        file["PLATFORM_NUMBER"].setncattr("_Encoding", "utf-8")
    assert read(path)[0].platform.tolist() == ["5900446"]


def test_dates_in_other_units_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "R1.nc", [{"pres": [5], "temp": [20]}])
    with netCDF4.Dataset(path, "a") as file:
        file["JULD"].units = "seconds since 2003-01-01"
    with pytest.raises(
        UserError, match="JULD in 'seconds since 2003-01-01'; expected 'days since 1950-01-01'"
    ):
        read(path)
