from __future__ import annotations

import gsw
import numpy as np
import pytest

from depthdif import UserError
from depthdif.observations.profiles import ProfileTable, RawProfiles
from depthdif.observations.refusals import Refusals
from depthdif.observations.seawater import ABSOLUTE, CONSERVATIVE, IN_SITU, POTENTIAL, PRACTICAL, to_variable

# Check values of TEOS-10 (documentation of gsw): absolute salinity, in-situ temperature and pressure.
SA = np.array([[34.7118, 34.8915, 35.0256, 34.8472, 34.7366, 34.7324]])
T = np.array([[28.7856, 28.4329, 22.8103, 10.2600, 6.8863, 4.4036]])
P = np.array([[10.0, 50.0, 125.0, 250.0, 600.0, 1000.0]])
POTENTIAL_EXPECTED = [28.78319682, 28.42098334, 22.78493040, 10.23052366, 6.82923022, 4.32451057]
CONSERVATIVE_EXPECTED = [28.80991983, 28.43922782, 22.78617689, 10.22618927, 6.82721363, 4.32357575]
# Depths at 4 degrees north of the same pressures.
DEPTH_EXPECTED = [9.94458345, 49.71808970, 124.27262194, 248.47005765, 595.82534804, 992.09190607]


def raw(values: dict[str, np.ndarray], vertical: np.ndarray = P, is_pressure: bool = True) -> RawProfiles:
    count = len(vertical)
    return RawProfiles(
        np.full(count, np.datetime64("2016-01-01")), np.full(count, 4.0), np.full(count, 188.0),
        np.full(count, "a"), vertical, is_pressure, values,
    )  # fmt: skip


def converted(source: RawProfiles, name: str, units: str = "degC") -> tuple[ProfileTable, Refusals]:
    refusals = Refusals()
    return to_variable(source, name, units, refusals)[0], refusals


def test_check_values_of_teos_10() -> None:
    source = raw({IN_SITU: T, ABSOLUTE: SA})
    for name, expected in ((POTENTIAL, POTENTIAL_EXPECTED), (CONSERVATIVE, CONSERVATIVE_EXPECTED)):
        table, _ = converted(source, name)
        np.testing.assert_allclose(table.value, expected, atol=1e-6)
        np.testing.assert_allclose(table.depth, DEPTH_EXPECTED, atol=1e-6)


def test_conversions_and_their_inverses_agree() -> None:
    practical = gsw.SP_from_SA(SA, P, 188.0, 4.0)
    there, _ = converted(raw({IN_SITU: T, PRACTICAL: practical}), POTENTIAL)
    for vertical, is_pressure in ((P, True), (there.depth[None], False)):
        back = raw({POTENTIAL: there.value[None], PRACTICAL: practical}, vertical, is_pressure)
        np.testing.assert_allclose(converted(back, IN_SITU)[0].value, T[0], atol=1e-6)
    np.testing.assert_allclose(
        converted(raw({PRACTICAL: practical}), ABSOLUTE, "g kg-1")[0].value, SA[0], atol=1e-9
    )


def test_what_needs_no_conversion_needs_no_salinity() -> None:
    table, refusals = converted(raw({IN_SITU: T}), IN_SITU)
    np.testing.assert_array_equal(table.value, T[0])
    assert not any(refusals.sample_counts.values())


def test_a_sample_without_the_salinity_of_its_conversion_is_refused() -> None:
    salinity = SA.copy()
    salinity[0, 2] = np.nan
    table, refusals = converted(raw({IN_SITU: T, ABSOLUTE: salinity}), POTENTIAL)
    assert len(table.value) == 5
    assert refusals.sample_counts["no salinity for the conversion"] == 1
    table, refusals = converted(raw({IN_SITU: T}), POTENTIAL)
    assert len(table) == 0
    assert refusals.profile_counts["no good sample"] == 1


def test_units_of_the_variable_are_kelvin_or_degrees_and_nothing_else() -> None:
    kelvin, _ = converted(raw({IN_SITU: T}), IN_SITU, "K")
    np.testing.assert_allclose(kelvin.value, T[0] + 273.15)
    with pytest.raises(UserError, match="in 'm'"):
        converted(raw({IN_SITU: T}), IN_SITU, "m")


def test_a_variable_that_profiles_cannot_give_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be converted to"):
        converted(raw({IN_SITU: T}), "mole_concentration_of_oxygen", "1")


def test_samples_ascend_and_impossible_or_repeated_ones_are_refused() -> None:
    source = raw(
        {IN_SITU: np.array([[1.0, 2.0, 3.0, 99.0, 5.0]])}, np.array([[30.0, 10.0, 20.0, 40.0, 20.0]]), False
    )
    table, refusals = converted(source, IN_SITU)
    assert table.depth.tolist() == [10, 20, 30]
    assert table.value.tolist() == [2, 3, 1]
    assert refusals.sample_counts["value impossible"] == 1
    assert refusals.sample_counts["a second value at a depth"] == 1
