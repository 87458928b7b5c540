"""What the surface and the other levels of a profile say of a level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.first_guess.columns import Profiles
from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import PatchData
from depthdif.first_guess.regressions import Regressions, completed, measure_regressions

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]


def profiles(values: np.ndarray, observed: np.ndarray) -> Profiles:
    seen = torch.tensor(np.asarray(observed, bool))[None]
    known = torch.where(seen, torch.tensor(values, dtype=torch.float64), 0)
    return Profiles(known, seen, torch.zeros_like(known))


def filled_gaps(known: Profiles, ocean: np.ndarray, covariance: np.ndarray, nugget: float) -> Profiles:
    """The profiles of one patch, (D, N)."""
    tensors = torch.tensor(np.asarray(ocean))[None], torch.tensor(covariance)[None]
    found = completed(known, *tensors, nugget, incomplete=known.values.shape[2])
    return Profiles(*(part[0].numpy() for part in found))


def test_a_missing_level_is_an_observation_whose_noise_leaves_the_regression_as_posterior_mean() -> None:
    correlation, variance = 0.8, np.array([4.0, 9.0])
    covariance = np.outer(*[np.sqrt(variance)] * 2) * np.array([[1, correlation], [correlation, 1]])
    found = filled_gaps(
        profiles(np.array([[1.0], [0.0]]), np.array([[1], [0]])), np.ones((2, 1), bool), covariance, 0.0
    )
    assert found.observed.all()
    assert found.values[0, 0] == 1
    assert found.noise[0, 0] == 0
    assert found.noise[1, 0] == pytest.approx(1 / correlation**2 - 1, rel=1e-4)
    # The prior N(0, 9) and this observation, of which the noise is relative to 9.
    posterior = found.values[1, 0] / (1 + found.noise[1, 0])
    assert posterior == pytest.approx(correlation * 3 / 2, rel=1e-4)


def test_levels_below_the_floor_and_levels_that_the_others_do_not_explain_stay_missing() -> None:
    covariance = np.array([[1, 0.9, 0.2], [0.9, 1, 0.2], [0.2, 0.2, 1]])
    ocean = np.array([[1, 1], [1, 0], [1, 1]], bool)
    given_profiles = profiles(np.ones((3, 2)), np.array([[1, 1], [0, 0], [0, 0]]))
    assert filled_gaps(given_profiles, ocean, covariance, 0.0).observed.tolist() == [
        [True, True],
        [True, False],
        [False, False],
    ]


@given(seed=st.integers(0, 2**32), nugget=st.sampled_from([0.0, 0.01, 1.0]))
def test_what_is_observed_is_kept_and_every_estimate_is_that_of_its_profile_alone(
    seed: int, nugget: float
) -> None:
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(5, 3))
    covariance = factor @ factor.T + 0.01 * np.eye(5)
    observed = generator.random((5, 6)) > 0.5
    observed[:, 0] = True
    known = profiles(generator.normal(size=(5, 6)), observed)
    found = filled_gaps(known, np.ones((5, 6), bool), covariance, nugget)
    np.testing.assert_array_equal(found.values[observed], known.values[0].numpy()[observed])
    assert not found.noise[observed].any()
    assert (found.noise >= 0).all()
    assert np.isfinite(found.values).all()
    for column in range(6):
        seen = observed[:, column]
        if seen.any():
            matrix = covariance[np.ix_(seen, seen)] + nugget * np.diag(np.diag(covariance)[seen])
            expected = covariance[:, seen] @ np.linalg.solve(matrix, known.values[0].numpy()[seen, column])
            added = found.observed[:, column] & ~seen
            posterior = found.values[:, column] / (1 + found.noise[:, column])
            np.testing.assert_allclose(posterior[added], expected[added], rtol=1e-2, atol=1e-2)


def filled(patch: Patch) -> np.ndarray:
    """The surface without gaps."""
    return fill_surface(*map(torch.from_numpy, (patch["surface"], patch["surface_mask"]))).numpy()


def as_batch(*samples: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}


def sample_of(field: np.ndarray, patch: Patch) -> dict[str, Any]:
    ocean = patch["ocean_mask"]
    return patch | {"target": np.where(ocean, field, 0).astype(np.float32), "target_mask": ocean}


def test_the_regressions_are_least_squares_over_the_ocean(make_patch: MakePatch) -> None:
    generator = np.random.default_rng(1)
    patches = [make_patch(surfaces=2, seed=seed) for seed in range(3)]
    samples = [sample_of(generator.normal(size=patch["ocean_mask"].shape), patch) for patch in patches]
    found = measure_regressions(lambda: [as_batch(*samples[:2]), as_batch(samples[2])], "mean_profile")
    surface, remainder = [], []
    for level in range(4):
        ocean = [sample["ocean_mask"][level] for sample in samples]
        fields = [filled(sample) for sample in samples]
        surface.append(
            np.concatenate([field[:, cells] for field, cells in zip(fields, ocean, strict=True)], axis=1)
        )
        level_values = np.concatenate(
            [sample["target"][level][cells] for sample, cells in zip(samples, ocean, strict=True)]
        )
        slopes = np.linalg.lstsq(surface[-1].T, level_values)[0]
        np.testing.assert_allclose(found.surface_slopes[level], slopes, atol=1e-5)
        remainder.append(level_values - slopes @ surface[-1])
    variances = [np.mean(np.square(values)) for values in remainder]
    np.testing.assert_allclose(np.diag(found.level_covariance), variances, rtol=1e-4)


def test_they_are_of_the_anomalies_from_the_background(make_patch: MakePatch) -> None:
    patch = make_patch()
    ocean = patch["ocean_mask"]
    background = np.where(ocean, np.random.default_rng(3).normal(size=ocean.shape), 0)
    surface = filled(patch)
    below = np.full_like(patch["surface"], 2.0)
    sample = sample_of(background + 3 * surface, patch) | {
        "background": background,
        "surface_background": below,
        "surface": np.where(patch["surface_mask"], patch["surface"] + below, 0),
    }
    found = measure_regressions(lambda: [as_batch(sample)], "climatology")
    np.testing.assert_allclose(found.surface_slopes, 3, rtol=1e-5)
    np.testing.assert_allclose(found.level_covariance, 0, atol=1e-8)


def informed(patch: Patch, slopes: np.ndarray, covariance: np.ndarray) -> Patch:
    return patch | {
        "surface_slopes": slopes.astype(np.float32),
        "level_covariance": covariance.astype(np.float32),
    }


def test_a_field_that_the_surface_determines_is_reproduced_without_any_profile(
    make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch(surfaces=2)
    surface = filled(patch)
    slopes = np.random.default_rng(2).normal(size=(4, 2))
    field = np.where(patch["ocean_mask"], np.einsum("ds,shw->dhw", slopes, surface), 0)
    first_guess = OptimalInterpolation(500.0, 500.0, None, 0.01, variance=0.25, regressions=True)
    for observed in (patch["observed_mask"], np.zeros_like(patch["observed_mask"])):
        seen = patch | {"observations": np.where(observed, field, 0), "observed_mask": observed}
        result = first_guess(batched(informed(seen, slopes, 0.01 * np.eye(4))))
        np.testing.assert_allclose(result.estimate[0], field, atol=1e-5)
        np.testing.assert_allclose(result.misfit, 0, atol=1e-6)
    # Without any observation: that of the remainder.
    np.testing.assert_allclose(result.error_variance[0], 0.25 * patch["ocean_mask"])


def test_levels_that_are_independent_and_slopes_of_0_change_nothing(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch()
    plain = OptimalInterpolation(**full)(batched(patch))
    result = OptimalInterpolation(**full, regressions=True)(
        batched(informed(patch, np.zeros((4, 1)), np.eye(4)))
    )
    np.testing.assert_allclose(result.estimate, plain.estimate, atol=1e-6)
    np.testing.assert_allclose(result.misfit, plain.misfit, atol=1e-6)


def test_a_level_that_is_observed_elsewhere_alone_is_estimated_at_the_profile_too(
    make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch(depths=2, profiles=1)
    row, column = np.argwhere(patch["ocean_mask"].all(axis=0))[0]
    patch["observed_mask"][:] = False
    patch["observed_mask"][0, row, column] = True
    patch["observations"] = np.where(patch["observed_mask"], 1.5, 0)
    first_guess = OptimalInterpolation(500.0, 500.0, None, 0.0, regressions=True)
    result = first_guess(batched(informed(patch, np.zeros((2, 1)), np.array([[1, 0.8], [0.8, 1]]))))
    assert result.estimate[0, :, row, column].numpy() == pytest.approx([1.5, 0.8 * 1.5], rel=1e-4)
    assert result.error_variance[0, 1, row, column].item() == pytest.approx(1 - 0.8**2, rel=1e-3)
    # An estimate is no observation, and has no misfit.
    assert result.misfit[0].argwhere().tolist() == [[0, row, column]]
    assert result.misfit_variance[0].argwhere().tolist() == [[0, row, column]]


def test_samples_without_regressions_are_one_error(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    with pytest.raises(
        UserError, match=r"the samples hold no regressions; .* set model.first_guess.regressions=false"
    ):
        OptimalInterpolation(**full, regressions=True)(batched(make_patch()))


def test_the_state_is_restored_from_lists() -> None:
    regressions = Regressions(
        np.ones((2, 1), np.float32), np.eye(2, dtype=np.float32), np.ones((2, 1, 1), np.float32)
    )
    state = {name: value.tolist() for name, value in vars(regressions).items()}
    restored = Regressions.from_state(state)
    for name, value in vars(regressions).items():
        np.testing.assert_array_equal(vars(restored)[name], value)
        assert vars(restored)[name].dtype == np.float32


def test_parts_that_are_apart_have_no_covariance_with_each_other_and_that_of_themselves(
    make_patch: MakePatch,
) -> None:
    generator = np.random.default_rng(3)
    patches = [make_patch(surfaces=1, seed=seed) for seed in range(3)]
    samples = [sample_of(generator.normal(size=patch["ocean_mask"].shape), patch) for patch in patches]
    joint, apart = (
        measure_regressions(lambda: [as_batch(*samples)], "mean_profile", parts) for parts in (1, 2)
    )
    assert np.abs(joint.level_covariance[:2, 2:]).max() > 1e-3
    assert (apart.level_covariance[:2, 2:] == 0).all()
    assert (apart.level_covariance[2:, :2] == 0).all()
    np.testing.assert_allclose(
        apart.level_covariance[:2, :2], joint.level_covariance[:2, :2], rtol=0.05, atol=1e-3
    )
    np.testing.assert_array_equal(apart.surface_slopes, joint.surface_slopes)


def test_given_all_surface_fields_they_are_unchanged_and_given_some_they_are_the_regression_on_these(
    make_patch: MakePatch,
) -> None:
    generator = np.random.default_rng(5)
    patches = [make_patch(surfaces=3, seed=seed) for seed in range(4)]
    everywhere = np.ones_like(patches[0]["ocean_mask"])
    samples = []
    for patch in patches:
        fields = filled(patch)
        # Correlated fields: the slope on one alone is another than with the others.
        fields = np.stack([fields[0], fields[0] + 0.5 * fields[1], fields[2]])
        target = np.einsum("ds,shw->dhw", generator.normal(size=(4, 3)), fields) + generator.normal(
            size=everywhere.shape
        )
        samples.append({
            **patch, "surface": fields.astype(np.float32), "surface_mask": np.ones_like(patch["surface_mask"]),
            "target": target.astype(np.float32), "target_mask": everywhere, "ocean_mask": everywhere,
            "observed_mask": np.zeros_like(everywhere), "observations": np.zeros_like(patch["observations"]),
        })  # fmt: skip
    found = measure_regressions(lambda: [as_batch(*samples)], "mean_profile")
    slopes, covariance = found.given(np.array([True, True, True]))
    assert slopes is found.surface_slopes
    assert covariance is found.level_covariance
    surface = np.concatenate([sample["surface"].reshape(3, -1) for sample in samples], axis=1)
    values = np.concatenate([sample["target"].reshape(4, -1) for sample in samples], axis=1)
    for present in ([True, False, True], [False, True, False], [False, False, False]):
        kept = np.array(present)
        slopes, covariance = found.given(kept)
        expected = np.linalg.lstsq(surface[kept].T, values.T)[0].T
        assert (slopes[:, ~kept] == 0).all()
        np.testing.assert_allclose(slopes[:, kept], expected, atol=1e-4)
        remainder = values - expected @ surface[kept]
        np.testing.assert_allclose(
            covariance, remainder @ remainder.T / remainder.shape[1], rtol=1e-3, atol=1e-3
        )
