import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.observations.gridding import cells, in_window, superobservations
from depthdif.observations.profiles import ProfileTable

LATITUDE = np.array([-10.0, -8.0, -6.0])
LONGITUDE = np.array([50.0, 52.0, 54.0, 56.0])
GLOBE = np.arange(1.0, 360, 2)


def test_the_superobservation_of_a_cell_is_the_mean_of_its_profiles_with_their_number():
    values = np.array([[1.0, 5.0], [3.0, np.nan], [7.0, 9.0]])
    gridded = superobservations(
        values, np.array([-8.4, -7.6, -6]), np.array([52.3, 51.9, 56]), LATITUDE, LONGITUDE, 360
    )
    mean, count = np.full((2, 3, 4), np.nan), np.zeros((2, 3, 4))
    mean[:, 1, 1], count[:, 1, 1] = [2, 5], [2, 1]
    mean[:, 2, 3], count[:, 2, 3] = [7, 9], [1, 1]
    np.testing.assert_array_equal(gridded.mean, mean)
    np.testing.assert_array_equal(gridded.count, count)
    assert gridded.mean.dtype == np.float32
    assert gridded.count.dtype == np.int32
    assert gridded.on_land == 0


def test_values_in_cells_that_are_no_ocean_at_their_depth_are_left_out_and_counted():
    ocean = np.ones((2, 3, 4), bool)
    ocean[1, 1, 1] = False
    values = np.array([[1.0, 5.0], [3.0, 6.0], [7.0, np.nan]])
    at = np.full(3, -8.0), np.full(3, 52.0)
    gridded = superobservations(values, *at, LATITUDE, LONGITUDE, 360, ocean)
    assert gridded.on_land == 2
    assert gridded.count[0, 1, 1] == 3
    assert gridded.count[1].sum() == 0
    assert np.isnan(gridded.mean[1]).all()


def test_profiles_outside_the_grid_have_no_cell():
    latitude = np.array([-11.1, -10.9, -8, -8, -5.1, -4.9, np.nan])
    longitude = np.array([50, 50, 48.9, 57.1, 57, 50, 50])
    row, column = cells(latitude, longitude, LATITUDE, LONGITUDE, 360)
    np.testing.assert_array_equal(row, [-1, 0, -1, -1, 2, -1, -1])
    np.testing.assert_array_equal(column, [-1, 0, -1, -1, 3, -1, -1])
    gridded = superobservations(np.ones((7, 1)), latitude, longitude, LATITUDE, LONGITUDE, 360)
    assert gridded.count.sum() == 2


def test_cells_of_an_irregular_grid_meet_half_way_between_their_centres():
    row, _ = cells(
        np.array([0.9, 1.1, 5.4, 5.6, 14.4]),
        np.zeros(5),
        np.array([0.0, 2.0, 9.0]),
        np.array([0.0, 1.0]),
        360,
    )
    np.testing.assert_array_equal(row, [0, 1, 1, 2, -1])


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_longitudes_are_the_same_place_a_turn_further(turn):
    longitude = np.array([0.0, 1.9, 179.5, 180.0, 180.5, 359.99]) + turn
    _, column = cells(np.zeros(6), longitude, np.array([-1.0, 1.0]), GLOBE, 360)
    np.testing.assert_array_equal(column, [0, 0, 89, 90, 90, 179])


def test_a_region_across_the_date_line_takes_profiles_from_both_sides():
    _, column = cells(
        np.zeros(4),
        np.array([178.5, -179.5, 181.5, -177.5]),
        np.array([0.0, 1.0]),
        np.array([179.0, 181.0, 183.0]),
        360,
    )
    np.testing.assert_array_equal(column, [0, 1, 1, 2])


def test_a_domain_with_a_period_of_its_own_repeats_itself():
    _, column = cells(np.zeros(3), np.array([0.5, 10.5, -9.5]), np.array([0.0, 1.0]), np.arange(10.0), 10)
    np.testing.assert_array_equal(column, [1, 1, 1])


def test_a_single_row_is_as_wide_as_the_columns():
    row, _ = cells(np.array([3.9, 4.1, 6.1]), np.full(3, 52.0), np.array([5.0]), LONGITUDE, 360)
    np.testing.assert_array_equal(row, [-1, 0, -1])


@given(st.floats(-1000, 1000), st.sampled_from([2.0, 1.0, 0.25, 1 / 3]))
def test_a_globe_has_a_cell_for_every_longitude(longitude, step):
    """Also where the longitudes of the grid are float32."""
    grid = (np.arange(round(360 / step)) * step - 180 + step / 2).astype(np.float32)
    _, (column,) = cells(np.zeros(1), np.array([longitude]), np.array([-1.0, 1.0]), grid, 360)
    distance = (longitude - float(grid[column]) + 180) % 360 - 180
    assert abs(distance) <= step / 2 + 1e-3


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_mean_over_all_cells_weighted_by_number_is_the_mean_of_the_profiles_in_any_order(seed, number):
    rng = np.random.default_rng(seed)
    values = rng.normal(10, 5, (number, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    latitude, longitude = rng.uniform(-11, -5, number), rng.uniform(49, 57, number)
    gridded = superobservations(values, latitude, longitude, LATITUDE, LONGITUDE, 360)
    np.testing.assert_array_equal(gridded.count.sum(axis=(1, 2)), np.isfinite(values).sum(axis=0))
    np.testing.assert_allclose(
        (np.nan_to_num(gridded.mean) * gridded.count).sum(axis=(1, 2)),
        np.nansum(values, axis=0),
        rtol=1e-5,
        atol=1e-3,
    )
    order = rng.permutation(number)
    permuted = superobservations(values[order], latitude[order], longitude[order], LATITUDE, LONGITUDE, 360)
    np.testing.assert_array_equal(permuted.count, gridded.count)
    np.testing.assert_allclose(permuted.mean, gridded.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(permuted.row, gridded.row[order])


def test_a_window_reaches_half_its_width_before_and_after_a_time():
    time = np.datetime64("2016-01-10", "us") + np.array([-121, -120, 0, 120, 121]).astype("timedelta64[h]")
    none = np.zeros(5)
    profiles = ProfileTable(
        time, none, none, none.astype(str), np.zeros(6, np.int64), np.empty(0), np.empty(0)
    )
    np.testing.assert_array_equal(
        in_window(profiles, np.datetime64("2016-01-10"), np.timedelta64(10, "D")),
        [False, True, True, True, False],
    )
