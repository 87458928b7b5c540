"""How far the averages are from the raw weights, in one pass over memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthdif.ema.update import flat

# Elements worked on at a time: on the CPU, both copies of a block and their difference stay in the cache of
# a core.
BLOCK_CPU = 32_768
BLOCK_DEVICE = 16_777_216


@dataclass(frozen=True)
class Distance:
    """Sums over all elements of delta = average - raw.

    Attributes:
        elements: number of elements compared.
        tensors: number of tensors compared.
        abs_sum: sum of |delta|.
        square_sum: sum of |delta|^2.
        raw_square_sum: sum of |raw|^2.
        abs_max: largest |delta|.
    """

    elements: int
    tensors: int
    abs_sum: float
    square_sum: float
    raw_square_sum: float
    abs_max: float

    def metrics(self) -> dict[str, float]:
        """The `weight_*` scalars to log; those that are not defined are left out.

        `weight_mean_abs_delta`, `weight_rms_delta`, `weight_max_abs_delta` (all in units of the weights),
        `weight_relative_rms_delta` (RMS of delta over RMS of the raw weights, where these are not all zero),
        `tracked_floating_tensors`.
        """
        metrics: dict[str, float] = {"tracked_floating_tensors": float(self.tensors)}
        if self.elements:
            metrics["weight_mean_abs_delta"] = self.abs_sum / self.elements
            metrics["weight_rms_delta"] = math.sqrt(self.square_sum / self.elements)
            metrics["weight_max_abs_delta"] = self.abs_max
        if self.raw_square_sum > 0:
            metrics["weight_relative_rms_delta"] = math.sqrt(self.square_sum / self.raw_square_sum)
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def over_processes(self, device: torch.device) -> Distance:
        """The same over the shards of all processes, which meet on tensors of `device`."""
        local = [self.elements, self.abs_sum, self.square_sum, self.raw_square_sum]
        sums = torch.tensor(local, dtype=torch.float64, device=device)
        largest = torch.tensor(self.abs_max, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        elements, abs_sum, square_sum, raw_square_sum = sums.tolist()
        return Distance(int(elements), self.tensors, abs_sum, square_sum, raw_square_sum, float(largest))


@torch.no_grad()
def distance(raw: Sequence[Tensor], average: Sequence[Tensor]) -> Distance:
    """Compare raw tensors with their averages, pair by pair.

    Differences and sums are float64: float32 sums of a block have errors above 1e-6 that depend on the kernel.

    Args:
        raw: tensors of any floating or complex dtype and device.
        average: tensors of the same shapes; the work is done on their devices.
    """
    sums: dict[torch.device, list[Tensor]] = defaultdict(list)
    elements = 0
    for weights, shadow in zip(raw, average, strict=True):
        if shadow.is_complex():
            weights, shadow = torch.view_as_real(weights.resolve_conj()), torch.view_as_real(shadow)
        elements += shadow.numel()
        sums[shadow.device] += _block_sums(*_flat_pair(weights, shadow))
    blocks = [torch.stack(scalars).view(-1, 4).cpu() for scalars in sums.values() if scalars]
    if not blocks:
        return Distance(0, len(average), 0.0, 0.0, 0.0, 0.0)
    table = torch.cat(blocks)
    abs_sum, square_sum, raw_square_sum = table[:, :3].sum(dim=0).tolist()
    return Distance(elements, len(average), abs_sum, square_sum, raw_square_sum, float(table[:, 3].max()))


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


def _flat_pair(weights: Tensor, shadow: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dimension with the same order of elements: that of memory where both are laid out alike."""
    if weights.stride() == shadow.stride():
        return flat(weights), flat(shadow)
    return weights.reshape(-1), shadow.reshape(-1)
