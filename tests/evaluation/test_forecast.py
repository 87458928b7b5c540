from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.tally import GaussianForecast, Truth

STATISTICS = Standardization(
    *(np.array(values) for values in ([10.0, 5.0, 2.0], [3.0, 2.0, 1.0], [0.0] * 3, [30.0] * 3))
)


@pytest.fixture
def truth(make_batch: Callable[..., dict[str, Tensor]]) -> Truth:
    return Truth.from_batch(make_batch(), STATISTICS)


def test_the_truth_is_physical_and_scored_where_nothing_was_observed(
    make_batch: Callable[..., dict[str, Tensor]],
) -> None:
    batch = make_batch()
    truth = Truth.from_batch(batch, STATISTICS)
    assert truth.values[1, 2, 3, 4] == pytest.approx(2 + 1 * float(batch["target"][1, 2, 3, 4]))
    assert not (truth.scored & batch["observed_mask"].numpy()).any()
    assert np.array_equal(truth.scored | batch["observed_mask"].numpy(), truth.ocean)


def test_a_best_estimate_alone_has_no_spread_and_its_absolute_error_as_crps(truth: Truth) -> None:
    forecast = GaussianForecast(truth.values - 2)
    assert not forecast.has_spread
    assert forecast.crps(truth.values) == pytest.approx(np.full(truth.values.shape, 2.0), abs=1e-5)


def test_a_gaussian_and_a_large_ensemble_of_it_score_alike(truth: Truth) -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2, 400, 3, 8, 8))
    gaussian = GaussianForecast(truth.values + 0.5, np.full(truth.values.shape, 1.5))
    ensemble = Ensemble(truth.values[:, None] + 0.5 + 1.5 * noise)
    assert gaussian.has_spread
    assert ensemble.has_spread
    assert ensemble.crps(truth.values).mean() == pytest.approx(gaussian.crps(truth.values).mean(), rel=0.03)
    assert ensemble.variance().mean() == pytest.approx(gaussian.variance().mean(), rel=0.03)
    ranks = [forecast.ranks(truth.values, 401, generator).mean() / 401 for forecast in (gaussian, ensemble)]
    assert ranks[0] == pytest.approx(ranks[1], abs=0.02)


def test_the_distribution_function_of_a_reliable_gaussian_is_uniform_at_the_truth(truth: Truth) -> None:
    generator = np.random.default_rng(0)
    deviation = np.full((200, *truth.values.shape[1:]), 0.7)
    values = np.repeat(truth.values, 100, axis=0)
    forecast = GaussianForecast(values + deviation * generator.normal(size=values.shape), deviation)
    shares = np.bincount(forecast.ranks(values, 5, generator).ravel()) / values.size
    assert shares == pytest.approx(np.full(5, 0.2), abs=0.01)
