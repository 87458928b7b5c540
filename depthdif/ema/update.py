"""The update of many tensors at the speed of memory.

An update is one `lerp` pass, after one read that guards against NaN and Inf: all weights are checked before the first average
moves, because a `lerp` in place cannot be undone exactly.

On the CPU the guard is a Python decision. On CUDA it stays on the device: the fused SGD kernel of PyTorch with weight decay 1 and
`maximize` is exactly `shadow + (1 - decay) * (current - shadow)`, and does nothing where `found_inf` is set, so that no step
waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Devices on which the kernel decides whether an update is skipped.
DECIDING_DEVICES = ("cuda",)

# Several averages are updated block by block, so that the weights are read from memory once: 4 MB of float32.
BLOCK = 1_048_576


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

    Reads the tensors once and does not wait for a device. On the CPU dot products read them at the speed of memory, on
    all threads. A finite value above 1e19 overflows its square, so that a positive answer is checked again there.
    """
    if tensors[0].device.type != "cpu":
        sums = torch.stack(torch._foreach_norm(tensors, 1))
        return (~torch.isfinite(sums).all()).to(torch.float32).reshape(1)
    squares = torch.stack([torch.dot(elements, elements) for elements in map(flat, tensors)])
    is_suspect = not bool(torch.isfinite(squares).all())
    is_bad = is_suspect and not all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
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
