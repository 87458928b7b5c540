from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif.diffusion.noise import knots_and_weights, noise_correlated_in_time, place_of

DAYS = st.integers(-40_000, 40_000)
EFOLDING = st.floats(0.5, 400)
CELLS = (40_000,)


@given(DAYS, EFOLDING)
def test_the_squared_weights_add_up_to_one_so_that_the_variance_is_one(day: int, efolding: float) -> None:
    assert np.sum(np.square(knots_and_weights(day, efolding)[1])) == pytest.approx(1)


@given(DAYS, st.integers(0, 1000), EFOLDING)
def test_the_correlation_of_two_days_is_a_gaussian_of_their_distance(
    day: int, apart: int, efolding: float
) -> None:
    first, second = (
        dict(zip(*knots_and_weights(each, efolding), strict=True)) for each in (day, day + apart)
    )
    correlation = sum(weight * second.get(knot, 0.0) for knot, weight in first.items())
    assert correlation == pytest.approx(np.exp(-((apart / efolding) ** 2)), abs=0.004)


@pytest.mark.parametrize("apart", [0, 5, 20, 60])
@pytest.mark.parametrize("day", [-3, 13_000])
def test_noise_over_many_cells_has_this_variance_and_correlation(day: int, apart: int) -> None:
    first, second = (noise_correlated_in_time(CELLS, [0, 1], each, 20.0) for each in (day, day + apart))
    # Five standard deviations of an estimate from so many cells.
    assert float(first.var()) == pytest.approx(1, abs=0.04)
    assert float((first * second).mean()) == pytest.approx(np.exp(-((apart / 20) ** 2)), abs=0.03)


def test_the_same_day_repeats_and_another_identity_is_independent() -> None:
    noise, again, other = (
        noise_correlated_in_time(CELLS, identity, 13_000, 20.0) for identity in ([0, 1], [0, 1], [0, 2])
    )
    assert torch.equal(noise, again)
    assert float((noise * other).mean()) == pytest.approx(0, abs=0.03)


def test_places_are_equal_within_a_thousandth_of_a_degree_and_around_the_globe() -> None:
    assert place_of(12.5, 30.00004) == place_of(12.5, 30.0) != place_of(12.5, 30.002)
    assert place_of(-90.0, -180.0) == place_of(-90.0, 180.0) == [0, 180_000]
