from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.covariance import Cells, fill_surface, powered_exponential
from depthdif.first_guess.inverse_distance import InverseDistance, great_circle
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation, nested_levels
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]

# A correlation short enough that distant cells know nothing of each other, with every term switched on.
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


def plain(**changes: Any) -> OptimalInterpolation:
    """Optimal interpolation without noise, local mean, trend or surface."""
    options: dict[str, Any] = {
        "latitude_scale": 800.0,
        "longitude_scale": 800.0,
        "surface_scale": None,
        "nugget": 0.0,
    }
    return OptimalInterpolation(**options | changes)


def make_patch(
    depths: int = 4, height: int = 7, width: int = 9, profiles: int = 12, surfaces: int = 1, seed: int = 0
) -> Patch:
    """A random patch: land in the first columns, a sloping floor, profiles that end early, gaps in the surface."""
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


def single_row(values: dict[int, float], width: int = 9, latitude: float = 0.0, step: float = 2.0) -> Patch:
    """One level and one row of ocean along a parallel, observed at the given columns."""
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


def estimate(first_guess: FirstGuess, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and error variance of a patch."""
    result = first_guess(PatchData(**patch))
    return result.estimate, result.error_variance


def assert_same(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Equal to a few units in the last place of float32: a matrix product may round differently from call to call."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


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
def test_optimal_interpolation_equals_the_textbook_solve(covariance: float) -> None:
    options = FULL | {"covariance": covariance}
    patch = make_patch(surfaces=2)
    patch["observed_mask"][3] = False
    patch["observations"][3] = 0
    guess, variance = estimate(OptimalInterpolation(**options), patch)
    expected_guess, expected_variance = textbook(options, patch)
    np.testing.assert_allclose(guess, expected_guess, atol=1e-4)
    np.testing.assert_allclose(variance, expected_variance, atol=1e-4)


def test_names_of_covariances_stand_for_their_exponents() -> None:
    patch = make_patch()
    for name, exponent in (("gaussian", 2.0), ("exponential", 1.0)):
        by_name, by_number = (
            OptimalInterpolation(**FULL | {"covariance": value})(PatchData(**patch))
            for value in (name, exponent)
        )
        assert_same(by_name, by_number)


def test_one_observation_spreads_as_its_correlation() -> None:
    guess, variance = estimate(plain(), single_row({4: 1.5}))
    degrees = 2.0 * np.abs(np.arange(9) - 4)
    correlation = np.exp(-((np.array([kilometres(d) for d in degrees]) / 800) ** 2))
    np.testing.assert_allclose(guess[0, 0], 1.5 * correlation, atol=1e-6)
    np.testing.assert_allclose(variance[0, 0], 1 - correlation**2, atol=1e-6)


def test_far_from_all_observations_stands_the_training_mean() -> None:
    guess, variance = estimate(
        plain(latitude_scale=100.0, longitude_scale=100.0), single_row({0: 2.0, 1: -1.0}, step=5.0)
    )
    assert np.abs(guess[0, 0, 3:]).max() < 1e-6
    np.testing.assert_allclose(variance[0, 0, 3:], 1, atol=1e-6)


def test_between_two_equal_observations_the_estimate_is_symmetric() -> None:
    guess, variance = estimate(plain(nugget=0.1), single_row({2: 1.0, 6: 1.0}))
    np.testing.assert_allclose(guess, guess[..., ::-1], atol=1e-6)
    np.testing.assert_allclose(variance, variance[..., ::-1], atol=1e-6)
    opposed, _ = estimate(plain(nugget=0.1), single_row({2: 1.0, 6: -1.0}))
    np.testing.assert_allclose(opposed, -opposed[..., ::-1], atol=1e-6)
    assert opposed[0, 0, 4] == pytest.approx(0, abs=1e-6)


def test_a_free_local_mean_reproduces_a_constant_and_a_free_trend_a_line() -> None:
    patch = make_patch(depths=1, profiles=6)
    filled = fill_surface(patch["surface"], patch["surface_mask"])
    for field, free in ((np.full_like(filled, 3.0), "mean_variance"), (2.0 * filled, "trend_variance")):
        patch["observations"] = np.where(patch["observed_mask"], field, 0).astype(np.float32)
        first_guess = plain(latitude_scale=200.0, longitude_scale=200.0, **{free: 1e4})
        guess, _ = estimate(first_guess, patch)
        np.testing.assert_allclose(guess[patch["ocean_mask"]], field[patch["ocean_mask"]], atol=2e-3)


def test_along_a_parallel_the_same_degrees_are_nearer_at_60_than_at_the_equator() -> None:
    at_equator, _ = estimate(plain(), single_row({0: 1.0}))
    at_60, _ = estimate(plain(), single_row({0: 1.0}, latitude=60.0))
    # At 60 degrees a parallel is half as long: two columns are as far as one at the equator.
    assert at_60[0, 0, 2] == pytest.approx(math.exp(-((0.5 * kilometres(4.0) / 800) ** 2)), abs=1e-5)
    assert at_60[0, 0, 2] > at_equator[0, 0, 2]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), nugget=st.floats(0, 1), covariance=st.floats(0.5, 2))
def test_covariances_are_positive_definite_and_at_most_one(
    seed: int, nugget: float, covariance: float
) -> None:
    generator = np.random.default_rng(seed)
    cells = Cells(
        generator.uniform(-np.pi / 2, np.pi / 2, 40),
        generator.uniform(0, 2 * np.pi, 40),
        generator.normal(size=(2, 40)),
    )
    correlation = powered_exponential(cells, cells, covariance, 3000.0, 9000.0, np.array([2.0, np.inf]))
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert correlation.min() >= 0
    assert correlation.max() <= 1 + 1e-12
    assert np.linalg.eigvalsh(correlation).min() > -1e-10


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), profiles=st.integers(1, 30), covariance=st.floats(0.5, 2))
def test_without_nugget_observations_are_met_and_nothing_is_nan_or_on_land(
    seed: int, profiles: int, covariance: float
) -> None:
    patch = make_patch(profiles=profiles, seed=seed)
    options = FULL | {"covariance": covariance, "nugget": 0.0}
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


def test_a_nugget_keeps_the_estimate_off_the_observation() -> None:
    guess, variance = estimate(plain(nugget=0.25), single_row({4: 1.0}))
    assert guess[0, 0, 4] == pytest.approx(1 / 1.25)
    assert variance[0, 0, 4] == pytest.approx(1 - 1 / 1.25)


@pytest.mark.parametrize("first_guess", [OptimalInterpolation(**FULL), InverseDistance()])
def test_a_level_without_observation_is_the_training_mean_with_variance_one(first_guess: FirstGuess) -> None:
    patch = make_patch()
    for empty in ([2, 3], [0, 1, 2, 3]):
        patch["observed_mask"][empty] = False
        patch["observations"][empty] = 0
        guess, variance = estimate(first_guess, patch)
        assert not guess[empty].any()
        np.testing.assert_array_equal(variance[empty], patch["ocean_mask"][empty])


@pytest.mark.parametrize("first_guess", [OptimalInterpolation(**FULL), InverseDistance()])
@pytest.mark.parametrize("nested", [True, False])
def test_all_levels_together_equal_level_by_level(first_guess: FirstGuess, nested: bool) -> None:
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


@pytest.mark.parametrize(
    "first_guess",
    [
        OptimalInterpolation(**FULL),
        OptimalInterpolation(**FULL | {"prior_profiles": math.inf}),
        InverseDistance(),
    ],
)
def test_leave_one_out_equals_leaving_each_profile_out(first_guess: FirstGuess) -> None:
    patch = make_patch(profiles=8, seed=3)
    errors, variances = first_guess.leave_one_out(PatchData(**patch))
    assert (errors[~patch["observed_mask"]] == 0).all()
    compared = 0
    for level, row, column in np.argwhere(patch["observed_mask"]):
        without = {name: patch[name].copy() for name in patch}
        without["observed_mask"][level, row, column] = False
        without["observations"][level, row, column] = 0
        if not without["observed_mask"][level].any():
            continue
        compared += 1
        guess, variance = estimate(first_guess, without)
        truth = patch["observations"][level, row, column]
        assert errors[level, row, column] == pytest.approx(truth - guess[level, row, column], abs=1e-4)
        if isinstance(first_guess, OptimalInterpolation):
            others = without["observed_mask"][level].sum()
            scale = noise_scale(first_guess, without, level, others)
            expected = variance[level, row, column] + first_guess.nugget * scale
            assert variances[level, row, column] == pytest.approx(expected, abs=1e-4)
    assert compared > 10


def noise_scale(first_guess: OptimalInterpolation, patch: Patch, level: int, count: int) -> float:
    """sigma^2 of a level: the prior, or what a far copy of the cells would have as error variance."""
    by_level = ("observations", "observed_mask", "ocean_mask")
    alone = patch | {name: patch[name][level : level + 1] for name in by_level}
    cells = Cells.from_patch(PatchData(**patch))
    seen = np.flatnonzero(alone["observed_mask"])
    values = alone["observations"].ravel()[seen].astype(float)
    covariance = first_guess._covariance(cells.take(seen), cells.take(seen)) + first_guess.nugget * np.eye(
        len(seen)
    )
    quadratic = values @ np.linalg.solve(covariance, values)
    if math.isinf(first_guess.prior_profiles):
        return first_guess.variance
    prior = first_guess.prior_profiles
    return float((prior * first_guess.variance + quadratic) / (prior + count))


def test_large_patches_are_solved_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    patch, first_guess = make_patch(), OptimalInterpolation(**FULL)
    whole = first_guess(PatchData(**patch))
    monkeypatch.setattr("depthdif.first_guess.optimal_interpolation._BLOCK", 5)
    np.testing.assert_allclose(first_guess(PatchData(**patch)), whole, atol=1e-6)


def test_nested_levels_share_a_chain_and_others_get_their_own() -> None:
    observed = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    chains = nested_levels(observed)
    assert [chain.tolist() for chain in chains] == [[0, 1, 3], [4]]


def test_missing_surface_cells_are_never_read() -> None:
    patch = make_patch(surfaces=2)
    first_guess = OptimalInterpolation(**FULL)
    expected = first_guess(PatchData(**patch))
    patch["surface"] = np.where(patch["surface_mask"], patch["surface"], np.nan).astype(np.float32)
    assert_same(first_guess(PatchData(**patch)), expected)


def test_a_gap_in_the_surface_takes_the_values_around_it() -> None:
    surface, mask = np.zeros((1, 5, 5), np.float32), np.ones((1, 5, 5), bool)
    surface[0, :, :2], surface[0, :, 3:] = 4.0, 2.0
    mask[0, :, 2] = False
    filled = fill_surface(surface, mask)
    np.testing.assert_allclose(filled[0, :, 2], 3.0)
    np.testing.assert_array_equal(filled[mask], surface[mask])
    assert not fill_surface(surface, np.zeros_like(mask)).any()


def test_a_surface_never_defined_says_nothing() -> None:
    patch = make_patch()
    patch["surface_mask"][:] = False
    none = patch | {"surface": patch["surface"][:0], "surface_mask": patch["surface_mask"][:0]}
    first_guess = OptimalInterpolation(**FULL)
    np.testing.assert_allclose(first_guess(PatchData(**patch)), first_guess(PatchData(**none)), atol=1e-6)


def test_inverse_distance_weighs_by_great_circle_distance() -> None:
    guess, variance = estimate(
        InverseDistance(power=2), single_row({0: 1.0, 3: -2.0}, latitude=50.0, step=3.0)
    )
    grid = np.arange(9), np.array([50.0]), 3.0 * np.arange(9)
    near, far = (great_circle(np.array([c]), *grid)[0] for c in (0, 3))
    expected = (near[2] ** -2 - 2 * far[2] ** -2) / (near[2] ** -2 + far[2] ** -2)
    assert guess[0, 0, 2] == pytest.approx(expected, rel=1e-5)
    # Each of the two is estimated by the other: both errors are 3.
    assert variance[0, 0, 2] == pytest.approx(9.0)


def test_inverse_distance_of_one_observation_is_that_observation_everywhere() -> None:
    guess, variance = estimate(InverseDistance(), single_row({4: 1.25}))
    np.testing.assert_allclose(guess, 1.25)
    np.testing.assert_array_equal(variance[0, 0], [1, 1, 1, 1, 0, 1, 1, 1, 1])


def test_a_quarter_of_a_meridian_is_10008_km() -> None:
    distance = great_circle(np.array([0]), np.array([1]), np.array([0.0, 90.0]), np.array([7.0]))
    assert distance[0, 0] == pytest.approx(math.pi / 2 * EARTH_RADIUS)


def test_nan_and_observations_on_land_are_refused_where_the_patch_is_made() -> None:
    patch = make_patch()
    missing = patch["observations"].copy()
    missing[patch["observed_mask"]] = np.nan
    with pytest.raises(UserError, match="observations are NaN or infinite; expected finite values"):
        PatchData(**patch | {"observations": missing})
    with pytest.raises(UserError, match="observations lie outside the ocean mask; expected"):
        PatchData(**patch | {"ocean_mask": np.zeros_like(patch["ocean_mask"])})
    with pytest.raises(UserError, match="surface values are NaN or infinite where surface_mask is true"):
        PatchData(**patch | {"surface": np.full_like(patch["surface"], np.nan)})


@pytest.mark.parametrize("first_guess", [OptimalInterpolation(**FULL), InverseDistance()])
def test_one_call_gives_the_misfit_of_leave_one_out(first_guess: FirstGuess) -> None:
    patch = PatchData(**make_patch())
    result = first_guess(patch)
    assert np.count_nonzero(result.misfit) > 10
    assert_same((result.misfit, result.misfit_variance), first_guess.leave_one_out(patch))


def test_optimal_interpolation_factorises_once_for_estimate_error_and_misfit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factorised: list[int] = []
    cholesky = np.linalg.cholesky

    def counted(matrix: np.ndarray) -> np.ndarray:
        factorised.append(len(matrix))
        return cholesky(matrix)

    monkeypatch.setattr(np.linalg, "cholesky", counted)
    OptimalInterpolation(**FULL)(PatchData(**make_patch(profiles=12)))
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
def test_optimal_interpolation_refuses_values_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OptimalInterpolation(**FULL | options)


def test_inverse_distance_refuses_a_power_that_does_not_fall() -> None:
    with pytest.raises(UserError, match=r"model.first_guess.power=0; expected a number above 0"):
        InverseDistance(power=0)


def test_as_many_surface_scales_as_surface_fields_are_expected() -> None:
    patch = make_patch(surfaces=2)
    each = OptimalInterpolation(**FULL | {"surface_scale": [1.5, 1.5], "trend_variance": [0.7, 0.7]})
    known = PatchData(**patch)
    assert_same(each(known), OptimalInterpolation(**FULL)(known))
    with pytest.raises(UserError, match=r"surface_scale=\[1.0, 2.0, 3.0\] for 2 surface fields"):
        OptimalInterpolation(**FULL | {"surface_scale": [1.0, 2.0, 3.0]})(known)


def test_first_guesses_travel_to_data_workers() -> None:
    patch = PatchData(**make_patch())
    for first_guess in (OptimalInterpolation(**FULL), InverseDistance()):
        travelled = pickle.loads(pickle.dumps(first_guess))
        assert_same(travelled(patch), first_guess(patch))


def test_first_guesses_import_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, depthdif.first_guess.optimal_interpolation;"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
