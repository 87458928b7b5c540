"""A climatology at the cells of its grid and between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif import DAYS_PER_YEAR
from depthdif.first_guess.climatology import Climatology

LATITUDE = np.array([30.0, 31.0, 32.0])
LONGITUDE = np.array([-2.0, -1.0, 0.0, 1.0])


def made(coefficients: np.ndarray, period: float = 360.0, year: float = DAYS_PER_YEAR) -> Climatology:
    return Climatology(coefficients.astype(np.float32), LATITUDE, LONGITUDE, period, year)


def random(harmonics: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1 + 2 * harmonics, 2, 3, 4))


@given(day=st.integers(1, 366), year=st.sampled_from([360.0, 365.0, DAYS_PER_YEAR]))
def test_at_the_cells_of_the_grid_it_is_mean_plus_harmonics(day: int, year: float) -> None:
    coefficients = random().astype(np.float32)
    mean, *waves = coefficients
    expected = mean.astype(float)
    for k in (1, 2):
        angle = 2 * math.pi * k * day / year
        expected = expected + waves[2 * k - 2] * math.cos(angle) + waves[2 * k - 1] * math.sin(angle)
    values = made(coefficients, year=year)(LATITUDE, LONGITUDE, day)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    # As a patch has them: a part, float32, in another turn of the globe.
    part = made(coefficients, year=year)(
        LATITUDE[1:].astype(np.float32), (LONGITUDE[1:3] + 720).astype(np.float32), day
    )
    np.testing.assert_array_equal(part, values[:, 1:, 1:3])


@given(latitude=st.floats(30, 32), longitude=st.floats(-2, 1))
def test_between_the_centres_a_bilinear_field_is_reproduced(latitude: float, longitude: float) -> None:
    def field(north: np.ndarray, east: np.ndarray) -> np.ndarray:
        return 2 * north + 3 * east + 0.5 * north * east

    climatology = made(np.broadcast_to(field(LATITUDE[:, None], LONGITUDE), (1, 2, 3, 4)))
    value = climatology(np.array([latitude]), np.array([longitude]), 1.0)[0, 0, 0]
    # A point within a thousandth of a cell of a centre has the value there.
    assert value == pytest.approx(field(np.array(latitude), np.array(longitude)), abs=0.05)


def test_undefined_cells_take_no_part_and_remain_undefined() -> None:
    coefficients = random()
    coefficients[0, 0, 1, 1] = np.nan
    climatology = made(coefficients)
    at_cells = climatology(LATITUDE, LONGITUDE, 1.0)
    assert np.argwhere(np.isnan(at_cells)).tolist() == [[0, 1, 1]]
    between = climatology(np.array([31.0]), np.array([-1.5]), 1.0)
    assert between[0, 0, 0] == at_cells[0, 1, 0]
    assert np.isfinite(between).all()


def test_far_outside_it_is_undefined_and_at_the_edge_it_is_that_of_the_edge() -> None:
    climatology = made(random())
    north, east = np.array([28.5, 29.4, 32.6, 33.5]), np.array([-3.5, -2.4, 1.4, 2.5])
    defined = np.isfinite(climatology(north, east, 1.0)[0])
    assert defined.tolist() == np.outer([0, 1, 1, 0], [0, 1, 1, 0]).astype(bool).tolist()
    edge = climatology(LATITUDE[[0, -1]], LONGITUDE[[0, -1]], 1.0)
    np.testing.assert_array_equal(climatology(north, east, 1.0)[:, 1:3, 1:3], edge)


def test_a_domain_that_fills_its_period_is_interpolated_across_the_seam() -> None:
    climatology = made(random(), period=4.0)
    at_cells = climatology(LATITUDE, LONGITUDE, 1.0)
    across = climatology(LATITUDE, np.array([1.5, 2.0, 6.0]), 1.0)
    np.testing.assert_allclose(across[..., 0], (at_cells[..., -1] + at_cells[..., 0]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(across[..., 1], at_cells[..., 0])
    np.testing.assert_array_equal(across[..., 2], at_cells[..., 0])
