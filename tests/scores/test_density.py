"""Density inversions of temperature and salinity."""

from __future__ import annotations

import gsw
import numpy as np
import pytest

from depthdif.scores.density import Inversions, SeawaterVariables, density_inversions
from depthdif.units import CONSERVATIVE, IN_SITU, POTENTIAL

DEPTHS = np.array([0.0, 50.0, 100.0, 500.0])
LATITUDE, LONGITUDE = np.array([-30.0, 0.0, 40.0]), np.array([10.0, 200.0])
COLUMN = np.array([20.0, 18.0, 15.0, 8.0])


def field(column: np.ndarray) -> np.ndarray:
    return np.broadcast_to(column[:, None, None], (len(column), 3, 2)).astype(np.float32).copy()


def count(temperature: np.ndarray, salinity: np.ndarray, kind: str = IN_SITU) -> Inversions:
    return density_inversions(temperature, salinity, DEPTHS, LATITUDE, LONGITUDE, kind)


@pytest.mark.parametrize("kind", [IN_SITU, POTENTIAL, CONSERVATIVE])
def test_a_stable_ocean_has_none_and_a_level_that_is_swapped_one_in_each_column(kind: str) -> None:
    salinity = field(np.full(4, 35.0))
    assert count(field(COLUMN), salinity, kind) == (0, 18)
    assert count(field(COLUMN[[0, 2, 1, 3]]), salinity, kind) == (6, 18)
    assert count(field(COLUMN), salinity, kind).share == 0


def test_salinity_counts_too() -> None:
    assert count(field(np.full(4, 10.0)), field(np.array([36.0, 35.0, 34.0, 33.0]))) == (18, 18)


def test_water_that_is_the_same_at_two_levels_is_no_inversion() -> None:
    column = np.full(4, 10.0)
    assert count(field(column), field(np.full(4, 35.0)), CONSERVATIVE) == (0, 18)


def test_pairs_that_are_not_both_ocean_are_not_counted() -> None:
    temperature, salinity = field(COLUMN[::-1]), field(np.full(4, 35.0))
    temperature[2:, 0] = np.nan
    salinity[3, 1] = np.nan
    assert count(temperature, salinity) == (2 * (1 + 2 + 3), 2 * (1 + 2 + 3))


def test_a_batch_counts_as_its_fields() -> None:
    stable, mixed = field(COLUMN), field(COLUMN[[0, 2, 1, 3]])
    both = density_inversions(
        np.stack([stable, mixed]), np.stack([field(np.full(4, 35.0))] * 2), DEPTHS,
        np.stack([LATITUDE] * 2), np.stack([LONGITUDE] * 2),
    )  # fmt: skip
    assert both == (6, 36)


def test_the_sign_is_that_of_the_check_values_of_teos_10() -> None:
    # IOC et al. 2010, gsw_Nsquared: a cast of the western Pacific.
    absolute = np.array([34.7118, 34.8915, 35.0256, 34.8472])
    conservative = np.array([28.8099, 28.4392, 22.7862, 10.2262])
    pressure = np.array([10.0, 50.0, 125.0, 250.0])
    expected, _ = gsw.Nsquared(absolute, conservative, pressure, lat=4.0)
    np.testing.assert_allclose(
        expected, [0.060843209693499e-3, 0.235723066151305e-3, 0.216599928330380e-3], rtol=1e-4
    )
    depths = -gsw.z_from_p(pressure, 4.0)
    practical = gsw.SP_from_SA(absolute, pressure, 188.0, 4.0)
    cast = (part[:, None, None] for part in (conservative, practical))
    assert density_inversions(*cast, depths, np.array([4.0]), np.array([188.0]), CONSERVATIVE) == (0, 3)


def test_one_level_has_no_pair() -> None:
    one = np.full((1, 3, 2), 10.0)
    found = density_inversions(one, one, DEPTHS[:1], LATITUDE, LONGITUDE)
    assert found == (0, 0)
    assert found.share is None


def test_temperature_and_salinity_are_found_by_their_standard_names() -> None:
    salinity, kelvin = ("sea_water_salinity", "1e-3"), ("sea_water_potential_temperature", "K")
    assert SeawaterVariables.among([salinity, kelvin]) == (1, 0, POTENTIAL, True)
    assert SeawaterVariables.among([kelvin]) is None
    assert SeawaterVariables.among([("", ""), salinity]) is None
