from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]
Textbook = Callable[[dict[str, Any], Patch], list[np.ndarray]]
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


@pytest.mark.parametrize("covariance", [2.0, 1.0, 1.4])
def test_optimal_interpolation_equals_the_textbook_solve(
    covariance: float, full: dict[str, Any], make_patch: MakePatch, batched: Batched, textbook: Textbook
) -> None:
    options = full | {"covariance": covariance}
    patch = make_patch(surfaces=2)
    patch["observed_mask"][3] = False
    patch["observations"][3] = 0
    result = OptimalInterpolation(**options)(batched(patch))
    for field, expected in zip(result, textbook(options, patch), strict=True):
        np.testing.assert_allclose(field[0], expected, atol=1e-6)


def test_names_of_covariances_stand_for_their_exponents(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = make_patch()
    for name, exponent in (("gaussian", 2.0), ("exponential", 1.0)):
        by_name, by_number = (
            OptimalInterpolation(**full | {"covariance": value})(batched(patch)) for value in (name, exponent)
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
    filled = fill_surface(*map(torch.from_numpy, (patch["surface"], patch["surface_mask"]))).numpy()
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
    monkeypatch: pytest.MonkeyPatch, full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    patches = batched(*(make_patch(seed=seed, gaps=0.2) for seed in range(3)))
    for first_guess in (OptimalInterpolation(**full), InverseDistance()):
        whole = first_guess(patches)
        with monkeypatch.context() as patched:
            patched.setattr("depthdif.first_guess.interpolation._CPU_PAIRS", 5)
            for block, expected in zip(first_guess(patches), whole, strict=True):
                np.testing.assert_allclose(block, expected, atol=1e-6)


def test_missing_surface_cells_are_never_read(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = make_patch(surfaces=2)
    first_guess = OptimalInterpolation(**full)
    expected = first_guess(batched(patch))
    patch["surface"] = np.where(patch["surface_mask"], patch["surface"], np.nan).astype(np.float32)
    assert_same(first_guess(batched(patch)), expected)


def test_a_surface_that_is_never_defined_has_no_effect(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch()
    patch["surface_mask"][:] = False
    none = patch | {"surface": patch["surface"][:0], "surface_mask": patch["surface_mask"][:0]}
    first_guess = OptimalInterpolation(**full)
    for one, other in zip(first_guess(batched(patch)), first_guess(batched(none)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


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
    full: dict[str, Any], make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = make_patch(surfaces=2)
    each = OptimalInterpolation(**full | {"surface_scale": [1.5, 1.5], "trend_variance": [0.7, 0.7]})
    known = batched(patch)
    assert_same(each(known), OptimalInterpolation(**full)(known))
    with pytest.raises(UserError, match=r"surface_scale=\[1.0, 2.0, 3.0\] for 2 surface fields"):
        OptimalInterpolation(**full | {"surface_scale": [1.0, 2.0, 3.0]})(known)
