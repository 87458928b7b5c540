from __future__ import annotations

import numpy as np
import pytest

from depthdif.scores.bootstrap import percentile_interval, resample_counts


def test_each_resample_draws_as_many_patches_as_there_are() -> None:
    counts = resample_counts(7, 50, seed=0)
    assert counts.shape == (50, 7)
    assert np.all(counts.sum(axis=1) == 7)
    assert np.array_equal(counts, resample_counts(7, 50, seed=0))
    assert not np.array_equal(counts, resample_counts(7, 50, seed=1))


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    counts = resample_counts(40, 1000, seed=0)
    low, high = percentile_interval(counts @ generator.gamma(2, 1, (40, 400)) / 40)
    covered = ((low <= 2) & (high >= 2)).mean()
    assert 0.9 < covered < 0.97


def test_an_interval_with_an_undefined_resample_is_undefined() -> None:
    resampled = np.ones((100, 2))
    resampled[3, 0] = np.nan
    low, high = percentile_interval(resampled)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1, 1)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_is_the_central_share_of_the_resamples(level: float) -> None:
    low, high = percentile_interval(np.arange(1001.0)[:, None], level)
    assert [low[0], high[0]] == pytest.approx([500 * (1 - level), 1000 - 500 * (1 - level)])
