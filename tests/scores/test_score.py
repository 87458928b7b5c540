from __future__ import annotations

import numpy as np
import pytest

from depthdif.scores.score import (
    Score,
    over_depths,
    percentile_interval,
    resample_counts,
    scores_from_sums,
    scores_with_intervals,
    verdict,
)


def sums(errors: np.ndarray, spread: float | None = None) -> dict[str, np.ndarray]:
    """Of errors (P, D, N), all cells scored."""
    parts = {
        "count": np.full(errors.shape[:2], float(errors.shape[2])),
        "error": errors.sum(axis=2),
        "square": np.square(errors).sum(axis=2),
        "absolute": np.abs(errors).sum(axis=2),
        "crps": np.abs(errors).sum(axis=2),
    }
    return parts if spread is None else {**parts, "variance": parts["count"] * spread**2}


def test_scores_of_a_constant_error() -> None:
    scores = scores_from_sums(sums(np.full((1, 1, 5), -2.0), spread=1.0))
    expected = {"rmse": 2.0, "bias": -2.0, "mae": 2.0, "crps": 2.0, "spread_skill": 0.5}
    assert {name: float(value[0, 0]) for name, value in scores.items()} == pytest.approx(expected)


def test_depths_are_joined_by_their_cells_and_not_by_their_scores() -> None:
    apart = {name: np.array([[1.0, 3.0]]) for name in ("error", "absolute", "crps")}
    apart |= {"count": np.array([[1.0, 9.0]]), "square": np.array([[10.0, 0.0]])}
    assert float(scores_from_sums(over_depths(apart))["rmse"][0, 0]) == 1


def test_paired_resampling_resolves_a_small_difference_that_hard_patches_hide() -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(30, 1, 50)) * np.exp(generator.normal(size=(30, 1, 1)))
    better = 0.95 * reference + 0.05 * generator.normal(size=reference.shape)
    counts = resample_counts(30, 500, seed=0)
    (scores,) = scores_with_intervals(sums(better), sums(reference), counts)
    ratio, rmse = scores["rmse_ratio"], scores["rmse"]
    assert ratio.low is not None
    assert ratio.high is not None
    assert rmse.low is not None
    assert rmse.high is not None
    assert ratio.low < ratio.value < ratio.high < 1
    assert ratio.high - ratio.low < 0.05 < (rmse.high - rmse.low) / rmse.value
    assert verdict(ratio) == "better"


def test_undefined_scores_are_left_out() -> None:
    parts = sums(np.ones((3, 3, 4)))
    parts = {name: values * np.array([[0, 0, 1], [0, 0, 1], [0, 1, 1]]) for name, values in parts.items()}
    nowhere, once, everywhere = scores_with_intervals(parts, None, resample_counts(3, 200, seed=0))
    assert nowhere == {}
    # Some resamples contain no such cell: there is a value, and no interval.
    assert once["rmse"] == Score(1.0)
    assert everywhere["rmse"] == Score(1.0, 1.0, 1.0)
    assert "rmse_ratio" not in everywhere


def test_a_single_patch_gives_no_interval() -> None:
    (scores,) = scores_with_intervals(sums(np.ones((1, 1, 4))), None, resample_counts(1, 200, seed=0))
    assert scores["rmse"] == Score(1.0)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Score(0.9, 0.8, 0.99), "better"),
        (Score(1.1, 1.01, 1.2), "worse"),
        (Score(0.9, 0.8, 1.1), "no difference that these patches can show"),
        (Score(0.9), "no interval"),
    ],
)
def test_verdict_follows_from_the_interval(score: Score, words: str) -> None:
    assert verdict(score) == words


def test_each_resample_draws_as_many_patches_as_there_are() -> None:
    counts = resample_counts(7, 50, seed=0)
    assert counts.shape == (50, 7)
    assert np.all(counts.sum(axis=1) == 7)
    assert np.array_equal(counts, resample_counts(7, 50, seed=0))
    assert not np.array_equal(counts, resample_counts(7, 50, seed=1))


def test_the_interval_contains_the_true_mean_with_its_level() -> None:
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


def test_the_interval_is_the_central_share_of_the_resamples() -> None:
    low, high = percentile_interval(np.arange(1001.0)[:, None])
    assert [low[0], high[0]] == pytest.approx([25, 975])
