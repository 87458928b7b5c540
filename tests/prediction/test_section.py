"""Sections of a grid, against cells counted by hand and the length of great circles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif import EARTH_RADIUS, UserError
from depthdif.prediction.section import Section, great_circles

LATITUDE, LONGITUDE = np.arange(-9.0, 10.0, 2.0), np.arange(171.0, 200.0, 2.0)


def test_a_meridian_crosses_the_column_that_holds_it_from_south_to_north() -> None:
    line = Section(longitude=-178.2).on(LATITUDE, LONGITUDE)
    assert set(line.columns) == {5}
    assert line.rows.tolist() == list(range(len(LATITUDE)))
    np.testing.assert_array_equal(line.position, LATITUDE)
    assert (line.along, line.title) == ("latitude", "along 178.2°W")


def test_a_parallel_crosses_the_row_that_holds_it_across_the_date_line() -> None:
    line = Section(latitude=0.5).on(LATITUDE, LONGITUDE)
    assert set(line.rows) == {5}
    np.testing.assert_array_equal(line.position, LONGITUDE)
    assert (line.along, line.title) == ("longitude", "along 0.5°N")


def test_a_track_along_the_equator_is_the_parallel_with_distances() -> None:
    track = Section(track=[[171, 0.5], [-161, 0.5]]).on(LATITUDE, LONGITUDE)
    np.testing.assert_array_equal(track.columns, Section(latitude=0.5).on(LATITUDE, LONGITUDE).columns)
    degree = np.deg2rad(1) * EARTH_RADIUS
    # Cells within are 2 degrees apart; the first and the last are crossed from their middle on.
    np.testing.assert_allclose(np.diff(track.position[1:-1]), 2 * degree, rtol=0.1)
    assert track.along == "distance"


def test_a_track_enters_neighbours_only() -> None:
    line = Section(track=[[171.5, -8.5], [180, 8], [195.5, -3.2]]).on(LATITUDE, LONGITUDE)
    assert np.abs(np.diff(line.rows)).max() <= 1
    assert np.abs(np.diff(line.columns)).max() <= 1
    assert (np.diff(line.position) > 0).all()
    assert (line.rows[0], line.columns[0]) == (0, 0)
    assert (line.rows[-1], line.columns[-1]) == (3, 12)


places = st.tuples(st.floats(-179, 179), st.floats(-80, 80)).map(list)


@given(st.lists(places, min_size=2, max_size=4))
def test_the_length_of_a_track_is_the_sum_of_haversines(points: list[list[float]]) -> None:
    latitude, longitude, distance = great_circles(np.array(points), spacing=5.0)
    east, north = np.deg2rad(np.array(points)).T
    half = (
        np.sin(np.diff(north) / 2) ** 2
        + np.cos(north[:-1]) * np.cos(north[1:]) * np.sin(np.diff(east) / 2) ** 2
    )
    length = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(half, 0, 1))).sum()
    assert distance[-1] == pytest.approx(length, rel=1e-5, abs=1e-3)
    for place, end in ((points[0], 0), (points[-1], -1)):
        assert latitude[end] == pytest.approx(place[1], abs=1e-5)
        assert np.cos(np.deg2rad(longitude[end] - place[0])) == pytest.approx(1, abs=1e-9)


def test_profiles_above_the_section_are_those_in_its_cells() -> None:
    line = Section(latitude=-0.5).on(LATITUDE, LONGITUDE)
    row, column = np.array([4.2, 4.9, 5.1, 4.5]), np.array([3.9, 0.0, 7.0, 3.1])
    assert line.numbers_of(row, column).tolist() == [0, 3]


def test_the_section_by_default_is_the_middle_longitude() -> None:
    assert Section.from_setting(None, LONGITUDE) == Section(longitude=LONGITUDE[7])
    assert Section.from_setting({"latitude": 0}, LONGITUDE) == Section(latitude=0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({}, "expected one of longitude, latitude and track"),
        ({"longitude": 80, "latitude": 0}, "expected one of longitude, latitude and track"),
        ({"lon": 80}, "section has the key 'lon'"),
        ({"latitude": 100}, "expected degrees of latitude"),
        ({"longitude": "80E"}, "expected degrees of longitude"),
        ({"track": [[50, -30]]}, "expected two or more points"),
        ({"track": [[50, -30], [60]]}, "expected two or more points"),
        ({"track": [[50, -30], [60, float("nan")]]}, "expected two or more points"),
        ({"track": 5}, "expected two or more points"),
    ],
)
def test_a_section_that_is_none_is_refused_with_examples(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        Section.from_setting(setting, LONGITUDE)
    assert "set section={longitude: 80}" in str(refused.value)


def test_a_section_beyond_the_region_is_refused_with_its_ends() -> None:
    with pytest.raises(UserError, match=r"along 80°E crosses fewer than two cells .* longitude 171 to 199"):
        Section(longitude=80).on(LATITUDE, LONGITUDE)
