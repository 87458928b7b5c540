from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.evaluation.forecast import Forecast, Truth

STATISTICS = Standardization(
    *(np.array(values) for values in ([10.0, 5.0, 2.0], [3.0, 2.0, 1.0], [0.0] * 3, [30.0] * 3))
)


@pytest.fixture
def truth(make_batch: Callable[..., dict[str, Tensor]]) -> Truth:
    return Truth.of_batch(make_batch(), STATISTICS)


def test_the_truth_is_physical_and_scored_where_nothing_was_observed(
    make_batch: Callable[..., dict[str, Tensor]],
) -> None:
    batch = make_batch()
    truth = Truth.of_batch(batch, STATISTICS)
    assert truth.values[1, 2, 3, 4] == pytest.approx(2 + 1 * float(batch["target"][1, 2, 3, 4]))
    assert not (truth.scored & batch["observed_mask"].numpy()).any()
    assert np.array_equal(truth.scored | batch["observed_mask"].numpy(), truth.ocean)


def test_a_best_estimate_alone_has_no_spread_and_its_absolute_error_as_crps(truth: Truth) -> None:
    forecast = Forecast(truth.values[:, None] - 2)
    assert not forecast.has_spread
    assert forecast.crps(truth) == pytest.approx(np.full(truth.values.shape, 2.0), abs=1e-5)


def test_a_gaussian_and_a_large_ensemble_of_it_score_alike(truth: Truth) -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2, 400, 3, 8, 8))
    gaussian = Forecast(truth.values[:, None] + 0.5, np.full(truth.values.shape, 1.5))
    ensemble = Forecast(truth.values[:, None] + 0.5 + 1.5 * noise)
    assert gaussian.has_spread
    assert ensemble.has_spread
    assert ensemble.crps(truth).mean() == pytest.approx(gaussian.crps(truth).mean(), rel=0.03)
    assert ensemble.variance().mean() == pytest.approx(gaussian.variance().mean(), rel=0.03)
    ranks = [forecast.ranks(truth, 401, generator).mean() / 401 for forecast in (gaussian, ensemble)]
    assert ranks[0] == pytest.approx(ranks[1], abs=0.02)


def test_the_distribution_function_of_a_reliable_gaussian_is_uniform_at_the_truth(truth: Truth) -> None:
    generator = np.random.default_rng(0)
    deviation = np.full((200, *truth.values.shape[1:]), 0.7)
    values = np.repeat(truth.values, 100, axis=0)
    fields = Truth(values, values > 0, values > 0, truth.latitude, truth.longitude)
    forecast = Forecast((values + deviation * generator.normal(size=values.shape))[:, None], deviation)
    shares = np.bincount(forecast.ranks(fields, 5, generator).ravel()) / values.size
    assert shares == pytest.approx(np.full(5, 0.2), abs=0.01)


def test_antithetic_pairs_count_once_in_spread_and_crps_and_twice_in_the_mean() -> None:
    generator = np.random.default_rng(0)
    draws = 2.0 * generator.standard_normal((1, 4, 1, 60, 60))
    pairs = np.stack([draws, -draws], axis=2).reshape(1, 8, 1, 60, 60)
    values = np.zeros((1, 1, 60, 60))
    everywhere = np.ones(values.shape, bool)
    truth = Truth(values, everywhere, everywhere, np.zeros((1, 60)), np.zeros((1, 60)))
    forecast = Forecast(pairs, antithetic=True)
    assert forecast.variance().mean() == pytest.approx(4.0, rel=0.05)
    np.testing.assert_allclose(forecast.mean, 0.0, atol=1e-12)
    np.testing.assert_allclose(forecast.crps(truth), Forecast(draws).crps(truth))
    assert forecast.ranks(truth, 5, generator).max() == 4
