import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.observations.levels import at_depths
from depthdif.observations.profiles import ProfileTable


def table(*profiles):
    """Profiles of (depths, values)."""
    lengths = [len(depth) for depth, _ in profiles]
    number = np.arange(len(profiles))
    return ProfileTable(
        np.datetime64("2016-01-01", "us") + number,
        np.zeros(len(profiles)),
        np.zeros(len(profiles)),
        number.astype(str),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.asarray(depth, np.float64) for depth, _ in profiles]),
        np.concatenate([np.asarray(value, np.float64) for _, value in profiles]),
    )


def test_a_depth_between_two_samples_is_interpolated_linearly():
    values = at_depths(table(([4, 10], [20, 17])), np.array([4.0, 6.0, 10.0]))
    np.testing.assert_allclose(values, [[20, 19, 17]], rtol=1e-12)


def test_no_value_is_extrapolated_above_the_first_or_below_the_last_sample():
    values = at_depths(table(([5, 10], [20, 17]), ([10, 12], [3, 4])), np.array([0.0, 5.0, 10.0, 12.0, 13.0]))
    np.testing.assert_array_equal(values, [[np.nan, 20, 17, np.nan, np.nan], [np.nan, np.nan, 3, 4, np.nan]])


@pytest.mark.parametrize(
    ("samples", "depth", "allowed"),
    [
        ((0, 10), 5, True),
        ((0, 11), 5, False),
        ((950, 1050), 1000, True),
        ((950, 1051), 1000, False),
        ((496, 545), 500, True),
    ],
)
def test_samples_are_interpolated_where_not_more_than_10_m_or_a_tenth_of_the_depth_apart(
    samples, depth, allowed
):
    values = at_depths(table((samples, [1, 1])), np.array([float(depth)]))
    assert np.isfinite(values[0, 0]) == allowed


def test_a_sample_at_a_depth_counts_however_far_its_neighbours_are():
    values = at_depths(table(([0, 100, 500], [1, 2, 3])), np.array([0.0, 50.0, 100.0, 500.0]))
    np.testing.assert_array_equal(values, [[1, np.nan, 2, 3]])


def test_depths_of_float32_count_as_the_depths_that_they_were_rounded_from():
    depths = np.array([0.1, 10.1, 33.3])
    values = at_depths(table((depths.astype(np.float32), [1, 2, 3])), np.array([0.1, 5.1, 10.1, 33.3]))
    np.testing.assert_allclose(values, [[1, 1.5, 2, 3]], rtol=1e-6)


def test_the_nearest_sample_within_the_tolerance_counts_where_nothing_can_be_interpolated():
    profile = table(([99.2, 148.7], [10, 8]))
    depths = np.array([100.0, 125.0, 150.0])
    assert np.isnan(at_depths(profile, depths)).all()
    np.testing.assert_array_equal(at_depths(profile, depths, 1.0), [[10, np.nan, np.nan]])
    np.testing.assert_array_equal(at_depths(profile, depths, 1.5), [[10, np.nan, 8]])


def test_interpolation_is_preferred_to_the_nearest_sample_within_the_tolerance():
    np.testing.assert_allclose(at_depths(table(([8, 12], [1, 3])), np.array([10.0]), 5.0), [[2]])


def test_profiles_without_samples_have_no_value():
    values = at_depths(table(([], []), ([10], [4]), ([], [])), np.array([10.0, 20.0]), 1.0)
    np.testing.assert_array_equal(values, [[np.nan, np.nan], [4, np.nan], [np.nan, np.nan]])
    assert at_depths(ProfileTable.empty(), np.array([10.0])).shape == (0, 1)
    assert np.isnan(at_depths(table(([], [])), np.array([10.0]))).all()


profiles = st.lists(
    st.lists(st.integers(0, 600), max_size=20, unique=True).map(sorted), min_size=1, max_size=8
)


@given(
    profiles,
    st.lists(st.integers(0, 700), min_size=1, max_size=12, unique=True).map(sorted),
    st.sampled_from([0.0, 3.0]),
)
def test_each_value_is_that_of_one_profile_and_depth_alone(depths_of_profiles, levels, tolerance):
    """Against a direct computation, sample by sample."""
    both = table(*[(depths, np.sqrt(depths) + number) for number, depths in enumerate(depths_of_profiles)])
    found = at_depths(both, np.array(levels, np.float64), tolerance)
    for number, depths in enumerate(depths_of_profiles):
        values = np.sqrt(depths) + number
        for level, value in zip(levels, found[number], strict=True):
            above = [d for d in depths if d <= level]
            below = [d for d in depths if d >= level]
            if above and below and min(below) - max(above) <= max(10, 0.1 * level):
                np.testing.assert_allclose(value, np.interp(level, depths, values), rtol=1e-12)
            elif depths and min(abs(d - level) for d in depths) <= tolerance:
                distance = min(abs(d - level) for d in depths)
                assert value in [v for d, v in zip(depths, values, strict=True) if abs(d - level) == distance]
            else:
                assert np.isnan(value)


@given(profiles, st.floats(-0.1, 0.1), st.floats(-2, 30))
def test_a_linear_profile_is_interpolated_exactly(depths_of_profiles, slope, surface):
    both = table(*[(depths, surface + slope * np.array(depths)) for depths in depths_of_profiles])
    levels = np.arange(0, 700, 7.0)
    found = at_depths(both, levels)
    expected = np.broadcast_to(surface + slope * levels, found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-9)
