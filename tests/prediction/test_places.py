"""Profiles on the grid of a prediction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.places import Places, profile_rows


def test_profiles_used_count_at_the_depths_at_which_their_cell_has_an_observation(predicted: Any) -> None:
    dataset, table = predicted.dataset, predicted.observations[1]
    places = Places.used(dataset, 1, table)
    assert len(places.row) == len(table)
    counts = dataset["number_of_observations"].values[1]
    row, column = places.row.astype(int), places.column.astype(int)
    np.testing.assert_array_equal(places.levels, counts[:, row, column].T > 0)
    # Every sample of a profile is at a depth of the grid, so that it counts there at least.
    profile = np.repeat(np.arange(len(table)), np.diff(table.start))
    level = np.searchsorted(dataset["depth"].values, table.depth)
    assert places.levels[profile, level].all()
    np.testing.assert_array_equal(places.at(5).platform, table.platform[places.levels[:, 5]])


def test_profiles_outside_of_the_grid_are_left_out_and_longitudes_are_those_of_the_grid(
    predicted: Any,
) -> None:
    table = predicted.observations[0].take(np.array([0, 1, 2]))
    moved = dataclasses.replace(
        table,
        latitude=table.latitude + np.array([0, 90, 0]),
        longitude=table.longitude + np.array([0, 0, 360]),
    )
    places = Places.used(predicted.dataset, 0, moved)
    assert places.platform.tolist() == table.platform[[0, 2]].tolist()
    np.testing.assert_allclose(places.longitude, table.longitude[[0, 2]])


def test_no_profile_is_no_place(predicted: Any) -> None:
    assert len(Places.used(predicted.dataset, 0, ProfileTable.empty()).row) == 0
    assert len(Places.withheld(predicted.dataset, 0, None).row) == 0


def test_withheld_profiles_are_those_of_the_time_at_their_depths(predicted: Any) -> None:
    hidden, time = predicted.withheld, predicted.dataset["time"].values[2]
    places = Places.withheld(predicted.dataset, 2, hidden)
    assert set(places.platform) == set(hidden.platform[hidden.time == time])
    for platform, levels in zip(places.platform, places.levels, strict=True):
        own = (hidden.platform == platform) & (hidden.time == time)
        assert np.flatnonzero(levels).tolist() == sorted(hidden.level[own])


def test_the_values_of_all_profiles_are_the_values_of_the_time(predicted: Any) -> None:
    hidden, time = predicted.withheld, predicted.dataset["time"].values[0]
    rows = profile_rows(hidden, time)
    assert sorted(np.concatenate(list(rows.values()))) == np.flatnonzero(hidden.time == time).tolist()
    for (platform, latitude, longitude), numbers in rows.items():
        assert set(hidden.platform[numbers]) == {platform}
        assert set(zip(hidden.latitude[numbers], hidden.longitude[numbers], strict=True)) == {
            (latitude, longitude)
        }
