from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]
Estimate = Callable[[FirstGuess, Patch], tuple[np.ndarray, np.ndarray]]
AssertSame = Callable[..., None]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), profiles=st.integers(1, 30), covariance=st.floats(0.5, 2))
def test_without_nugget_observations_are_met_and_nothing_is_nan_or_on_land(
    seed: int,
    profiles: int,
    covariance: float,
    full: dict[str, Any],
    make_patch: MakePatch,
    estimate: Estimate,
) -> None:
    patch = make_patch(profiles=profiles, seed=seed)
    options = full | {"covariance": covariance, "nugget": 0.0}
    for first_guess in (OptimalInterpolation(**options), InverseDistance()):
        guess, variance = estimate(first_guess, patch)
        seen, land = patch["observed_mask"], ~patch["ocean_mask"]
        np.testing.assert_allclose(guess[seen], patch["observations"][seen], atol=1e-3)
        assert np.abs(variance[seen]).max() < 1e-3
        assert np.isfinite(guess).all()
        assert np.isfinite(variance).all()
        assert (variance >= 0).all()
        assert not guess[land].any()
        assert not variance[land].any()
        assert guess.dtype == variance.dtype == np.float32


def test_a_level_without_observation_is_the_training_mean_with_variance_one(
    first_guess: FirstGuess, make_patch: MakePatch, estimate: Estimate
) -> None:
    patch = make_patch()
    for empty in ([2, 3], [0, 1, 2, 3]):
        patch["observed_mask"][empty] = False
        patch["observations"][empty] = 0
        guess, variance = estimate(first_guess, patch)
        assert not guess[empty].any()
        np.testing.assert_array_equal(variance[empty], patch["ocean_mask"][empty])


@pytest.mark.parametrize("nested", [True, False])
def test_all_levels_together_equal_level_by_level(
    first_guess: FirstGuess, nested: bool, make_patch: MakePatch, estimate: Estimate
) -> None:
    patch = make_patch(profiles=15)
    if not nested:
        generator = np.random.default_rng(1)
        patch["observed_mask"] &= generator.random(patch["observed_mask"].shape) > 0.4
        patch["observations"] = np.where(patch["observed_mask"], patch["observations"], 0).astype(np.float32)
    together = estimate(first_guess, patch)
    by_level = ("observations", "observed_mask", "ocean_mask")
    for level in range(4):
        alone = estimate(first_guess, patch | {name: patch[name][level : level + 1] for name in by_level})
        np.testing.assert_allclose(together[0][level], alone[0][0], atol=1e-6)
        np.testing.assert_allclose(together[1][level], alone[1][0], atol=1e-6)


def test_leave_one_out_equals_leaving_each_profile_out(
    make_patch: MakePatch, batched: Batched, estimate: Estimate
) -> None:
    patch = make_patch(profiles=8, seed=3)
    first_guess = InverseDistance()
    errors = first_guess.leave_one_out(batched(patch))[0][0].numpy()
    assert (errors[~patch["observed_mask"]] == 0).all()
    compared = 0
    for level, row, column in np.argwhere(patch["observed_mask"]):
        without = {name: patch[name].copy() for name in patch}
        without["observed_mask"][level, row, column] = False
        without["observations"][level, row, column] = 0
        if not without["observed_mask"][level].any():
            continue
        compared += 1
        guess, _ = estimate(first_guess, without)
        truth = patch["observations"][level, row, column]
        assert errors[level, row, column] == pytest.approx(truth - guess[level, row, column], abs=1e-4)
    assert compared > 10


def test_nan_and_observations_on_land_are_refused_where_the_patch_is_made(
    make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch()
    missing = patch["observations"].copy()
    missing[patch["observed_mask"]] = np.nan
    with pytest.raises(UserError, match="observations are NaN or infinite; expected finite values"):
        batched(patch | {"observations": missing})
    with pytest.raises(UserError, match="observations lie outside the ocean mask; expected"):
        batched(patch | {"ocean_mask": np.zeros_like(patch["ocean_mask"])})
    with pytest.raises(UserError, match="surface values are NaN or infinite where surface_mask is true"):
        batched(patch | {"surface": np.full_like(patch["surface"], np.nan)})


def test_one_call_gives_the_misfit_of_leave_one_out(
    first_guess: FirstGuess, make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = batched(make_patch())
    result = first_guess(patch)
    assert result.misfit.count_nonzero() > 10
    assert_same((result.misfit, result.misfit_variance), first_guess.leave_one_out(patch))


def test_first_guesses_travel_to_data_workers(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = batched(make_patch())
    for first_guess in (OptimalInterpolation(**full), InverseDistance()):
        travelled = pickle.loads(pickle.dumps(first_guess))
        assert_same(travelled(patch), first_guess(patch))


def test_first_guesses_do_not_import_lightning() -> None:
    code = (
        "import sys, depthdif.first_guess.optimal_interpolation;assert 'pytorch_lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def about_a_background(patch: Patch) -> Patch:
    """The same anomalies, about a background that is not 0."""
    generator = np.random.default_rng(9)
    ocean, surface = patch["ocean_mask"], patch["surface_mask"]
    background = np.where(ocean, generator.normal(size=ocean.shape), 0).astype(np.float32)
    below = generator.normal(size=surface.shape).astype(np.float32)
    return patch | {
        "observations": np.where(patch["observed_mask"], patch["observations"] + background, 0),
        "surface": np.where(surface, patch["surface"] + below, 0),
        "background": background,
        "surface_background": below,
    }


def test_about_a_climatology_the_anomalies_are_interpolated_and_the_background_is_added(
    first_guess: FirstGuess, make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch()
    patch["observed_mask"][3] = False
    patch["observations"][3] = 0
    expected = first_guess(batched(patch))
    about = batched(about_a_background(patch))
    changed = dataclasses.replace(first_guess, background="climatology")  # type: ignore[type-var]
    result = changed(about)
    assert about.background is not None
    np.testing.assert_allclose(result.estimate, expected.estimate + about.background, atol=1e-5)
    np.testing.assert_allclose(result.misfit, expected.misfit, atol=1e-5)
    np.testing.assert_allclose(result.misfit_variance, expected.misfit_variance, atol=1e-5)
    np.testing.assert_allclose(changed.leave_one_out(about)[0], result.misfit, atol=1e-9)
    assert not result.estimate[0].numpy()[~patch["ocean_mask"]].any()
    assert result.estimate.dtype == torch.float32


def test_about_the_mean_profile_a_climatology_has_no_effect(
    first_guess: FirstGuess, make_patch: MakePatch, batched: Batched, assert_same: AssertSame
) -> None:
    patch = about_a_background(make_patch())
    without = {name: value for name, value in patch.items() if "background" not in name}
    assert_same(first_guess(batched(patch)), first_guess(batched(without)))


@pytest.mark.parametrize("kind", [OptimalInterpolation, InverseDistance])
def test_an_unknown_background_or_a_missing_climatology_is_one_error(
    kind: type, full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    options = full if kind is OptimalInterpolation else {}
    with pytest.raises(
        UserError, match=r"background=mean; expected mean_profile or climatology, e\.g\. model"
    ):
        kind(**options, background="mean")
    with pytest.raises(
        UserError, match=r"no climatology was measured; set data/climatology=seasonal, or model"
    ):
        kind(**options, background="climatology")(batched(make_patch()))


def test_a_patch_takes_the_background_of_its_batch(make_patch: MakePatch, batched: Batched) -> None:
    patch = about_a_background(make_patch())
    found = {
        name
        for name, value in vars(batched(patch | {"target": patch["observations"]})).items()
        if value is not None
    }
    assert found == patch.keys() | {"columns"}
    for name in ("background", "surface_background"):
        missing = patch[name].copy()
        missing[0, 0, 0] = np.nan
        with pytest.raises(UserError, match="1 background values are NaN or infinite; expected 0 where it"):
            batched(patch | {name: missing})
        del patch[name]
    assert batched(patch).background is None
