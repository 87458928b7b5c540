from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif.scores.metrics import (
    ocean_ssim,
    reconstruction_metrics,
    windows_free_of_land,
)

SHAPE = (2, 3, 16, 16)
LOW, HIGH = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([30.0, 20.0, 10.0])


def fields(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = LOW[:, None, None] + (HIGH - LOW)[:, None, None] * torch.rand(SHAPE, generator=generator)
    ocean = torch.ones(SHAPE, dtype=torch.bool)
    ocean[..., :4] = False
    return truth, ocean


@given(error=st.floats(0.01, 10.0), data_range=st.floats(1.0, 50.0))
def test_mse_and_psnr_of_a_constant_error_have_their_closed_forms(error: float, data_range: float) -> None:
    truth, ocean = fields()
    limits = torch.zeros(3), torch.tensor([0.5, 1.0, 0.1]) * data_range
    scores = reconstruction_metrics(truth.double() + error, truth.double(), ocean, *limits)
    assert scores["mse"] == pytest.approx(error**2, rel=1e-4)
    assert scores["psnr"] == pytest.approx(10 * math.log10(data_range**2 / error**2), abs=1e-3)


def test_what_lies_on_land_changes_no_score() -> None:
    truth, ocean = fields()
    reconstruction = truth + 0.5
    scores = reconstruction_metrics(reconstruction, truth, ocean, LOW, HIGH)
    assert set(scores) == {"mse", "psnr", "ssim"}
    wild = torch.where(ocean, reconstruction, torch.nan)
    assert reconstruction_metrics(wild, truth, ocean, LOW, HIGH) == scores


def test_ssim_is_one_for_the_truth_and_near_zero_for_noise() -> None:
    truth, ocean = fields()
    noise, _ = fields(seed=1)
    perfect, unrelated = (ocean_ssim(field, truth, ocean, LOW, HIGH) for field in (truth, noise))
    assert perfect == pytest.approx(1.0, abs=1e-5)
    assert unrelated is not None
    assert abs(unrelated) < 0.1


def test_each_depth_counts_alike_in_ssim_whatever_its_range() -> None:
    truth, ocean = fields()
    noise, _ = fields(seed=1)
    only_surface, only_bottom = truth.clone(), truth.clone()
    only_surface[:, 0], only_bottom[:, 2] = noise[:, 0], noise[:, 2]
    surface, bottom = (ocean_ssim(field, truth, ocean, LOW, HIGH) for field in (only_surface, only_bottom))
    assert surface == pytest.approx(bottom, abs=0.05)


def test_windows_touch_neither_land_nor_the_edge_of_the_patch() -> None:
    ocean = torch.ones((1, 1, 9, 9), dtype=torch.bool)
    ocean[0, 0, 0, 0] = False
    inner = windows_free_of_land(ocean, window=3)[0, 0]
    expected = torch.zeros((9, 9), dtype=torch.bool)
    expected[1:-1, 1:-1] = True
    expected[1, 1] = False
    assert torch.equal(inner, expected)


def test_ssim_is_left_out_when_no_window_is_free_of_land() -> None:
    truth, ocean = fields()
    ocean[..., ::3] = False
    assert ocean_ssim(truth, truth, ocean, LOW, HIGH) is None
    assert set(reconstruction_metrics(truth + 1, truth, ocean, LOW, HIGH)) == {"mse", "psnr"}


def test_a_depth_that_is_constant_in_training_is_left_out_of_ssim() -> None:
    truth, ocean = fields()
    noise, _ = fields(seed=1)
    reconstruction = (truth + noise) / 2
    expected = ocean_ssim(*(field[:, :2] for field in (reconstruction, truth, ocean)), LOW[:2], HIGH[:2])
    low, high = LOW.clone(), HIGH.clone()
    low[2] = high[2] = truth[:, 2] = 4.0
    assert expected is not None
    assert ocean_ssim(reconstruction, truth, ocean, low, high) == pytest.approx(expected, abs=1e-4)
    assert ocean_ssim(reconstruction, truth, ocean, low, low) is None


def test_a_diverged_reconstruction_scores_nan_and_never_zero() -> None:
    truth, ocean = fields()
    scores = reconstruction_metrics(torch.full_like(truth, torch.nan), truth, ocean, LOW, HIGH)
    assert all(math.isnan(score) for score in scores.values())
