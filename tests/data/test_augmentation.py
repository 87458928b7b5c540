from __future__ import annotations

import numpy as np
import pytest

from depthdif.data.augmentation import Mirrors
from depthdif.data.dataset import Sample, collate
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation


@pytest.fixture
def sample() -> Sample:
    generator = np.random.default_rng(0)
    ocean = generator.random((3, 6, 8)) > 0.2
    observed = ocean & (generator.random((6, 8)) > 0.6)
    target = np.where(ocean, generator.normal(size=ocean.shape), 0).astype(np.float32)
    surface_mask = generator.random((1, 6, 8)) > 0.1
    return {
        "target": target,
        "ocean_mask": ocean,
        "observations": np.where(observed, target, np.float32(0)),
        "observed_mask": observed,
        "surface": np.where(surface_mask, generator.normal(size=(1, 6, 8)), 0).astype(np.float32),
        "surface_mask": surface_mask,
        "latitude": np.linspace(10, 20, 6, dtype=np.float32),
        "longitude": np.linspace(60, 74, 8, dtype=np.float32),
        "coordinates": np.array([15.0, 67.0], np.float32),
        "day_of_year": np.float32(46.0),
    }


def mirrored_both_ways(sample: Sample, mirrors: Mirrors) -> Sample:
    """With the first seed that mirrors about both axes."""
    seed = next(seed for seed in range(100) if (np.random.default_rng(seed).random(2) < 0.5).all())
    return mirrors(sample, np.random.default_rng(seed))


def test_north_and_south_change_places_with_their_seasons(sample: Sample) -> None:
    mirrored = mirrored_both_ways(sample, Mirrors())
    assert np.array_equal(mirrored["target"], sample["target"][:, ::-1])
    assert np.array_equal(mirrored["latitude"], np.linspace(-20, -10, 6, dtype=np.float32))
    assert mirrored["coordinates"].tolist() == [-15.0, 67.0]
    assert mirrored["day_of_year"] == pytest.approx(46 + 365.25 / 2)


def test_east_and_west_change_places_and_nothing_else(sample: Sample) -> None:
    mirrored = mirrored_both_ways(sample, Mirrors(False, True))
    assert np.array_equal(mirrored["surface"], sample["surface"][..., ::-1])
    for key in ("latitude", "longitude", "coordinates", "day_of_year"):
        assert np.array_equal(mirrored[key], sample[key])


def test_twice_mirrored_is_as_it_was(sample: Sample) -> None:
    twice = mirrored_both_ways(mirrored_both_ways(sample, Mirrors(True, True)), Mirrors(True, True))
    for key, value in sample.items():
        np.testing.assert_allclose(twice[key], value, atol=1e-4)


def test_each_mirror_is_used_for_half_of_the_patches(sample: Sample) -> None:
    generator = np.random.default_rng(0)
    latitudes = [Mirrors()(sample, generator)["coordinates"][0] for _ in range(400)]
    assert 0.42 < np.mean(np.array(latitudes) < 0) < 0.58


def test_the_first_guess_of_a_mirrored_patch_is_the_mirrored_first_guess(sample: Sample) -> None:
    interpolation = OptimalInterpolation(3000.0, 8000.0, 2.0, 1e-3, "exponential", 0.1, 1.0)

    def compute(one: Sample) -> np.ndarray:
        return collate([one], interpolation)["first_guess"][0].numpy()

    guess = compute(sample)
    mirrored = mirrored_both_ways(sample, Mirrors(True, True))
    np.testing.assert_allclose(compute(mirrored), guess[:, ::-1, ::-1], atol=1e-5)
