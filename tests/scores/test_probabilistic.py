from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtr

from depthdif.scores.probabilistic import (
    ensemble_ranks,
    fair_crps,
    gaussian_crps,
    predictive_variance,
    spread_and_error,
    sums_by_spread,
)


def exchangeable(size: int, cells: int = 100_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Members and truth drawn from the same distribution, which is another one for each cell."""
    generator = np.random.default_rng(seed)
    mean, deviation = generator.normal(size=cells), generator.uniform(0.5, 2, cells)
    draws = mean + deviation * generator.normal(size=(size + 1, cells))
    return draws[None, :-1], draws[None, -1]


@settings(max_examples=20)
@given(error=st.floats(-4, 4), deviation=st.floats(0.1, 3))
def test_the_closed_form_is_the_integral_that_defines_the_crps(error: float, deviation: float) -> None:
    x, step = np.linspace(-30, 30, 6_001, retstep=True)
    below = ndtr(x / deviation)
    integral = np.square(below - (x >= error)).sum() * step
    assert gaussian_crps(np.array(error), np.array(deviation)) == pytest.approx(integral, abs=1e-2)


def test_at_its_mean_a_gaussian_scores_what_is_in_the_books() -> None:
    expected = 2.5 * (math.sqrt(2) - 1) / math.sqrt(math.pi)
    assert gaussian_crps(np.zeros(3), np.full(3, 2.5)) == pytest.approx(expected)


def test_without_deviation_the_crps_is_the_absolute_error() -> None:
    assert gaussian_crps(np.array([-2.0, 0.0]), np.zeros(2)).tolist() == [2.0, 0.0]


@given(arrays(np.float64, (1, 5), elements=st.floats(-10, 10)), st.floats(-10, 10))
def test_the_fair_crps_is_its_definition_pair_by_pair(members: np.ndarray, truth: float) -> None:
    (values,) = members
    pairs = np.abs(values[:, None] - values[None, :]).sum() / (2 * 5 * 4)
    expected = np.abs(values - truth).mean() - pairs
    assert fair_crps(members, np.array([truth])) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_fair_crps_expects_the_closed_form_whatever_the_size(size: int) -> None:
    generator = np.random.default_rng(1)
    truth = np.full(100_000, 0.7)
    scores = fair_crps(generator.normal(size=(1, size, len(truth))), truth[None])
    expected = float(gaussian_crps(np.array(0.7), np.array(1.0)))
    error = scores.std() / np.sqrt(scores.size)
    assert scores.mean() == pytest.approx(expected, abs=4 * error)
    assert 4 * error < 0.02


def test_a_single_member_has_no_crps_of_an_ensemble() -> None:
    with pytest.raises(ValueError, match="at least 2 members; the ensemble has 1"):
        fair_crps(np.zeros((1, 1, 3)), np.zeros((1, 3)))


@pytest.mark.parametrize("size", [2, 8])
def test_the_spread_of_a_reliable_ensemble_is_the_error_of_its_mean(size: int) -> None:
    members, truth = exchangeable(size)
    error = np.square(members.mean(axis=1) - truth).mean()
    assert predictive_variance(members).mean() / error == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("size", [1, 4])
def test_ranks_are_uniform_where_truth_and_members_are_exchangeable(size: int) -> None:
    members, truth = exchangeable(size)
    shares = np.bincount(ensemble_ranks(members, truth, np.random.default_rng(0)).ravel()) / truth.size
    assert shares == pytest.approx(np.full(size + 1, 1 / (size + 1)), abs=0.01)


def test_ranks_tell_too_small_a_spread_and_a_bias() -> None:
    members, truth = exchangeable(4)
    mean = members.mean(axis=1, keepdims=True)
    sure = ensemble_ranks(mean + (members - mean) / 3, truth, np.random.default_rng(0))
    shares = np.bincount(sure.ravel()) / truth.size
    assert min(shares[0], shares[-1]) > 0.3
    assert ensemble_ranks(members + 100, truth, np.random.default_rng(0)).max() == 0


def test_ties_are_decided_by_lot() -> None:
    ranks = ensemble_ranks(np.zeros((1, 3, 40_000)), np.zeros((1, 40_000)), np.random.default_rng(0))
    assert np.bincount(ranks.ravel()) / 40_000 == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_binned_by_spread_a_reliable_forecast_lies_on_the_diagonal() -> None:
    generator = np.random.default_rng(0)
    deviation = np.exp(generator.uniform(-2, 1, 200_000))
    error = deviation * generator.normal(size=deviation.size)
    sums = sums_by_spread(deviation**2, error**2, np.geomspace(1e-3, 10, 200))
    assert sums[:, 0].sum() == deviation.size
    assert sums[:, 2].sum() == pytest.approx(np.square(error).sum())
    spread, error = spread_and_error(sums, 10)
    assert len(spread) == 10
    assert np.all(np.diff(spread) > 0)
    assert error == pytest.approx(spread, rel=0.03)


def test_a_spread_beyond_the_bins_is_counted_in_the_outermost() -> None:
    sums = sums_by_spread(np.array([0.0, 100.0]), np.array([1.0, 4.0]), np.array([0.1, 1.0, 2.0]))
    assert sums.tolist() == [[1, 0, 1], [1, 100, 4]]
