"""Several processes: sharding of the denoiser (FSDP2), and values put together from all of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, distributed, nn

from depthdif import UserError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all devices: each holds a part of the weights, their gradients and the state of the optimizer.

    Checkpoints are single files with whole tensors, which any number of devices and any strategy reads. (Lightning's own defaults
    are tensor parallelism within a node, and a checkpoint in parts.)

    Args:
        process_group_backend: None takes NCCL on GPUs and Gloo on CPUs.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """Set the number of shards, which is known now."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(denoiser: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the blocks of the denoiser, which are gathered one at a time, and what remains; once only.

    Raises:
        UserError: the mesh has tensor parallelism.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(denoiser, FSDPModule):
        return
    # Nothing writes into the prediction.
    warnings.filterwarnings("ignore", message=".*returned a view tensor")
    if (parts := mesh["tensor_parallel"].size()) > 1:
        raise UserError(
            f"trainer.strategy computes each layer on {parts} devices (tensor parallelism), expected shards alone: "
            "set trainer=fsdp2"
        )
    for block in blocks(denoiser):
        fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(denoiser, mesh=mesh["data_parallel"])


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost `ModuleList`s."""
    for child in module.children():
        yield from child.children() if isinstance(child, nn.ModuleList) else blocks(child)


def gathered(part: Tensor, device: torch.device) -> Tensor:
    """The parts (B, ...) of all processes one after another, on `device`; a collective operation."""
    part = part.to(device).contiguous()
    if not (distributed.is_available() and distributed.is_initialized()):
        return part
    parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part)
    return torch.cat(parts)


def first_of_each(index: Tensor) -> Tensor:
    """Where each of the values in `index` (N,) comes first, ordered by value: leaves out repeated samples."""
    return torch.from_numpy(np.unique(index.cpu().numpy(), return_index=True)[1])
