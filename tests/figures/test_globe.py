"""Places on a grid, against counting by hand."""

from __future__ import annotations

import cmocean
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from depthdif.figures.globe import borders, draw_on_globe, eastward, places_on_grid


def test_borders_lie_halfway_and_as_far_beyond_the_ends() -> None:
    assert borders(np.array([0.0, 2.0, 6.0])).tolist() == [-1, 1, 4, 8]
    assert borders(np.array([5.0])).tolist() == [4.5, 5.5]


@given(st.floats(-720, 720), st.floats(-180, 180))
def test_a_longitude_moved_eastward_is_the_same_place(longitude: float, start: float) -> None:
    moved = eastward(np.array([longitude]), start)[0]
    assert start <= moved <= start + 360
    assert np.isclose(np.cos(np.deg2rad(moved)), np.cos(np.deg2rad(longitude)), atol=1e-6)


@given(st.integers(0, 9), st.integers(0, 19), st.integers(-1, 1))
def test_the_centre_of_a_cell_is_half_a_cell_from_its_corner(row: int, column: int, turns: int) -> None:
    latitude, longitude = np.arange(-10, 10, 2.0), np.arange(160, 200, 2.0)
    place = latitude[[row]], longitude[[column]] + 360 * turns
    found = places_on_grid(*place, latitude, longitude)
    np.testing.assert_allclose(np.concatenate(found), [row + 0.5, column + 0.5])


@pytest.mark.parametrize("place", [(12.0, 180.0), (0.0, 158.0), (-12.0, 170.0), (0.0, 0.0)])
def test_a_place_outside_of_the_grid_is_nan(place: tuple[float, float]) -> None:
    latitude, longitude = np.arange(-10, 11, 2.0), np.arange(160, 200, 2.0)
    row, column = places_on_grid(np.array(place[:1]), np.array(place[1:]), latitude, longitude)
    assert np.isnan(row).all()
    assert np.isnan(column).all()


@pytest.mark.parametrize("latitude", [np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 4.0])])
def test_a_field_is_drawn_over_its_cells_on_regular_and_other_grids(latitude: np.ndarray) -> None:
    axis = Figure().add_subplot()
    field = np.arange(6.0).reshape(3, 2)
    field[0, 0] = np.nan
    behind = np.where(np.isnan(field), 0.0, 1.0)
    _, image = draw_on_globe(
        axis, latitude, np.array([10.0, 20.0]), field, cmocean.cm.thermal, (0.0, 5.0), behind
    )
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), field)
    assert axis.get_xlim() == (5, 25)
    assert axis.get_ylim() == tuple(borders(latitude)[[0, -1]])
