from __future__ import annotations

import numpy as np
import pytest

from depthdif.evaluation.structure import Structure
from depthdif.scores.spectra import WindowSpectra

LATITUDE, LONGITUDE = np.arange(16) * 0.25, np.arange(16) * 0.25
WINDOWS = WindowSpectra.from_grid((16, 16), LATITUDE, LONGITUDE)
OCEAN = np.ones((2, 16, 16), bool)


def structure(fields: np.ndarray, truth: np.ndarray) -> Structure:
    """Of members (E, P, D, H, W) of P patches."""
    made = Structure(WINDOWS, scale=1.0)
    for patch, values in enumerate(truth):
        made.add_spectra(fields[:, patch], values, OCEAN, LATITUDE)
        made.add_gradients(fields[:, patch], OCEAN, LATITUDE, LONGITUDE)
    return made


@pytest.fixture
def truth() -> np.ndarray:
    """Three patches of white noise."""
    return np.random.default_rng(0).normal(size=(3, 2, 16, 16))


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_a_damped_truth_has_the_square_of_the_factor_as_power_and_its_error(
    truth: np.ndarray, factor: float
) -> None:
    damped, true = structure(factor * truth[None], truth), structure(truth[None], truth)
    scores = damped.scale_scores(true, np.ones((1, 3)))
    assert scores["small_scale_power"] == pytest.approx(np.full((1, 2), factor**2))
    # The error has (1 - factor)² of the power: below half of it at all wavelengths.
    assert scores["resolution"] == pytest.approx(np.full((1, 2), 1 / WINDOWS.wavenumbers[-1]))  # type: ignore[union-attr]


def test_an_estimate_without_any_waves_resolves_none(truth: np.ndarray) -> None:
    flat, true = structure(0 * truth[None], truth), structure(truth[None], truth)
    assert np.isnan(flat.scale_scores(true, np.ones((1, 3)))["resolution"]).all()


def test_weights_of_patches_are_repetitions(truth: np.ndarray) -> None:
    noisy = truth + 0.3 * np.random.default_rng(1).normal(size=truth.shape)
    weighted = structure(noisy[None], truth).scale_scores(
        structure(truth[None], truth), np.array([[2.0, 0, 1]])
    )
    again = [0, 0, 2]
    repeated = structure(noisy[None, again], truth[again]).scale_scores(
        structure(truth[None, again], truth[again]), np.ones((1, 3))
    )
    for name, values in weighted.items():
        assert values == pytest.approx(repeated[name], nan_ok=True)


def test_shares_are_those_of_the_gradients_above_each_threshold() -> None:
    degree = np.radians(1) * 6371.0
    # The first level rises by 2 to the north per 100 km, the second by 0.02.
    slopes = np.array([2.0, 0.02])[:, None, None] / 100 * degree * LATITUDE[:, None]
    fields = np.broadcast_to(slopes, (1, 1, 2, 16, 16))
    made = structure(fields, fields[0])
    for level, slope in enumerate((2.0, 0.02)):
        assert np.array_equal(made.shares_above[level], (made.thresholds < slope).astype(float))


def test_members_share_one_distribution_and_land_is_not_counted(truth: np.ndarray) -> None:
    together = structure(np.stack([truth, 2 * truth]), truth)
    apart = [structure(factor * truth[None], truth) for factor in (1, 2)]
    expected = np.mean([each.shares_above for each in apart], axis=0)
    assert together.shares_above == pytest.approx(expected)
    dry = Structure(WINDOWS, scale=1.0)
    dry.add_gradients(truth[:1], OCEAN & (np.arange(2) == 0)[:, None, None], LATITUDE, LONGITUDE)
    assert np.isfinite(dry.shares_above[0]).all()
    assert np.isnan(dry.shares_above[1]).all()
