from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.domain import domain_first_guess
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, FirstGuessResult, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]

GAUSSIAN = OptimalInterpolation(latitude_scale=300.0, longitude_scale=300.0, surface_scale=None, nugget=0.01)


def with_climatology(patch: Patch) -> Patch:
    """A patch with a background and regressions."""
    generator = np.random.default_rng(5)
    (depths, *grid), surfaces = patch["observations"].shape, len(patch["surface"])
    factor = generator.normal(size=(depths, 2))
    new = {
        "background": generator.normal(size=(depths, *grid)),
        "surface_background": generator.normal(size=(surfaces, *grid)),
        "surface_slopes": generator.normal(size=(depths, surfaces)),
        "level_covariance": factor @ factor.T + 0.1 * np.eye(depths),
    }
    return patch | {name: values.astype(np.float32) for name, values in new.items()}


def smooth_field(
    profiles: int, seed: int, shape: tuple[int, int] = (72, 72), extent: float = 20.0
) -> tuple[Patch, np.ndarray]:
    """One level of a sum of waves, without land or surface, observed in some cells; and the whole field."""
    generator = np.random.default_rng(seed)
    height, width = shape
    latitude, longitude = 20 + np.linspace(0, extent, height), np.arange(width) * extent / width
    north, east = np.meshgrid(latitude, longitude, indexing="ij")
    field = sum(
        a * np.sin(0.8 * (b * north + c * east) + d) / 2 for a, b, c, d in generator.normal(size=(12, 4))
    )
    field = np.asarray(field, np.float32)[None]
    observed = np.zeros(height * width, bool)
    observed[generator.choice(height * width, profiles, replace=False)] = True
    observed = observed.reshape(1, height, width)
    patch = {
        "observations": np.where(observed, field, 0),
        "observed_mask": observed,
        "ocean_mask": np.ones_like(observed),
        "surface": np.zeros((0, height, width), np.float32),
        "surface_mask": np.zeros((0, height, width), bool),
        "latitude": latitude.astype(np.float32),
        "longitude": longitude.astype(np.float32),
    }
    return patch, field


@pytest.mark.parametrize("profiles", [0, 1, 60])
@pytest.mark.parametrize("kind", ["oi", "oi_with_climatology_and_regressions", "idw"])
def test_it_is_the_exact_first_guess_where_all_profiles_fit_into_a_neighbourhood(
    kind: str, profiles: int, full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    first_guess: FirstGuess = {
        "oi": OptimalInterpolation(**full),
        "oi_with_climatology_and_regressions": OptimalInterpolation(
            **full, regressions=True, background="climatology"
        ),
        "idw": InverseDistance(background="climatology"),
    }[kind]
    patch = make_patch(depths=5, height=40, width=57, profiles=profiles, surfaces=2, seed=3, gaps=0.3)
    domain = batched(with_climatology(patch))
    finished: list[int] = []
    result = domain_first_guess(first_guess, domain, neighbours=60, advance=finished.append)
    for field, exact in zip(result, first_guess(domain), strict=True):
        assert field.dtype == torch.float32
        np.testing.assert_allclose(field, exact, rtol=3e-6, atol=3e-6)
    assert len(finished) > (profiles > 1)
    assert sum(finished) == 40 * 57


def test_without_any_profile_it_is_the_background(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    patch = with_climatology(make_patch(profiles=0))
    first_guess = OptimalInterpolation(**full, background="climatology")
    estimate, variance, misfit, misfit_variance = domain_first_guess(first_guess, batched(patch))
    np.testing.assert_allclose(estimate[0], np.where(patch["ocean_mask"], patch["background"], 0), atol=1e-6)
    assert torch.isfinite(variance).all()
    assert not misfit.any()
    assert not misfit_variance.any()


def test_a_domain_without_ocean_is_empty(
    full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    patch = make_patch(profiles=0)
    patch["ocean_mask"][:] = False
    for field in domain_first_guess(OptimalInterpolation(**full), batched(patch)):
        assert not field.any()


def jumps(result: FirstGuessResult, exact: FirstGuessResult) -> np.ndarray:
    """(W - 1,) mean size of what blocks add to the difference between neighbouring columns."""
    departure = (result.estimate - exact.estimate)[0, 0]
    return departure.diff(dim=1).abs().mean(dim=0).numpy()


@pytest.mark.parametrize("blended", [True, False])
def test_there_is_no_seam_between_blocks_and_there_is_one_without_blending(
    blended: bool, monkeypatch: pytest.MonkeyPatch, batched: Batched
) -> None:
    monkeypatch.setattr("depthdif.first_guess.domain._SIDES", (8,))
    if not blended:
        # Each cell from the one block whose middle it lies in.
        monkeypatch.setattr(
            "depthdif.first_guess.blocks._ramp", lambda side: np.array([1e-9, 1e-9, 1, 1, 1, 1, 1e-9, 1e-9])
        )
    # Blocks start every 4 columns, so that a seam recurs every 4 columns. Those at both edges have one block.
    ratios = np.empty((12, 4))
    for seed in range(12):
        domain = batched(smooth_field(160, seed)[0])
        size = jumps(domain_first_guess(GAUSSIAN, domain, neighbours=32), GAUSSIAN(domain))
        ratios[seed] = size[4:-3].reshape(-1, 4).mean(axis=0) / size[4:-3].mean()
    # The interval of 12 samples is 2.2 standard errors.
    error = 2.2 * ratios.std(axis=0, ddof=1) / math.sqrt(12)
    if blended:
        print(ratios.mean(0), error)
        assert (ratios.mean(axis=0) + error).max() < 1.1
    else:
        assert (ratios.mean(axis=0) - error).max() > 1.5


def test_near_profiles_say_nearly_all(batched: Batched) -> None:
    patch, field = smooth_field(500, seed=1)
    domain = batched(patch)
    result, exact = domain_first_guess(GAUSSIAN, domain, neighbours=100), GAUSSIAN(domain)
    error, departure = exact.estimate[0] - torch.from_numpy(field), result.estimate - exact.estimate
    assert departure.square().mean() < 0.3**2 * error.square().mean()
    better = (result.estimate[0] - torch.from_numpy(field)).square().mean() / error.square().mean()
    assert better == pytest.approx(1, abs=0.1)


def test_observed_cells_keep_their_observations_and_have_a_misfit(batched: Batched) -> None:
    patch, _ = smooth_field(500, seed=2)
    observed = patch["observed_mask"]
    exact = OptimalInterpolation(
        latitude_scale=300.0, longitude_scale=300.0, surface_scale=None, nugget=0.0, covariance=1.0
    )
    for first_guess in (exact, InverseDistance()):
        estimate, variance, misfit, misfit_variance = (
            field[0].numpy() for field in domain_first_guess(first_guess, batched(patch), neighbours=32)
        )
        np.testing.assert_allclose(estimate[observed], patch["observations"][observed], atol=1e-5)
        np.testing.assert_allclose(variance[observed], 0, atol=1e-6)
        np.testing.assert_array_equal(misfit_variance > 0, observed)
        np.testing.assert_array_equal(misfit != 0, observed)


@pytest.mark.parametrize("longitude_step", [9.0, 0.5])
def test_rotating_a_periodic_domain_rotates_the_result(
    longitude_step: float, make_patch: MakePatch, batched: Batched
) -> None:
    # The globe, and a channel of 20 degrees.
    first_guess = OptimalInterpolation(
        latitude_scale=150.0,
        longitude_scale=120.0 * longitude_step,
        surface_scale=1.5,
        nugget=0.05,
        # With a trend every profile counts, also those for which the channel is cut on its other side.
        trend_variance=0.5 if longitude_step == 9 else 0.0,
    )
    patch = make_patch(depths=2, height=20, width=40, profiles=70, surfaces=1, seed=4)
    patch["ocean_mask"][:] = True
    patch["latitude"] = (np.arange(20) / 2).astype(np.float32)
    patch["longitude"] = (np.arange(40) * longitude_step).astype(np.float32)
    degrees = 40 * longitude_step
    result = domain_first_guess(first_guess, batched(patch), neighbours=80, period=degrees)
    for steps in (1, 17):
        rotated = {
            name: values if name in ("latitude", "longitude") else np.roll(values, steps, axis=-1)
            for name, values in patch.items()
        }
        there = domain_first_guess(first_guess, batched(rotated), neighbours=80, period=degrees)
        for field, expected in zip(there, result, strict=True):
            np.testing.assert_allclose(field, expected.roll(steps, dims=-1), rtol=1e-4, atol=1e-5)


def test_one_observation_spreads_across_the_seam_of_a_channel_as_its_correlation(
    single_row: MakePatch, batched: Batched
) -> None:
    # A channel of 18 degrees, observed in its first column.
    patch = single_row({0: 1.5}, width=36, step=0.5)
    first_guess = OptimalInterpolation(
        latitude_scale=100.0, longitude_scale=100.0, surface_scale=None, nugget=0.0
    )
    estimate, *_ = domain_first_guess(first_guess, batched(patch), period=18.0)
    columns = np.arange(36)
    degrees = 0.5 * np.minimum(columns, 36 - columns)
    kilometres = 2 * EARTH_RADIUS * np.sin(np.radians(degrees) / 2)
    np.testing.assert_allclose(estimate[0, 0, 0], 1.5 * np.exp(-((kilometres / 100) ** 2)), atol=1e-5)


def test_a_first_guess_of_another_kind_is_called_with_the_whole_domain(
    make_patch: MakePatch, batched: Batched
) -> None:
    class Persistence:
        def __call__(self, patches: PatchData) -> FirstGuessResult:
            return FirstGuessResult(*(patches.observations.double() + number for number in range(4)))

        def leave_one_out(self, patches: PatchData) -> tuple[torch.Tensor, torch.Tensor]:
            raise NotImplementedError

    domain = batched(make_patch())
    finished: list[int] = []
    for number, field in enumerate(domain_first_guess(Persistence(), domain, advance=finished.append)):
        torch.testing.assert_close(field, domain.observations + number)
    assert finished == [7 * 9]


def test_a_neighbourhood_of_fewer_than_16_profiles_is_refused(
    make_patch: MakePatch, batched: Batched
) -> None:
    with pytest.raises(UserError, match=r"neighbours=8 .*expected at least 16 profiles, e.g. neighbours=100"):
        domain_first_guess(InverseDistance(), batched(make_patch()), neighbours=8)
