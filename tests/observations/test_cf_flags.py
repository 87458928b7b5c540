import netCDF4
import numpy as np
import pytest
import xarray as xr

from depthdif.observations.cf_decoding import numbers
from depthdif.observations.cf_flags import flag_variables, good_flags


def flags(values, **attributes):
    return xr.Variable(("sample",), np.asarray(values), attributes)


@pytest.mark.parametrize(
    ("variable", "accepted", "good"),
    [
        # Without meanings flags are numbered as those of Argo.
        (flags(np.array([0, 1, 2, 3, 9], "i1")), (1, 2), [0, 1, 1, 0, 0]),
        (flags(np.array([0, 1, 2, 3, 9], "i1")), ("1",), [0, 1, 0, 0, 0]),
        (flags(np.array([1.0, 2.0, np.nan], "f4")), (1, 2), [1, 1, 0]),
        (flags(np.array([b"1", b"4", b"", b" ", b"2"], "S1")), (1, 2), [1, 0, 0, 0, 1]),
        # Of QARTOD: 2 is not evaluated there.
        (
            flags(
                np.array([1, 2, 3, 4, 9], "i1"),
                flag_values=np.array([1, 2, 3, 4, 9], "i1"),
                flag_meanings="PASS NOT_EVALUATED SUSPECT FAIL MISSING",
            ),
            (1, 2),
            [1, 0, 0, 0, 0],
        ),
        # Of SeaDataNet: letters and numbers.
        (
            flags(
                np.array([b"0", b"1", b"2", b"A"], "S1"),
                flag_values="0 1 2 A",
                flag_meanings="no_quality_control good_value probably_good_value value_phenomenon_uncertain",
            ),
            (1, 2),
            [0, 1, 1, 0],
        ),
        # A file in which 0 is good, and bad data are 1.
        (
            flags(np.array([0, 1, 2]), flag_values=np.array([0, 1]), flag_meanings="good bad"),
            (1, 2),
            [1, 0, 0],
        ),
        (
            flags(
                np.array([7, 8]),
                flag_values=np.array([7, 8]),
                flag_meanings="nominal_value interpolated_value",
            ),
            (1, 2, 5, 8),
            [0, 1],
        ),
    ],
)
def test_good_flags_follow_their_meaning_and_else_their_number(variable, accepted, good):
    np.testing.assert_array_equal(good_flags(variable, accepted)[0], np.array(good, bool))


def test_a_missing_flag_is_not_good_whatever_its_fill_value():
    variable = flags(np.array([1, 2, -127], "i1"), _FillValue=np.int8(1))
    good, missing = good_flags(variable, (1, 2, -127))
    np.testing.assert_array_equal(good, [False, True, True])
    np.testing.assert_array_equal(missing, [True, False, False])


def test_only_flags_among_the_ancillary_variables_are_flags():
    dataset = xr.Dataset(
        {
            "a": ("x", [1], {"standard_name": "sea_water_temperature status_flag"}),
            "b": ("x", [1], {"standard_name": "sea_water_temperature standard_error"}),
            "c": ("x", [1], {"flag_values": [1], "flag_meanings": "good"}),
            "d": ("x", [1], {"standard_name": "aggregate_quality_flag"}),
        }
    )
    variable = flags([1.0], ancillary_variables="a b c absent")
    assert [
        found is dataset.variables[name]
        for found, name in zip(flag_variables(dataset, variable), "ac", strict=True)
    ] == [True, True]
    assert flag_variables(dataset, flags([1.0])) == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (flags(np.array([netCDF4.default_fillvals["f4"], 1], "f4")), [np.nan, 1]),
        (flags(np.array([netCDF4.default_fillvals["i2"], 1], "i2")), [np.nan, 1]),
        (flags(np.array([-127, 1], "i1")), [-127, 1]),
        (flags(np.array([1e20, 1], "f4"), _FillValue=1e20), [np.nan, 1]),
        (
            flags(np.array([-9, -99, 1.0]), _FillValue=-9.0, missing_value=np.array([-99.0, -98.0])),
            [np.nan, np.nan, 1],
        ),
        (
            flags(np.array([0, 50, 101], "u1"), valid_range=np.array([1, 100]), scale_factor=0.1),
            [np.nan, 5, np.nan],
        ),
        (
            flags(np.array([0.0, 5, 11]), valid_min=1.0, valid_max=10.0, add_offset=100.0),
            [np.nan, 105, np.nan],
        ),
    ],
)
def test_missing_and_invalid_numbers_are_nan(variable, expected):
    np.testing.assert_allclose(numbers(variable), expected)
