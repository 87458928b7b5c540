"""Distance of the averages from the raw weights, in one pass over memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from depthdif.ema.update import flat

# Elements of a distance at a time: on the CPU, both copies of a block and their difference stay in the cache of a core.
BLOCK_CPU = 32_768
BLOCK_DEVICE = 16_777_216


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
