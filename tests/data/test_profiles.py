from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.data.profiles import ProfileSampler


def sloping_ocean(depths: int = 6, height: int = 8, width: int = 10) -> np.ndarray:
    """Land in the first column; the sea floor deepens to the east."""
    levels = np.arange(width) * depths // (width - 1)
    return np.broadcast_to(np.arange(depths)[:, None, None] < levels, (depths, height, width)).copy()


@given(
    seed=st.integers(0, 2**32),
    share=st.floats(0.05, 1),
    density=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    shallow=st.floats(0, 1),
)
def test_observed_cells_are_a_subset_of_the_ocean(
    seed: int, share: float, density: list[float], shallow: float
) -> None:
    generator = np.random.default_rng(seed)
    ocean = sloping_ocean() & (generator.random((6, 8, 10)) < share)
    ocean[0, 0, 1] = True
    observed = ProfileSampler(density, shallow).sample(ocean, generator)
    assert observed.shape == ocean.shape
    assert not (observed & ~ocean).any()
    assert observed.any()
    # Every profile is unbroken from the top: whatever is observed, all that is ocean above it is too.
    deepest = np.flip(np.logical_or.accumulate(np.flip(observed, 0), 0), 0)
    assert (observed == (ocean & deepest)).all()


def test_number_of_profiles_follows_the_density() -> None:
    ocean = sloping_ocean(height=50)
    columns = ocean.any(0).sum()
    observed = ProfileSampler(0.25).sample(ocean, np.random.default_rng(0))
    assert observed.any(0).sum() == round(0.25 * columns)


def test_density_is_drawn_log_uniformly_from_its_range() -> None:
    ocean = np.ones((1, 100, 100), bool)
    sampler = ProfileSampler((0.01, 0.1))
    generator = np.random.default_rng(0)
    densities = np.array([sampler.sample(ocean, generator).mean() for _ in range(400)])
    assert densities.min() >= 0.0099
    assert densities.max() <= 0.1001
    # The median of a log-uniform law is the geometric mean of its ends.
    assert abs(np.log(np.median(densities)) - np.log(0.01 * 0.1) / 2) < 0.15


def test_one_profile_at_least_is_observed() -> None:
    assert ProfileSampler(1e-6).sample(sloping_ocean(), np.random.default_rng(0)).any(0).sum() == 1


def test_share_of_profiles_that_end_early() -> None:
    ocean = np.ones((5, 60, 60), bool)
    observed = ProfileSampler(1.0, 0.3).sample(ocean, np.random.default_rng(0))
    levels = observed.sum(0)
    assert abs((levels < 5).mean() - 0.3) < 0.03
    # Uniform over levels 1 to 4.
    assert np.all(np.abs(np.bincount(levels.ravel())[1:5] / 3600 - 0.075) < 0.02)


@given(
    seed=st.integers(0, 2**32),
    shallow=st.floats(0, 1),
    gaps=st.floats(0, 1),
    few=st.floats(0, 1),
    error=st.floats(0, 2),
)
def test_gaps_few_levels_and_errors_leave_profiles_at_the_same_columns(
    seed: int, shallow: float, gaps: float, few: float, error: float
) -> None:
    target = np.where(sloping_ocean(), np.float32(1), np.float32(np.nan))
    whole = ProfileSampler((0.1, 1), shallow).sample(sloping_ocean(), np.random.default_rng(seed))
    sampler = ProfileSampler((0.1, 1), shallow, gaps, few, error)
    observations = sampler.observe(target, np.random.default_rng(seed))
    observed = np.isfinite(observations)
    assert observations.dtype == np.float32
    assert not (observed & ~whole).any()
    np.testing.assert_array_equal(observed.any(0), whole.any(0))
    if not gaps and not few:
        np.testing.assert_array_equal(observed, whole)
    if not error:
        assert (observations[observed] == 1).all()


def test_a_profile_with_gaps_keeps_its_ends_and_half_of_the_levels_between() -> None:
    ocean = np.ones((6, 80, 80), bool)
    observed = ProfileSampler(1.0, 0.0, gap_fraction=0.4).sample(ocean, np.random.default_rng(0))
    assert observed[[0, -1]].all()
    # Each of the 4 levels between is missing with probability 0.4 / 2, and none of them with 0.6 + 0.4 / 16.
    assert np.all(np.abs(observed[1:-1].mean(axis=(1, 2)) - 0.8) < 0.02)
    assert abs(observed.all(axis=0).mean() - 0.625) < 0.02


def test_a_profile_of_few_levels_has_one_to_three_at_random() -> None:
    ocean = np.ones((6, 80, 80), bool)
    observed = ProfileSampler(1.0, 0.0, few_levels_fraction=0.6).sample(ocean, np.random.default_rng(0))
    shares = np.bincount(observed.sum(0).ravel(), minlength=7) / 6400
    np.testing.assert_allclose(shares, [0, 0.2, 0.2, 0.2, 0, 0, 0.4], atol=0.02)
    # 0.4 + 0.6 * (1 + 2 + 3) / 3 / 6 at every level.
    np.testing.assert_allclose(observed.mean(axis=(1, 2)), 0.6, atol=0.03)


def test_errors_have_their_variance_half_of_it_common_to_a_profile() -> None:
    target = np.full((4, 100, 100), 10, np.float32)
    error = ProfileSampler(1.0, 0.0, error=0.5).observe(target, np.random.default_rng(0)) - target
    levels = error.reshape(4, -1)
    np.testing.assert_allclose(levels.std(axis=1), 0.5, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(levels), 0.5 + 0.5 * np.eye(4), atol=0.04)
    # Neighbouring profiles have nothing in common.
    assert abs(np.corrcoef(levels[0, 1:], levels[0, :-1])[0, 1]) < 0.04
    assert abs(error.mean()) < 0.02


def test_full_profiles_reach_the_sea_floor() -> None:
    ocean = sloping_ocean()
    observed = ProfileSampler(1.0, 0.0).sample(ocean, np.random.default_rng(0))
    np.testing.assert_array_equal(observed, ocean)


def test_same_generator_state_gives_the_same_profiles() -> None:
    first, again, other = (
        ProfileSampler().sample(sloping_ocean(), np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_patch_without_ocean_is_refused() -> None:
    with pytest.raises(ValueError, match="the patch contains no ocean"):
        ProfileSampler().sample(np.zeros((2, 3, 3), bool), np.random.default_rng(0))


@pytest.mark.parametrize("density", [0, 1.5, (0.1, 0.01), (0.1,), (0, 0.1)])
def test_density_outside_its_range_is_refused(density: object) -> None:
    with pytest.raises(UserError, match=r"data\.profiles\.density=") as error:
        ProfileSampler(density)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["shallow_fraction", "gap_fraction", "few_levels_fraction"])
def test_share_outside_its_range_is_refused(name: str) -> None:
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(
            UserError, match=rf"data\.profiles\.{name}={value}; expected a number from 0 to 1"
        ):
            ProfileSampler(**{name: value})


@pytest.mark.parametrize("error", [-0.1, float("inf"), float("nan")])
def test_error_that_is_no_standard_deviation_is_refused(error: float) -> None:
    with pytest.raises(UserError, match=r"data\.profiles\.error=.*at least 0"):
        ProfileSampler(error=error)
