"""Distances against a float64 oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.ema.distance import BLOCK_CPU, ROW, distance


def oracle(raw: list[torch.Tensor], average: list[torch.Tensor]) -> dict[str, float]:
    real = [torch.view_as_real(t) if t.is_complex() else t for t in raw]
    shadow = [torch.view_as_real(t) if t.is_complex() else t for t in average]
    weights = torch.cat([t.double().flatten() for t in real])
    delta = torch.cat([t.double().flatten() for t in shadow]) - weights
    return {
        "weight_mean_abs_delta": float(delta.abs().mean()),
        "weight_rms_delta": float(delta.square().mean().sqrt()),
        "weight_relative_rms_delta": float((delta.square().sum() / weights.square().sum()).sqrt()),
        "weight_max_abs_delta": float(delta.abs().max()),
        "tracked_floating_tensors": float(len(raw)),
    }


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0])
def test_distances_agree_with_float64_to_one_in_a_million(scale: float) -> None:
    torch.manual_seed(0)
    raw = [torch.randn(size) for size in [(3, 5), (2 * BLOCK_CPU + 17,), (1,), (0,), (300, 700)]]
    average = [weights + scale * torch.randn_like(weights) for weights in raw]
    metrics = distance(raw, average)
    assert metrics == pytest.approx(oracle(raw, average), rel=1e-6)


@given(
    delta=st.floats(2**-30, 2**30, width=32), elements=st.sampled_from([1, ROW - 1, ROW + 1, 100 * ROW + 7])
)
@settings(max_examples=30, deadline=None)
def test_equal_deltas_do_not_add_up_their_rounding(delta: float, elements: int) -> None:
    metrics = distance([torch.full((elements,), -delta)], [torch.zeros(elements)])
    del metrics["tracked_floating_tensors"]
    assert metrics.pop("weight_relative_rms_delta") == pytest.approx(1, rel=1e-6)
    assert list(metrics.values()) == pytest.approx([delta] * 3, rel=1e-6)


def test_half_precision_weights_and_complex_and_double_and_other_memory_orders_are_compared() -> None:
    torch.manual_seed(0)
    raw = [
        torch.randn(50).bfloat16(),
        torch.randn(40, dtype=torch.complex64),
        torch.randn(30, dtype=torch.float64),
        torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 8, 8),
    ]
    average = [
        raw[0].float() + 0.1,
        raw[1] * 1.01,
        raw[2] - 1e-3,
        torch.randn(2, 3, 8, 8),
        torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last),
    ]
    assert distance(raw, average) == pytest.approx(oracle(raw, average), rel=1e-6)


def test_equal_weights_are_at_distance_zero() -> None:
    raw = [torch.randn(10)]
    metrics = distance(raw, [raw[0].clone()])
    assert metrics["weight_max_abs_delta"] == metrics["weight_rms_delta"] == 0


def test_what_is_not_defined_is_left_out() -> None:
    assert distance([], []) == {"tracked_floating_tensors": 0}
    assert "weight_relative_rms_delta" not in distance([torch.zeros(3)], [torch.ones(3)])
    assert all(map(math.isfinite, distance([torch.tensor([torch.nan])], [torch.ones(1)]).values()))


def test_no_copy_of_the_weights_is_made() -> None:
    raw = [torch.randn(16 * BLOCK_CPU)]
    average = [weights + 1 for weights in raw]
    with torch.profiler.profile(profile_memory=True) as profile:
        distance(raw, average)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < largest <= 2 * 4 * BLOCK_CPU
