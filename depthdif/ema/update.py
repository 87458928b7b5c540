"""The update of many tensors at the speed of memory: one `lerp` pass, after one read that guards against
NaN and Inf.

On the CPU the guard is a Python decision. On an accelerator the decision stays on the device: the fused SGD
kernel of PyTorch with weight decay 1 and `maximize` is exactly `shadow + (1 - decay) * (current - shadow)`,
and it skips itself where `found_inf` is set, so that no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Smaller tensors are read together: one call each would cost more than the reading.
SMALL = 16_384


def lerp_(
    shadows: Sequence[Tensor], current: Sequence[Tensor], weight: float, skip: Tensor | None = None
) -> None:
    """Move each shadow by `weight` of its way to the current value, in place.

    Args:
        shadows: averages, float32 or float64.
        current: tensors of the same shapes, dtypes and devices.
        weight: 1 - decay, from 0 to 1.
        skip: one-element float tensor on the device; 1 leaves all shadows as they are. Needs `weight` below
        0.5.
    """
    for group in _by_device_and_dtype(shadows):
        into = [shadows[i] for i in group]
        towards = [current[i] for i in group]
        if skip is None:
            torch._foreach_lerp_(into, towards, weight)
        else:
            _fused_lerp_(into, towards, weight, skip.to(into[0].device, non_blocking=True))


def _fused_lerp_(shadows: list[Tensor], current: list[Tensor], weight: float, skip: Tensor) -> None:
    # gradient := -current + 1 * shadow, shadow := shadow - weight * gradient
    torch._fused_sgd_(
        shadows, current, [], weight_decay=1.0, momentum=0.0, lr=weight, dampening=0.0, nesterov=False,
        maximize=True, is_first_step=True, grad_scale=None, found_inf=skip,
    )  # fmt: skip


def not_finite(tensors: Sequence[Tensor]) -> Tensor:
    """1.0 where any element of any tensor is NaN or infinite, else 0.0: shape (1,), on the first tensor's
    device.

    Reads the tensors once and does not wait for the device. The CPU reads by dot products, which run at
    memory speed; a finite value above 1e19 overflows its square, so that a positive answer is checked
    again, exactly.
    """
    if not tensors:
        return torch.zeros(1)
    flags = [
        _not_finite_on_cpu(group) if group[0].device.type == "cpu" else _not_finite_on_device(group)
        for group in ([tensors[i] for i in indices] for indices in _by_device_and_dtype(tensors))
    ]
    first = flags[0]
    for flag in flags[1:]:
        first = torch.maximum(first, flag.to(first.device, non_blocking=True))
    return first


def _not_finite_on_device(tensors: list[Tensor]) -> Tensor:
    sums = torch.stack(torch._foreach_norm(tensors, 1))
    return (~torch.isfinite(sums).all()).to(torch.float32).reshape(1)


def _not_finite_on_cpu(tensors: list[Tensor]) -> Tensor:
    large = [flat(tensor) for tensor in tensors if tensor.numel() > SMALL]
    small = [tensor.reshape(-1) for tensor in tensors if 0 < tensor.numel() <= SMALL]
    squares = [torch.dot(flat, flat) for flat in large]
    if small:
        together = torch.cat(small)
        squares.append(torch.dot(together, together))
    suspect = bool(squares) and not bool(torch.isfinite(torch.stack(squares)).all())
    found = suspect and not all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    return torch.tensor([float(found)])


def flat(tensor: Tensor) -> Tensor:
    """All elements in one dimension: in memory order and without a copy where memory is dense."""
    if not tensor.is_contiguous():
        strides = tensor.stride()
        tensor = tensor.permute(sorted(range(tensor.dim()), key=lambda dim: -strides[dim]))
    return tensor.reshape(-1)


def _by_device_and_dtype(tensors: Sequence[Tensor]) -> list[list[int]]:
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(index)
    return list(groups.values())
