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


def test_shallow_fraction_outside_its_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.profiles\.shallow_fraction=1.5"):
        ProfileSampler(shallow_fraction=1.5)
