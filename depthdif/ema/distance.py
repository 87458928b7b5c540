"""Distance of the averages from the raw weights, in one pass over memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from depthdif.ema.update import flat

# Elements of a row, which is summed in the precision of the averages; float64 sums the rows. Rows are so short that
# float32 sums of terms of one sign are accurate to 1e-6, whatever the width of the vectors of the CPU.
ROW = 256

# Elements at a time: on the CPU, both copies of a block and their difference stay in the cache.
BLOCK_CPU = 262_144
BLOCK_DEVICE = 16_777_216


@torch.no_grad()
def distance(raw: Sequence[Tensor], average: Sequence[Tensor], sharded: bool = False) -> dict[str, float]:
    """The `weight_*` scalars to log, of delta = average - raw over all elements; those that are not defined are left out.

    `weight_mean_abs_delta`, `weight_rms_delta`, `weight_max_abs_delta` (all in units of the weights),
    `weight_relative_rms_delta` (RMS of delta over RMS of the raw weights, where these are not all zero),
    `tracked_floating_tensors`.

    The relative error is below 1e-6, unless squares overflow or underflow: for float32 averages, deltas and weights
    outside 1e-19 to 1e19. The work is done on the devices of the averages; with `sharded` tensors all processes take part.
    """
    parts: dict[torch.device, list[tuple[Tensor, ...]]] = defaultdict(list)
    elements = 0
    for weights, shadow in zip(raw, average, strict=True):
        if shadow.is_complex():
            weights, shadow = torch.view_as_real(weights.resolve_conj()), torch.view_as_real(shadow)
        elements += shadow.numel()
        # The same order of elements in both: that of memory where both are laid out alike.
        in_order = flat if weights.stride() == shadow.stride() else torch.ravel
        parts[shadow.device] += _over_rows(in_order(weights), in_order(shadow))
    table = torch.stack(
        [torch.zeros(4, dtype=torch.float64), *map(_over_blocks, filter(None, parts.values()))]
    )
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


def _over_rows(weights: Tensor, shadow: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """For each block, of each of its rows: sum of |delta|, norm of delta, norm of raw, max of |delta|."""
    for raw, average in zip(_blocks(weights), _blocks(shadow), strict=True):
        delta = average - raw
        norms = torch.linalg.vector_norm(delta, dim=1)
        raw_norms = torch.linalg.vector_norm(raw, dim=1, dtype=delta.dtype)
        delta.abs_()
        yield delta.sum(dim=1), norms, raw_norms, delta.amax(dim=1)


def _over_blocks(blocks: list[tuple[Tensor, ...]]) -> Tensor:
    """Of all rows on one device, float64 on the CPU: sums of |delta|, of delta^2 and of raw^2, max of |delta|."""
    rows = [torch.cat(part) for part in zip(*blocks, strict=True)]
    # MPS has no float64.
    abs_sums, norms, raw_norms, largest = (part.cpu() if part.is_mps else part for part in rows)
    squares = [part.double().square().sum() for part in (norms, raw_norms)]
    return torch.stack([abs_sums.double().sum(), *squares, largest.double().amax()]).cpu()


def _blocks(elements: Tensor) -> Iterator[Tensor]:
    """A flat tensor as blocks of whole rows; what is left is a row by itself."""
    whole = elements.numel() // ROW * ROW
    if whole:
        size = BLOCK_CPU if elements.device.type == "cpu" else BLOCK_DEVICE
        yield from elements[:whole].view(-1, ROW).split(size // ROW)
    if whole < elements.numel():
        yield elements[whole:].view(1, -1)
