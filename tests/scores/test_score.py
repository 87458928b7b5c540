from __future__ import annotations

import numpy as np
import pytest

from depthdif.scores.bootstrap import resample_counts
from depthdif.scores.score import Score, over_depths, scores_from_sums, scores_with_intervals, verdict


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


def test_a_constant_error_has_the_scores_that_anyone_can_name() -> None:
    scores = scores_from_sums(sums(np.full((1, 1, 5), -2.0), spread=1.0))
    expected = {"rmse": 2.0, "bias": -2.0, "mae": 2.0, "crps": 2.0, "spread_skill": 0.5}
    assert {name: float(value[0, 0]) for name, value in scores.items()} == pytest.approx(expected)


def test_depths_are_joined_by_their_cells_and_not_by_their_scores() -> None:
    apart = {name: np.array([[1.0, 3.0]]) for name in ("error", "absolute", "crps")}
    apart |= {"count": np.array([[1.0, 9.0]]), "square": np.array([[10.0, 0.0]])}
    assert float(scores_from_sums(over_depths(apart))["rmse"][0, 0]) == 1


def test_paired_resampling_finds_a_small_difference_that_hard_patches_hide() -> None:
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


def test_what_is_undefined_is_left_out() -> None:
    parts = sums(np.ones((3, 3, 4)))
    parts = {name: values * np.array([[0, 0, 1], [0, 0, 1], [0, 1, 1]]) for name, values in parts.items()}
    nowhere, once, everywhere = scores_with_intervals(parts, None, resample_counts(3, 200, seed=0))
    assert nowhere == {}
    # Some resamples hold no such cell: there is a value, and no interval.
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
def test_the_interval_decides_what_is_said(score: Score, words: str) -> None:
    assert verdict(score) == words
