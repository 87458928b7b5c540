"""Patches with few cells, the first guesses that are tested on them, and how results are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Estimate = Callable[[FirstGuess, Patch], tuple[np.ndarray, np.ndarray]]
AssertSame = Callable[..., None]

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
    """A random patch: land in the first columns, a sloping floor, profiles that end early, gaps in the surface."""

    def made(
        depths: int = 4, height: int = 7, width: int = 9, profiles: int = 12, surfaces: int = 1, seed: int = 0
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
def estimate() -> Estimate:
    """Estimate and error variance of a patch."""

    def evaluated(first_guess: FirstGuess, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        result = first_guess(PatchData(**patch))
        return result.estimate, result.error_variance

    return evaluated


@pytest.fixture(scope="session")
def assert_same() -> AssertSame:
    """Equal to a few units in the last place of float32: a matrix product may round differently from call to call."""

    def compared(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)

    return compared
