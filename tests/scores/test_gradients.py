from __future__ import annotations

import numpy as np
import pytest

from depthdif import EARTH_RADIUS
from depthdif.scores.gradients import gradient_magnitude, gradient_mask

DEGREE = np.radians(1) * EARTH_RADIUS
LATITUDE, LONGITUDE = np.array([59.0, 60.0, 61.5]), np.array([10.0, 10.5, 11.0, 12.0])


def test_a_field_that_rises_to_the_north_has_its_slope_everywhere() -> None:
    field = np.broadcast_to(0.02 * DEGREE * LATITUDE[:, None], (3, 4))
    assert gradient_magnitude(field, LATITUDE, LONGITUDE) == pytest.approx(np.full((2, 3), 2.0))


def test_the_gradient_along_a_parallel_grows_as_the_parallel_shrinks() -> None:
    field = np.broadcast_to(0.02 * DEGREE * LONGITUDE, (3, 4))
    expected = 2 / np.cos(np.radians(LATITUDE[:2]))
    assert gradient_magnitude(field, LATITUDE, LONGITUDE) == pytest.approx(np.tile(expected[:, None], 3))


def test_components_add_as_a_vector() -> None:
    latitude, longitude = np.array([-0.1, 0.1]), np.array([179.9, 180.1])
    field = 0.01 * DEGREE * (3 * longitude + 4 * latitude[:, None])
    assert gradient_magnitude(field, latitude, longitude) == pytest.approx(5.0, rel=1e-5)


def test_the_mean_square_of_white_noise_is_twice_its_variance_over_each_squared_distance() -> None:
    axis = np.arange(400) * 0.01
    noise = np.random.default_rng(0).normal(size=(400, 400))
    mean_square = np.square(gradient_magnitude(noise, axis, axis)).mean()
    # The parallels are shorter by up to 0.2 % here.
    assert mean_square == pytest.approx(4 * (100 / (0.01 * DEGREE)) ** 2, rel=0.02)


def test_a_gradient_reaches_over_no_land() -> None:
    ocean = np.ones((4, 4), bool)
    ocean[1, 1] = False
    expected = np.ones((3, 3), bool)
    # The land itself, the cell to the west and the cell to the south of it.
    expected[1, 1] = expected[1, 0] = expected[0, 1] = False
    assert np.array_equal(gradient_mask(ocean), expected)
