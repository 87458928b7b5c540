"""The fast update against torch.lerp, and the guard against NaN and Inf."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.ema.update import in_blocks, lerp_, not_finite

LARGE = 16_384

SIZES = [(3,), (5, 7), (LARGE + 1,), (1,), (0,), (2, LARGE)]


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=dtype) for size in SIZES]


@given(weight=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_update_is_the_average_in_float64_up_to_rounding(weight: float) -> None:
    average = tensors(1)
    lerp_(average, tensors(0), weight)
    for before, current, after in zip(tensors(1), tensors(0), average, strict=True):
        exact = torch.lerp(before.double(), current.double(), weight)
        # Each of the three operations rounds by at most half a unit of 1e-7 of a number no larger than this.
        largest = before.abs() + current.abs()
        assert ((after.double() - exact).abs() <= 4e-7 * largest).all()


@pytest.mark.parametrize("weight", [1e-4, 0.3, 0.5, 0.9, 1.0])
def test_an_average_that_equals_the_weights_stays_exactly_there(weight: float) -> None:
    average = tensors(1)
    lerp_(average, tensors(1), weight)
    assert all(torch.equal(one, other) for one, other in zip(average, tensors(1), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [1e-4, 0.01, 0.4])
def test_the_device_may_decide_to_skip_an_update(weight: float, dtype: torch.dtype) -> None:
    plain, decided, skipped = tensors(1, dtype), tensors(1, dtype), tensors(1, dtype)
    lerp_(plain, tensors(2, dtype), weight)
    lerp_(decided, tensors(2, dtype), weight, skip=torch.zeros(1))
    lerp_(skipped, tensors(2, dtype), weight, skip=torch.ones(1))
    assert all(torch.equal(one, other) for one, other in zip(plain, decided, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(skipped, tensors(1, dtype), strict=True))


@given(sizes=st.lists(st.integers(0, 9), max_size=12))
def test_blocks_hold_every_tensor_once_and_no_more_elements_than_allowed(sizes: list[int]) -> None:
    group = list(range(len(sizes)))
    blocks = in_blocks(group, [torch.zeros(size) for size in sizes], 6)
    assert [index for block in blocks for index in block] == group
    assert all(len(block) == 1 or sum(sizes[i] for i in block) <= 6 for block in blocks)


@given(
    where=st.integers(0, len(SIZES) - 1), value=st.sampled_from([float("nan"), float("inf"), -float("inf")])
)
@settings(deadline=None)
def test_one_element_that_is_not_finite_is_detected_anywhere(where: int, value: float) -> None:
    weights = tensors(3)
    if weights[where].numel() == 0:
        assert not not_finite(weights)
        return
    weights[where].view(-1)[-1] = value
    assert not_finite(weights)


def test_huge_but_finite_weights_are_finite() -> None:
    assert not not_finite([torch.full((LARGE + 1,), 3e38), torch.full((3,), -3e38)])


def test_weights_in_another_memory_order_are_read_whole() -> None:
    image = torch.zeros(2, 8, 64, 64).to(memory_format=torch.channels_last)
    strided = torch.zeros(64, 1024)[:, ::2]
    for tensor in (image, strided):
        assert not not_finite([tensor])
        tensor[-1, -1] = torch.nan
        assert not_finite([tensor])
