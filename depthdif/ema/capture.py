"""Copies of state dicts for checkpoints: what is captured never changes afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from depthdif.ema.slots import is_sharded


def captured(state: Mapping[str, Any], whole: bool = True) -> dict[str, Any]:
    """Copies of the tensors of a state dict on the CPU, tied as they were: what is captured never changes.

    Args:
        state: tensors, and other values that are passed on, by key.
        whole: put the shards of DTensors together, for which every process must take part; else copy shards.
    """
    copies: dict[tuple[Any, ...], Tensor] = {}
    with torch.inference_mode(False), torch.no_grad():
        return {key: _captured(value, whole, copies) for key, value in state.items()}


def _captured(value: Any, whole: bool, copies: dict[tuple[Any, ...], Tensor]) -> Any:
    if not isinstance(value, Tensor):
        return value
    if is_sharded(value):
        return value.full_tensor().cpu() if whole else value.detach().clone()  # type: ignore[attr-defined]
    identity = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
    if value.numel() == 0 or identity not in copies:
        copies[identity] = value.detach().to("cpu", copy=True)
    return copies[identity]
