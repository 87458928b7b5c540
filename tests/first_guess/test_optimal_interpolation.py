from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Estimate = Callable[[FirstGuess, Patch], tuple[np.ndarray, np.ndarray]]
AssertSame = Callable[..., None]


def plain(**changes: Any) -> OptimalInterpolation:
    """Optimal interpolation without noise, local mean, trend or surface."""
    options: dict[str, Any] = {
        "latitude_scale": 800.0,
        "longitude_scale": 800.0,
        "surface_scale": None,
        "nugget": 0.0,
    }
    return OptimalInterpolation(**options | changes)


def kilometres(degrees: float) -> float:
    """Along the equator, by the chord."""
    return 2 * EARTH_RADIUS * math.sin(math.radians(degrees) / 2)


def textbook(options: dict[str, Any], patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Optimal interpolation cell by cell and level by level as in a textbook, in float64."""
    shape = patch["ocean_mask"].shape
    height, width = shape[1:]
    lat = np.radians(np.repeat(patch["latitude"].astype(float), width))
    lon = np.radians(np.tile(patch["longitude"].astype(float), height))
    fields = fill_surface(patch["surface"], patch["surface_mask"]).reshape(-1, height * width)

    def covariance(i: int, j: int) -> float:
        cosines = math.cos(lat[i]), math.cos(lat[j])
        mean_inverse_square = (cosines[0] ** -2 + cosines[1] ** -2) / 2
        zonal = 2 * EARTH_RADIUS * math.sin((lon[i] - lon[j]) / 2) / math.sqrt(mean_inverse_square)
        r2 = (EARTH_RADIUS * (lat[i] - lat[j]) / options["latitude_scale"]) ** 2
        r2 += (zonal / options["longitude_scale"]) ** 2
        r2 += sum(((f[i] - f[j]) / options["surface_scale"]) ** 2 for f in fields)
        # Paciorek & Schervish, with kernels that are discs along the parallel.
        factor = 1 / (cosines[0] * cosines[1] * mean_inverse_square)
        trend = options["trend_variance"] * sum(f[i] * f[j] for f in fields)
        return factor * math.exp(-(r2 ** (options["covariance"] / 2))) + options["mean_variance"] + trend

    guess, variance = np.zeros(shape), patch["ocean_mask"].astype(float)
    for level in range(shape[0]):
        seen = np.flatnonzero(patch["observed_mask"][level])
        if not len(seen):
            continue
        values = patch["observations"][level].ravel()[seen].astype(float)
        matrix = np.array([[covariance(i, j) for j in seen] for i in seen])
        matrix += options["nugget"] * np.eye(len(seen))
        quadratic = values @ np.linalg.solve(matrix, values)
        prior = options["prior_profiles"]
        scale = (prior * options["variance"] + quadratic) / (prior + len(seen))
        for target in np.flatnonzero(patch["ocean_mask"][level]):
            towards = np.array([covariance(target, j) for j in seen])
            weights = np.linalg.solve(matrix, towards)
            guess[level].ravel()[target] = weights @ values
            variance[level].ravel()[target] = scale * (covariance(target, target) - weights @ towards)
    return guess, variance


@pytest.mark.parametrize("covariance", [2.0, 1.0, 1.4])
def test_optimal_interpolation_equals_the_textbook_solve(
    covariance: float, full: dict[str, Any], make_patch: MakePatch, estimate: Estimate
) -> None:
    options = full | {"covariance": covariance}
    patch = make_patch(surfaces=2)
    patch["observed_mask"][3] = False
    patch["observations"][3] = 0
    guess, variance = estimate(OptimalInterpolation(**options), patch)
    expected_guess, expected_variance = textbook(options, patch)
    np.testing.assert_allclose(guess, expected_guess, atol=1e-4)
    np.testing.assert_allclose(variance, expected_variance, atol=1e-4)


def test_names_of_covariances_stand_for_their_exponents(
    full: dict[str, Any], make_patch: MakePatch, assert_same: AssertSame
) -> None:
    patch = make_patch()
    for name, exponent in (("gaussian", 2.0), ("exponential", 1.0)):
        by_name, by_number = (
            OptimalInterpolation(**full | {"covariance": value})(PatchData(**patch))
            for value in (name, exponent)
        )
        assert_same(by_name, by_number)


def test_one_observation_spreads_as_its_correlation(single_row: MakePatch, estimate: Estimate) -> None:
    guess, variance = estimate(plain(), single_row({4: 1.5}))
    degrees = 2.0 * np.abs(np.arange(9) - 4)
    correlation = np.exp(-((np.array([kilometres(d) for d in degrees]) / 800) ** 2))
    np.testing.assert_allclose(guess[0, 0], 1.5 * correlation, atol=1e-6)
    np.testing.assert_allclose(variance[0, 0], 1 - correlation**2, atol=1e-6)


def test_far_from_all_observations_stands_the_training_mean(
    single_row: MakePatch, estimate: Estimate
) -> None:
    guess, variance = estimate(
        plain(latitude_scale=100.0, longitude_scale=100.0), single_row({0: 2.0, 1: -1.0}, step=5.0)
    )
    assert np.abs(guess[0, 0, 3:]).max() < 1e-6
    np.testing.assert_allclose(variance[0, 0, 3:], 1, atol=1e-6)


def test_between_two_equal_observations_the_estimate_is_symmetric(
    single_row: MakePatch, estimate: Estimate
) -> None:
    guess, variance = estimate(plain(nugget=0.1), single_row({2: 1.0, 6: 1.0}))
    np.testing.assert_allclose(guess, guess[..., ::-1], atol=1e-6)
    np.testing.assert_allclose(variance, variance[..., ::-1], atol=1e-6)
    opposed, _ = estimate(plain(nugget=0.1), single_row({2: 1.0, 6: -1.0}))
    np.testing.assert_allclose(opposed, -opposed[..., ::-1], atol=1e-6)
    assert opposed[0, 0, 4] == pytest.approx(0, abs=1e-6)


def test_a_free_local_mean_reproduces_a_constant_and_a_free_trend_a_line(
    make_patch: MakePatch, estimate: Estimate
) -> None:
    patch = make_patch(depths=1, profiles=6)
    filled = fill_surface(patch["surface"], patch["surface_mask"])
    for field, free in ((np.full_like(filled, 3.0), "mean_variance"), (2.0 * filled, "trend_variance")):
        patch["observations"] = np.where(patch["observed_mask"], field, 0).astype(np.float32)
        first_guess = plain(latitude_scale=200.0, longitude_scale=200.0, **{free: 1e4})
        guess, _ = estimate(first_guess, patch)
        np.testing.assert_allclose(guess[patch["ocean_mask"]], field[patch["ocean_mask"]], atol=2e-3)


def test_along_a_parallel_the_same_degrees_are_nearer_at_60_than_at_the_equator(
    single_row: MakePatch, estimate: Estimate
) -> None:
    at_equator, _ = estimate(plain(), single_row({0: 1.0}))
    at_60, _ = estimate(plain(), single_row({0: 1.0}, latitude=60.0))
    # At 60 degrees a parallel is half as long: two columns are as far as one at the equator.
    assert at_60[0, 0, 2] == pytest.approx(math.exp(-((0.5 * kilometres(4.0) / 800) ** 2)), abs=1e-5)
    assert at_60[0, 0, 2] > at_equator[0, 0, 2]


def test_a_nugget_keeps_the_estimate_off_the_observation(single_row: MakePatch, estimate: Estimate) -> None:
    guess, variance = estimate(plain(nugget=0.25), single_row({4: 1.0}))
    assert guess[0, 0, 4] == pytest.approx(1 / 1.25)
    assert variance[0, 0, 4] == pytest.approx(1 - 1 / 1.25)


def test_large_patches_are_solved_in_blocks_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch, full: dict[str, Any], make_patch: MakePatch
) -> None:
    patch, first_guess = make_patch(), OptimalInterpolation(**full)
    whole = first_guess(PatchData(**patch))
    monkeypatch.setattr("depthdif.first_guess.optimal_interpolation._BLOCK", 5)
    np.testing.assert_allclose(first_guess(PatchData(**patch)), whole, atol=1e-6)


def test_missing_surface_cells_are_never_read(
    full: dict[str, Any], make_patch: MakePatch, assert_same: AssertSame
) -> None:
    patch = make_patch(surfaces=2)
    first_guess = OptimalInterpolation(**full)
    expected = first_guess(PatchData(**patch))
    patch["surface"] = np.where(patch["surface_mask"], patch["surface"], np.nan).astype(np.float32)
    assert_same(first_guess(PatchData(**patch)), expected)


def test_a_surface_that_is_never_defined_has_no_effect(full: dict[str, Any], make_patch: MakePatch) -> None:
    patch = make_patch()
    patch["surface_mask"][:] = False
    none = patch | {"surface": patch["surface"][:0], "surface_mask": patch["surface_mask"][:0]}
    first_guess = OptimalInterpolation(**full)
    np.testing.assert_allclose(first_guess(PatchData(**patch)), first_guess(PatchData(**none)), atol=1e-6)


def test_optimal_interpolation_factorises_once_for_all_levels_for_estimate_error_and_misfit(
    monkeypatch: pytest.MonkeyPatch, full: dict[str, Any], make_patch: MakePatch
) -> None:
    factorised: list[int] = []
    cholesky = np.linalg.cholesky

    def counted(matrix: np.ndarray) -> np.ndarray:
        factorised.append(len(matrix))
        return cholesky(matrix)

    monkeypatch.setattr(np.linalg, "cholesky", counted)
    OptimalInterpolation(**full)(PatchData(**make_patch(profiles=12)))
    assert factorised == [12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "spherical"}, r"covariance=spherical; expected gaussian, exponential or a number"),
        ({"covariance": 2.5}, r"covariance=2.5; expected gaussian, exponential or a number"),
        ({"latitude_scale": 0.0}, r"latitude_scale=0.0; expected a number above 0"),
        ({"surface_scale": [1.0, -1.0]}, r"surface_scale=\[1.0, -1.0\]; expected a number above 0"),
        ({"nugget": -0.1}, r"model.first_guess.nugget=-0.1; expected a number from 0"),
        ({"prior_profiles": math.nan}, r"prior_profiles=nan; expected"),
    ],
)
def test_optimal_interpolation_refuses_values_out_of_range(
    options: dict[str, Any], message: str, full: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=message):
        OptimalInterpolation(**full | options)


def test_as_many_surface_scales_as_surface_fields_are_expected(
    full: dict[str, Any], make_patch: MakePatch, assert_same: AssertSame
) -> None:
    patch = make_patch(surfaces=2)
    each = OptimalInterpolation(**full | {"surface_scale": [1.5, 1.5], "trend_variance": [0.7, 0.7]})
    known = PatchData(**patch)
    assert_same(each(known), OptimalInterpolation(**full)(known))
    with pytest.raises(UserError, match=r"surface_scale=\[1.0, 2.0, 3.0\] for 2 surface fields"):
        OptimalInterpolation(**full | {"surface_scale": [1.0, 2.0, 3.0]})(known)
