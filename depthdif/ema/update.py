"""Arithmetic on many tensors at the speed of memory: the update of averages, and their distance from the raw weights.

An update is one `lerp` pass, after one read that guards against NaN and Inf. On the CPU the guard is a Python decision. On
CUDA it stays on the device: the fused SGD kernel of PyTorch with weight decay 1 and `maximize` is exactly
`shadow + (1 - decay) * (current - shadow)`, and does nothing where `found_inf` is set, so that no step waits for the device.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

# Devices on which the kernel decides whether an update is skipped.
DECIDING_DEVICES = ("cuda",)

# Several averages are updated block by block, so that the weights are read from memory once: 4 MB of float32.
BLOCK = 1_048_576

# Smaller tensors are read together: one call each would cost more than the reading.
SMALL = 16_384

# Elements of a distance at a time: on the CPU, both copies of a block and their difference stay in the cache of a core.
BLOCK_CPU = 32_768
BLOCK_DEVICE = 16_777_216


def lerp_(average: list[Tensor], current: list[Tensor], weight: float, skip: Tensor | None = None) -> None:
    """Move tensors by `weight` of their way to the current values, in place: `torch.lerp` up to rounding.

    Args:
        average: float32 or float64 tensors.
        current: tensors of the same shapes; all of one dtype and on one device, like the averages.
        weight: 1 - decay, from 0 to 1.
        skip: float tensor of shape (1,) on the device; 1 leaves all as they are. For weights below 0.5 on CPU or CUDA.
    """
    if weight >= 0.5 or average[0].device.type not in ("cpu", "cuda"):
        # lerp starts from the other end here, which keeps it exact where the weight is 1.
        torch._foreach_lerp_(average, current, weight)
        return
    # gradient := -current + 1 * average, average := average - weight * gradient; faster than _foreach_lerp_ too.
    torch._fused_sgd_(
        average, current, [], weight_decay=1.0, momentum=0.0, lr=weight, dampening=0.0, nesterov=False,
        maximize=True, is_first_step=True, grad_scale=None, found_inf=skip,
    )  # fmt: skip


def not_finite(tensors: list[Tensor]) -> Tensor:
    """Flag of shape (1,), float32 on the device of the tensors, which have one dtype: 1 where any is NaN or infinite, else 0.

    Reads the tensors once and does not wait for the device. The CPU reads by dot products, which run at
    memory speed; a finite value above 1e19 overflows its square, so that a positive answer is checked again.
    """
    if tensors[0].device.type != "cpu":
        sums = torch.stack(torch._foreach_norm(tensors, 1))
        return (~torch.isfinite(sums).all()).to(torch.float32).reshape(1)
    large = [flat(tensor) for tensor in tensors if tensor.numel() > SMALL]
    small = [tensor.reshape(-1) for tensor in tensors if 0 < tensor.numel() <= SMALL]
    squares = [torch.dot(flat, flat) for flat in large]
    if small:
        together = torch.cat(small)
        squares.append(torch.dot(together, together))
    suspect = bool(squares) and not bool(torch.isfinite(torch.stack(squares)).all())
    is_bad = suspect and not all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    return torch.tensor([float(is_bad)])


def flat(tensor: Tensor) -> Tensor:
    """All elements in one dimension: in memory order and without a copy where memory is dense."""
    if not tensor.is_contiguous():
        strides = tensor.stride()
        tensor = tensor.permute(sorted(range(tensor.dim()), key=lambda dim: -strides[dim]))
    return tensor.reshape(-1)


def in_blocks(group: list[int], tensors: Sequence[Tensor], elements: int) -> list[list[int]]:
    """A group cut into blocks of about so many elements, or of one tensor where that has more."""
    blocks: list[list[int]] = []
    room = 0
    for index in group:
        if not blocks or tensors[index].numel() > room:
            blocks.append([])
            room = elements
        blocks[-1].append(index)
        room -= tensors[index].numel()
    return blocks


@torch.no_grad()
def distance(raw: Sequence[Tensor], average: Sequence[Tensor], sharded: bool = False) -> dict[str, float]:
    """The `weight_*` scalars to log, of delta = average - raw over all elements; those that are not defined are left out.

    `weight_mean_abs_delta`, `weight_rms_delta`, `weight_max_abs_delta` (all in units of the weights),
    `weight_relative_rms_delta` (RMS of delta over RMS of the raw weights, where these are not all zero),
    `tracked_floating_tensors`.

    Differences and sums are float64: float32 sums of a block have errors above 1e-6 that depend on the kernel.
    The work is done on the devices of the averages; with `sharded` tensors all processes take part.
    """
    sums: dict[torch.device, list[Tensor]] = defaultdict(list)
    elements = 0
    for weights, shadow in zip(raw, average, strict=True):
        if shadow.is_complex():
            weights, shadow = torch.view_as_real(weights.resolve_conj()), torch.view_as_real(shadow)
        elements += shadow.numel()
        # The same order of elements in both: that of memory where both are laid out alike.
        in_order = flat if weights.stride() == shadow.stride() else torch.ravel
        sums[shadow.device] += _block_sums(in_order(weights), in_order(shadow))
    blocks = [torch.stack(scalars).view(-1, 4).cpu() for scalars in sums.values() if scalars]
    table = torch.cat([torch.zeros(1, 4, dtype=torch.float64), *blocks])
    total = torch.tensor([*table[:, :3].sum(dim=0), elements], dtype=torch.float64)
    largest = table[:, 3].max()
    if sharded:
        total, largest = total.to(average[0].device), largest.to(average[0].device)
        torch.distributed.all_reduce(total)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    abs_sum, square_sum, raw_square_sum, elements = total.tolist()
    metrics = {"tracked_floating_tensors": float(len(average))}
    if elements:
        metrics["weight_mean_abs_delta"] = abs_sum / elements
        metrics["weight_rms_delta"] = math.sqrt(square_sum / elements)
        metrics["weight_max_abs_delta"] = float(largest)
    if raw_square_sum > 0:
        metrics["weight_relative_rms_delta"] = math.sqrt(square_sum / raw_square_sum)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _block_sums(weights: Tensor, shadow: Tensor) -> list[Tensor]:
    """Scalars, four a block of elements: sum |delta|, sum delta^2, sum raw^2, max |delta|."""
    size = BLOCK_CPU if shadow.device.type == "cpu" else BLOCK_DEVICE
    device = torch.device("cpu") if shadow.device.type == "mps" else shadow.device  # MPS has no float64
    scratch = torch.empty(min(size, shadow.numel()), dtype=torch.float64, device=device)
    sums: list[Tensor] = []
    for first in range(0, shadow.numel(), size):
        average, raw = shadow[first : first + size], weights[first : first + size]
        block = scratch[: average.numel()].copy_(raw)
        # Not torch.dot: BLAS would start its threads for each block, and wait for all of them.
        raw_norm = torch.linalg.vector_norm(block)
        delta = block.sub_(average.to(device))
        norm = torch.linalg.vector_norm(delta)
        delta.abs_()
        sums += (delta.sum(), norm.square(), raw_norm.square(), delta.amax())
    return sums
