"""Patches with few cells, the first guesses that are tested on them, their dense oracle, and how results are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from depthdif import EARTH_RADIUS
from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]
Estimate = Callable[[FirstGuess, Patch], tuple[np.ndarray, np.ndarray]]
AssertSame = Callable[..., None]
Textbook = Callable[[dict[str, Any], Patch], list[np.ndarray]]

# A correlation short enough that distant cells are independent, with every term switched on.
FULL: dict[str, Any] = {
    "covariance": 1.5,
    "latitude_scale": 900.0,
    "longitude_scale": 2000.0,
    "surface_scale": 1.5,
    "nugget": 0.01,
    "mean_variance": 0.2,
    "trend_variance": 0.7,
    "variance": 0.3,
    "prior_profiles": 5.0,
}


@pytest.fixture(scope="session")
def full() -> dict[str, Any]:
    """Options of an optimal interpolation with every term switched on."""
    return FULL


@pytest.fixture(
    params=[
        OptimalInterpolation(**FULL),
        OptimalInterpolation(**FULL | {"prior_profiles": math.inf}),
        InverseDistance(),
    ],
    ids=["oi", "oi_prior_variance", "idw"],
)
def first_guess(request: pytest.FixtureRequest) -> FirstGuess:
    """Each first guess."""
    return request.param


@pytest.fixture(scope="session")
def make_patch() -> MakePatch:
    """A random patch: land in the first columns, a sloping floor, profiles that end early, gaps in the surface.

    `gaps` is the share of the observations that are left out at random.
    """

    def made(
        depths: int = 4,
        height: int = 7,
        width: int = 9,
        profiles: int = 12,
        surfaces: int = 1,
        seed: int = 0,
        gaps: float = 0.0,
    ) -> Patch:
        generator = np.random.default_rng(seed)
        ocean = np.arange(depths)[:, None, None] < np.clip(np.arange(width), 0, depths)
        ocean = np.broadcast_to(ocean, (depths, height, width)).copy()
        columns = generator.choice(np.flatnonzero(ocean[0]), profiles, replace=False)
        ends = generator.integers(1, depths + 1, profiles)
        observed = np.zeros((depths, height * width), bool)
        observed[:, columns] = np.arange(depths)[:, None] < ends
        observed = observed.reshape(ocean.shape) & ocean
        defined = generator.random((surfaces, height, width)) > 0.2
        if gaps:
            observed &= generator.random(observed.shape) > gaps
        return {
            "observations": np.where(observed, generator.normal(size=ocean.shape), 0).astype(np.float32),
            "observed_mask": observed,
            "ocean_mask": ocean,
            "surface": np.where(defined, generator.normal(size=defined.shape), 0).astype(np.float32),
            "surface_mask": defined,
            "latitude": (-40 + 2 * np.arange(height)).astype(np.float32),
            "longitude": (170 + 2.5 * np.arange(width)).astype(np.float32),
        }

    return made


@pytest.fixture(scope="session")
def single_row() -> MakePatch:
    """One level and one row of ocean along a parallel, observed at the given columns."""

    def made(values: dict[int, float], width: int = 9, latitude: float = 0.0, step: float = 2.0) -> Patch:
        observations, observed = np.zeros((1, 1, width), np.float32), np.zeros((1, 1, width), bool)
        for column, value in values.items():
            observations[0, 0, column], observed[0, 0, column] = value, True
        return {
            "observations": observations,
            "observed_mask": observed,
            "ocean_mask": np.ones((1, 1, width), bool),
            "surface": np.zeros((0, 1, width), np.float32),
            "surface_mask": np.zeros((0, 1, width), bool),
            "latitude": np.array([latitude], np.float32),
            "longitude": (step * np.arange(width)).astype(np.float32),
        }

    return made


@pytest.fixture(scope="session")
def batched() -> Batched:
    """Patches of one size as a batch."""

    def stacked(*patches: Patch) -> PatchData:
        return PatchData.from_batch(
            {name: torch.from_numpy(np.stack([patch[name] for patch in patches])) for name in patches[0]}
        )

    return stacked


@pytest.fixture(scope="session")
def estimate(batched: Batched) -> Estimate:
    """Estimate and error variance of a patch."""

    def evaluated(first_guess: FirstGuess, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        result = first_guess(batched(patch))
        return result.estimate[0].numpy(), result.error_variance[0].numpy()

    return evaluated


@pytest.fixture(scope="session")
def textbook() -> Textbook:
    """Optimal interpolation cell by cell and level by level as in a textbook, in float64: the four fields of a result.

    With `surface_slopes` and `level_covariance` in the patch it is that of `regressions=True`.
    """
    return _textbook


def _textbook(options: dict[str, Any], patch: Patch) -> list[np.ndarray]:
    shape = patch["ocean_mask"].shape
    height, width = shape[1:]
    latitude = np.radians(np.repeat(patch["latitude"].astype(float), width))
    longitude = np.radians(np.tile(patch["longitude"].astype(float), height))
    filled = fill_surface(torch.from_numpy(patch["surface"]), torch.from_numpy(patch["surface_mask"]))
    fields = filled.numpy().reshape(-1, height * width)
    prior_variance = 1 + options["mean_variance"] + options["trend_variance"] * (fields**2).sum(axis=0)

    def covariance(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        i, j = np.meshgrid(rows, columns, indexing="ij")
        cosines = np.cos(latitude[i]), np.cos(latitude[j])
        mean_inverse_square = (cosines[0] ** -2 + cosines[1] ** -2) / 2
        zonal = 2 * EARTH_RADIUS * np.sin((longitude[i] - longitude[j]) / 2) / np.sqrt(mean_inverse_square)
        r2 = (EARTH_RADIUS * (latitude[i] - latitude[j]) / options["latitude_scale"]) ** 2
        r2 = r2 + (zonal / options["longitude_scale"]) ** 2
        r2 = r2 + sum(((f[i] - f[j]) / options["surface_scale"]) ** 2 for f in fields)
        # Paciorek & Schervish, with kernels that are discs along the parallel.
        factor = 1 / (cosines[0] * cosines[1] * mean_inverse_square)
        trend = options["trend_variance"] * sum(f[i] * f[j] for f in fields)
        return factor * np.exp(-(r2 ** (options["covariance"] / 2))) + options["mean_variance"] + trend

    def scale(matrix: np.ndarray, values: np.ndarray) -> float:
        if math.isinf(options["prior_profiles"]):
            return options["variance"]
        quadratic = values @ np.linalg.solve(matrix, values) if len(values) else 0.0
        prior = options["prior_profiles"]
        return (prior * options["variance"] + quadratic) / (prior + len(values))

    drift = np.zeros((shape[0], height * width))
    observed = patch["observed_mask"].reshape(shape[0], -1)
    values, noise = patch["observations"].reshape(observed.shape).astype(float), np.zeros(observed.shape)
    known = observed.copy()
    if "surface_slopes" in patch:
        drift = patch["surface_slopes"].astype(float) @ fields
        values = np.where(observed, values - drift, 0)
        between = patch["level_covariance"].astype(float)
        for column in np.flatnonzero(observed.any(axis=0)):
            seen, variance = np.flatnonzero(observed[:, column]), np.diag(between)
            # As much noise as the covariance of the levels gets, so that it can be inverted.
            matrix = between[np.ix_(seen, seen)] + np.diag((options["nugget"] + 1e-6) * variance[seen])
            for level in np.flatnonzero(patch["ocean_mask"].reshape(observed.shape)[:, column]):
                weights = np.linalg.solve(matrix, between[seen, level])
                share = min(weights @ between[seen, level] / variance[level], 1)
                if level not in seen and share > 0.1:
                    known[level, column] = True
                    values[level, column] = weights @ values[seen, column] / share
                    noise[level, column] = 1 / share - 1
    ocean = patch["ocean_mask"].reshape(observed.shape)
    result = [np.zeros(observed.shape) for _ in range(4)]
    everywhere = np.arange(height * width)
    for level in range(shape[0]):
        seen = np.flatnonzero(known[level])
        matrix = covariance(seen, seen)
        matrix[np.diag_indices_from(matrix)] += options["nugget"] + 1e-9 + noise[level, seen]
        towards, data = covariance(seen, everywhere), values[level, seen]
        weights = np.linalg.solve(matrix, towards)
        result[0][level] = drift[level] + data @ weights
        remaining = prior_variance - (weights * towards).sum(axis=0)
        result[1][level] = scale(matrix, data) * np.maximum(remaining, 0)
        if not observed[level].any() and "surface_slopes" not in patch:
            result[1][level] = 1
        for number in np.flatnonzero(observed[level, seen]):
            others = np.delete(np.arange(len(seen)), number)
            inner, across = matrix[np.ix_(others, others)], matrix[others, number]
            solved = np.linalg.solve(inner, across)
            result[2][level, seen[number]] = data[number] - solved @ data[others]
            expected = matrix[number, number] - solved @ across
            result[3][level, seen[number]] = scale(inner, data[others]) * expected
    result[0], result[1] = (np.where(ocean, field, 0) for field in result[:2])
    return [field.reshape(shape) for field in result]


@pytest.fixture(scope="session")
def assert_same() -> AssertSame:
    """Equal to a few units in the last place of float32: a matrix product may round differently from call to call."""

    def compared(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)

    return compared
