"""Places of the tensors of a module's `state_dict`, their canonical keys, and copies of them for checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

# Modules that wrap another one, and the name that the wrapped module has in them.
WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of one tensor in a module, looked up at each use, since a module may replace the tensor."""

    owner: MutableMapping[str, Tensor | None]
    name: str
    is_parameter: bool

    def tensor(self) -> Tensor:
        """The tensor there now."""
        tensor = self.owner[self.name]
        assert tensor is not None
        return tensor


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, DDP and activation checkpointing."""
    while (name := _wrapped_name(module)) is not None:
        module = module.get_submodule(name)
    return module


def find_slots(module: nn.Module) -> dict[str, Slot]:
    """Slots of the tensors in `module.state_dict()` by canonical key, in its order.

    Keys have no prefixes of wrappers. Entries of the state dict that are no parameter or buffer are not listed.

    Raises:
        ValueError: a parameter has no shape yet, or is kept in pieces by FSDP1 or DeepSpeed ZeRO-3.
    """
    reshard(module)
    walked = list(_walk(unwrapped(module), "", ""))
    by_tensor = {id(slot.tensor()): slot for _, _, slot in walked}
    by_actual = {actual: (key, slot) for key, actual, slot in walked}
    slots = {}
    for actual, tensor in unwrapped(module).state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor) or id(tensor) not in by_tensor:
            continue
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"EMA: {actual!r} has no shape yet; run one forward pass before the training starts"
            )
        key, slot = by_actual.get(actual, (actual, by_tensor[id(tensor)]))
        slots[key] = slot
    return slots


def reshard(module: nn.Module) -> None:
    """Cut the parameters of FSDP2 modules into shards again: a forward pass leaves those of the root as whole tensors."""
    for submodule in module.modules():
        if callable(cut := getattr(submodule, "reshard", None)):
            cut()


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a DTensor, of which each process has a shard."""
    kind = type(tensor)
    return kind is not Tensor and kind is not nn.Parameter and hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a DTensor, or the tensor itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def _walk(module: nn.Module, key: str, actual: str) -> Iterator[tuple[str, str, Slot]]:
    """Canonical key, actual key and slot of every parameter and buffer below `module`."""
    kind = type(module).__name__
    if kind == "FullyShardedDataParallel" or any(hasattr(p, "ds_id") for p in module._parameters.values()):
        raise ValueError(
            f"EMA: {key or 'the model'!r} is sharded by FSDP1 or DeepSpeed ZeRO-3, which hide its tensors; "
            "use FSDP2 (pytorch_lightning.strategies.ModelParallelStrategy) or set model.ema.enabled=false"
        )
    for owner, is_parameter in ((module._parameters, True), (module._buffers, False)):
        for name, tensor in owner.items():
            if tensor is not None:
                slot = Slot(cast("MutableMapping[str, Tensor | None]", owner), name, is_parameter)
                yield f"{key}{name}", f"{actual}{name}", slot
    wrapped = _wrapped_name(module)
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, key if name == wrapped else f"{key}{name}.", f"{actual}{name}.")


def _wrapped_name(module: nn.Module) -> str | None:
    for kind in type(module).__mro__:
        name = WRAPPERS.get(kind.__name__)
        if name is not None and name in module._modules:
            return name
    return None


def is_averaged(slot: Slot) -> bool:
    """Whether a slot is averaged: floating or complex, and no buffer of constants such as a mask of -inf."""
    tensor = slot.tensor()
    is_inexact = tensor.is_floating_point() or tensor.is_complex()
    return is_inexact and (slot.is_parameter or bool(torch.isfinite(local(tensor)).all()))


def count_writes(module: nn.Module) -> list[int]:
    """Number of writes into each parameter and buffer so far, as PyTorch counts them; -1 for tensors without a count."""
    return [
        -1 if nn.parameter.is_lazy(tensor) or tensor.is_inference() else tensor._version
        for tensor in (*module.parameters(), *module.buffers())
    ]


def captured(state: Mapping[str, Any], whole: bool = True) -> dict[str, Any]:
    """Copies of the tensors of a state dict on the CPU, tied as in the original; other values are passed on.

    DTensors are copied `whole`, for which every process must take part, or as shards.
    """
    copies: dict[tuple[Any, ...], Tensor] = {}

    def copied(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if is_sharded(value):
            return value.full_tensor().cpu() if whole else value.detach().clone()  # type: ignore[attr-defined]
        identity = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() == 0 or identity not in copies:
            copies[identity] = value.detach().to("cpu", copy=True)
        return copies[identity]

    with torch.inference_mode(False), torch.no_grad():
        return {key: copied(value) for key, value in state.items()}
