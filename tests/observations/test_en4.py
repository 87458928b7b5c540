from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from depthdif import UserError
from depthdif.observations import en4
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals
from tests.observations.argo_files import write_en

POTENTIAL, SALINITY = "sea_water_potential_temperature", "sea_water_practical_salinity"
WANTED = ["sea_water_temperature", POTENTIAL, SALINITY]


def read(path: Path) -> tuple[RawProfiles, Refusals]:
    refusals = Refusals()
    with netCDF4.Dataset(path) as file:
        assert en4.reads(file)
        file.set_auto_maskandscale(False)
        return en4.read(file, WANTED, Quality(), refusals), refusals


@pytest.mark.parametrize("fill", ["_FillValue", "_fillvalue"])
def test_good_positions_and_levels_are_used_whatever_the_fill_attribute_is_called(
    tmp_path: Path, fill: str
) -> None:
    raw, refusals = read(write_en(tmp_path / "EN.nc", fill=fill, salinity=True))
    assert not raw.is_pressure
    assert raw.latitude.tolist() == [0, 2]
    assert raw.time.astype("datetime64[h]").astype(str).tolist() == ["1950-01-21T12", "1950-01-23T00"]
    np.testing.assert_array_equal(raw.values[POTENTIAL], [[20, 19, 18], [15, np.nan, np.nan]])
    np.testing.assert_array_equal(raw.vertical, [[0, 10, 20], [0, 10, np.nan]])
    assert refusals.profile_counts["flag of time or position"] == 1
    assert refusals.sample_counts["flag of the value"] == 1


def test_flags_that_are_set_nowhere_in_a_file_are_noted_and_do_not_count(tmp_path: Path) -> None:
    path = write_en(
        tmp_path / "EN3.nc", JULD_LOCATION=[20.5, 21, 22], JULD=None, JULD_QC="\0\0\0", PROFILE_POTM_QC=None,
        DEPH_CORRECTED_QC=["\0\0\0"] * 3,
    )  # fmt: skip
    raw, refusals = read(path)
    np.testing.assert_array_equal(raw.values[POTENTIAL], [[20, 19, 18], [15, np.nan, np.nan]])
    assert refusals.notes == {"without flags of their depths": 4, "without flags of their dates": 4}


def test_a_value_without_any_flag_is_not_good(tmp_path: Path) -> None:
    raw, refusals = read(write_en(tmp_path / "EN.nc", POTM_CORRECTED_QC=None))
    assert np.isnan(raw.values[POTENTIAL]).all()
    assert refusals.sample_counts["no flag"] == 5


def test_a_rejected_profile_loses_its_levels(tmp_path: Path) -> None:
    raw, _ = read(write_en(tmp_path / "EN.nc", PROFILE_POTM_QC="411"))
    assert np.isnan(raw.values[POTENTIAL][0]).all()
    assert np.isfinite(raw.values[POTENTIAL][1]).any()


def test_each_profile_without_a_platform_is_its_own(tmp_path: Path) -> None:
    assert len(set(read(write_en(tmp_path / "EN.nc"))[0].platform)) == 2


def test_a_file_without_the_variable_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no POTM_CORRECTED or PSAL_CORRECTED"):
        read(write_en(tmp_path / "EN.nc", POTM_CORRECTED=None))


def test_positions_without_flags_are_not_good(tmp_path: Path) -> None:
    raw, refusals = read(write_en(tmp_path / "EN.nc", POSITION_QC="\0\0\0"))
    assert len(raw.time) == 0
    assert refusals.profile_counts["flag of time or position"] == 3


def test_depths_and_dates_that_were_not_checked_are_noted_and_rejected_ones_refused(tmp_path: Path) -> None:
    raw, refusals = read(write_en(tmp_path / "a.nc", JULD_QC="000", DEPH_CORRECTED_QC=["000"] * 3))
    assert np.isfinite(raw.values[POTENTIAL]).sum() == 4
    assert refusals.notes["without flags of their dates"] == 4
    raw, refusals = read(write_en(tmp_path / "b.nc", JULD_QC="114", DEPH_CORRECTED_QC=["141"] * 3))
    np.testing.assert_array_equal(raw.vertical, [[0, np.nan, 20]])
    assert refusals.sample_counts["flag of the depth"] == 1
