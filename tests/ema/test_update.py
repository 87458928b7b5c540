"""The fast update against torch.lerp, and the guard against NaN and Inf."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.ema.update import SMALL, lerp_, not_finite

SIZES = [(3,), (5, 7), (SMALL + 1,), (1,), (0,), (2, SMALL)]


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=dtype) for size in SIZES]


@given(weight=st.floats(0, 1), number=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_any_number_of_averages_moves_as_torch_lerp_does(weight: float, number: int) -> None:
    averages = [tensors(10 + i) for i in range(number)]
    weights = [weight / (i + 1) for i in range(number)]
    expected = [
        [torch.lerp(a, c, w) for a, c in zip(average, tensors(0), strict=True)]
        for average, w in zip(averages, weights, strict=True)
    ]
    lerp_(averages, tensors(0), weights)
    for average, wanted in zip(averages, expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(average, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [1e-4, 0.01, 0.4])
def test_the_update_that_the_device_may_skip_equals_the_plain_one(weight: float, dtype: torch.dtype) -> None:
    plain, decided = tensors(1, dtype), tensors(1, dtype)
    lerp_([plain], tensors(2, dtype), [weight])
    lerp_([decided], tensors(2, dtype), [weight], skip=torch.zeros(1))
    assert all(torch.allclose(one, other, rtol=1e-7) for one, other in zip(plain, decided, strict=True))
    untouched = tensors(1, dtype)
    lerp_([untouched], tensors(2, dtype), [weight], skip=torch.ones(1))
    assert all(torch.equal(one, other) for one, other in zip(untouched, tensors(1, dtype), strict=True))


@given(
    where=st.integers(0, len(SIZES) - 1), value=st.sampled_from([float("nan"), float("inf"), -float("inf")])
)
@settings(deadline=None)
def test_one_element_that_is_not_finite_is_found_wherever_it_is(where: int, value: float) -> None:
    weights = tensors(3)
    if weights[where].numel() == 0:
        assert not not_finite(weights)
        return
    weights[where].view(-1)[-1] = value
    assert not_finite(weights)


def test_huge_but_finite_weights_are_finite() -> None:
    assert not not_finite([torch.full((SMALL + 1,), 3e38), torch.full((3,), -3e38)])


def test_weights_in_another_memory_order_are_read_whole() -> None:
    image = torch.zeros(2, 8, 64, 64).to(memory_format=torch.channels_last)
    strided = torch.zeros(64, 1024)[:, ::2]
    for tensor in (image, strided):
        assert not not_finite([tensor])
        tensor[-1, -1] = torch.nan
        assert not_finite([tensor])
