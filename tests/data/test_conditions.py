"""What is known of a patch is standardised, and nothing that is missing gets in."""

from __future__ import annotations

import numpy as np
import pytest

from depthdif.data.dataset import Conditioner, collate
from depthdif.data.normalization import Standardization
from depthdif.first_guess.climatology import Climatology
from depthdif.first_guess.inverse_distance import InverseDistance


def statistics(mean: list[float], std: list[float]) -> Standardization:
    return Standardization(np.array(mean), np.array(std), np.array(mean), np.array(mean))


@pytest.fixture
def patch() -> dict[str, np.ndarray]:
    observations = np.full((2, 3, 4), np.nan, np.float32)
    observations[:, 1, 2] = [20.0, 8.0]
    surface = np.full((1, 3, 4), 24.0, np.float32)
    surface[0, 0, 0] = np.nan
    return {
        "observations": observations,
        "surface": surface,
        "ocean_mask": np.ones((2, 3, 4), bool),
        "latitude": np.array([0, 1, 2], np.float32),
        "longitude": np.array([178, 179, 180, 181], np.float32),
    }


CONDITIONER = Conditioner(statistics([18, 6], [2, 4]), statistics([25], [0.5]))


def test_observations_and_surface_are_standardised_and_zero_where_missing(
    patch: dict[str, np.ndarray],
) -> None:
    known = CONDITIONER(**patch, day_of_year=46)
    assert known["observations"][:, 1, 2].tolist() == [1.0, 0.5]
    assert known["observed_mask"].sum() == 2
    assert np.count_nonzero(known["observations"]) == 2
    assert known["surface"][0, 0].tolist() == [0.0, -2.0, -2.0, -2.0]
    assert known["surface_mask"].sum() == 11
    assert {known[name].dtype for name in ("observations", "surface", "coordinates")} == {
        np.dtype(np.float32)
    }


def test_the_centre_lies_on_this_side_of_the_date_line(patch: dict[str, np.ndarray]) -> None:
    patch["longitude"] = patch["longitude"] + np.float32(2)
    assert CONDITIONER(**patch, day_of_year=46)["coordinates"].tolist() == [1.0, -178.5]


def test_the_first_guess_and_the_root_of_its_variance_come_along(patch: dict[str, np.ndarray]) -> None:
    samples = [CONDITIONER(**patch, day_of_year=46)] * 2
    assert "first_guess" not in collate(samples)
    known = collate(samples, InverseDistance())
    # One profile: its values everywhere, and nothing to compare it with.
    assert np.allclose(known["first_guess"], np.array([1, 0.5])[:, None, None])
    assert known["first_guess_error"][:, :, 1, 2].tolist() == [[0, 0]] * 2
    assert known["first_guess_error"][:, :, 0, 0].tolist() == [[1, 1]] * 2


def test_the_climatology_of_the_day_comes_along_standardised_and_zero_where_undefined_or_on_land(
    patch: dict[str, np.ndarray],
) -> None:
    # Mean and cosine of the year at two depths and of a surface variable.
    coefficients = np.zeros((3, 3, 3, 4), np.float32)
    coefficients[0] = np.array([20, 7, 26])[:, None, None]
    coefficients[1] = np.array([2, 1, 1])[:, None, None]
    coefficients[:, 0, 2, 0] = coefficients[:, 2, 0, 0] = np.nan
    climatology = Climatology(coefficients, patch["latitude"], patch["longitude"], 360.0, 366.0)
    patch["ocean_mask"][:, 0, 3] = False
    known = Conditioner(
        CONDITIONER.standardization, CONDITIONER.surface_standardization, climatology=climatology
    )(**patch, day_of_year=366)
    expected = np.full((2, 3, 4), np.array([2.0, 0.5])[:, None, None])
    expected[0, 2, 0] = expected[0, 0, 3] = expected[1, 0, 3] = 0
    np.testing.assert_allclose(known["background"], expected, atol=1e-6)
    surface = np.full((1, 3, 4), 4.0)
    surface[0, 0, 0] = 0
    np.testing.assert_allclose(known["surface_background"], surface, atol=1e-6)
    assert known["background"].dtype == known["surface_background"].dtype == np.float32
    assert not {"background", "surface_background"} & CONDITIONER(**patch, day_of_year=366).keys()
