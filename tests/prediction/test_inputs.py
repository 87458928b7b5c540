"""Profiles of several variables at the depths of a model."""

from __future__ import annotations

import numpy as np

from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.inputs import LevelProfiles

DEPTHS = np.array([0.0, 10.0])
EARLY, LATE = np.datetime64("2016-01-01", "us"), np.datetime64("2016-01-05", "us")


def table(*profiles: tuple[str, np.datetime64, float, tuple[float, float]]) -> ProfileTable:
    """Profiles with a platform, a time, a latitude and the values at both depths."""
    count = len(profiles)
    platform, time, latitude, values = zip(*profiles, strict=True)
    return ProfileTable(
        np.array(time),
        np.array(latitude, float),
        np.zeros(count),
        np.array(platform),
        2 * np.arange(count + 1),
        np.tile(DEPTHS, count),
        np.array(values, float).ravel(),
    )


def test_rows_of_one_platform_time_and_place_are_one_profile_with_the_channels_of_both_variables() -> None:
    temperature = table(("a", EARLY, 0, (20, 19)), ("b", LATE, 1, (18, 17)))
    salinity = table(("a", EARLY, 0, (35, 36)), ("c", EARLY, 2, (33, 34)))
    every = LevelProfiles.from_tables([temperature, salinity], DEPTHS, 0)
    assert every.profiles.platform.tolist() == ["a", "c", "b"]
    assert every.profiles.latitude.tolist() == [0, 2, 1]
    missing = np.nan
    expected = [[20, 19, 35, 36], [missing, missing, 33, 34], [18, 17, missing, missing]]
    np.testing.assert_array_equal(every.values, expected)


def test_profiles_of_one_variable_that_have_all_in_common_stay_apart() -> None:
    twice = table(("a", EARLY, 0, (20, 19)), ("a", EARLY, 0, (21, 22)))
    np.testing.assert_array_equal(LevelProfiles.from_tables([twice], DEPTHS, 0).values, [[20, 19], [21, 22]])
    salinity = table(("a", EARLY, 0, (35, 36)))
    both = LevelProfiles.from_tables([twice, salinity], DEPTHS, 0)
    np.testing.assert_array_equal(both.values, [[20, 19, 35, 36], [21, 22, np.nan, np.nan]])


def test_without_any_profile_there_is_none() -> None:
    none = LevelProfiles.from_tables([ProfileTable.empty()] * 2, DEPTHS, 0)
    assert (len(none), none.values.shape) == (0, (0, 4))
