"""Exchange of the weights that a module holds for an average of them, and back: by pointer, without a copy.

Roles never mix: raw tensors and averages are told apart by the list that they are in, not by their place in memory. The stash
of raw tensors is complete before the first tensor moves and lives until the last is back, so that an interruption in between (a
signal handler that saves a checkpoint, an exception) still finds every raw tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from depthdif.ema.slots import Slot, is_sharded, local


@dataclass(frozen=True)
class _Stash:
    """Indices of the slots that an average was put into, the module's tensors there, and their raw data."""

    name: Any
    moved: list[int]
    objects: list[Tensor]
    raw: list[Tensor]


class Exchange:
    """Puts averages into the slots of a module, and takes them out again.

    Parameters exchange their storage; a DTensor's shards are copied in place, since FSDP2 gathers from memory of
    its own. Buffers get a copy of their average: what the module writes there stays.

    Args:
        slots: of the averaged tensors.
        shadows: averages by name, each in the order of `slots`.
    """

    def __init__(self, slots: Sequence[Slot], shadows: dict[Any, list[Tensor]]) -> None:
        self._slots = slots
        self._shadows = shadows
        self._buffers = {i for i, slot in enumerate(slots) if not slot.is_parameter}
        self._stash: _Stash | None = None
        self._depth = 0
        self._written: set[int] = set()
        self.active: Any = None

    @contextmanager
    def holding(self, name: Any) -> Iterator[None]:
        """Context with the average `name` in the module, or the raw weights where it is None; contexts nest."""
        before = self.active
        self._depth += 1
        try:
            self._move(name)
            yield
        finally:
            self._move(before)
            self._depth -= 1
            if self._depth == 0:
                self._written.clear()

    def release(self) -> None:
        """Restore the raw weights and end all contexts."""
        self._move(None)
        self._depth = 0
        self._written.clear()

    def raw(self) -> list[Tensor]:
        """The raw tensors in the order of the slots, also while an average is active."""
        tensors = [slot.tensor() for slot in self._slots]
        if self._stash is not None:
            for index, tensor in zip(self._stash.moved, self._stash.raw, strict=True):
                tensors[index] = tensor
        return tensors

    @torch.inference_mode(False)
    @torch.no_grad()
    def _move(self, name: Any) -> None:
        if (stash := self._stash) is not None:
            self.active = None
            written = self._written_by_module(stash)
            for index, from_, raw in zip(stash.moved, stash.objects, stash.raw, strict=True):
                if index in written:
                    raw.copy_(from_)
                _set(from_, raw)
            self._written |= written
            self._stash = None
        if name is None:
            return
        moved = [i for i in range(len(self._slots)) if i not in self._written]
        objects = [self._slots[i].tensor() for i in moved]
        averages = [self._fitting(name, i, into) for i, into in zip(moved, objects, strict=True)]
        raws = [local(into).clone() if is_sharded(into) else into.data for into in objects]
        self.active = name
        self._stash = _Stash(name, moved, objects, raws)
        for into, average in zip(objects, averages, strict=True):
            _set(into, average)

    def _fitting(self, name: Any, index: int, into: Tensor) -> Tensor:
        """An average as a tensor that can take the place of another: the shadow itself wherever it can be."""
        shadow = self._shadows[name][index]
        is_buffer = index in self._buffers
        # Tensor.to would say so too, in twice the time.
        is_alike = shadow.dtype == into.dtype and shadow.device == into.device
        if is_sharded(into) or (is_alike and not is_buffer):
            return shadow
        return shadow.to(into.device, into.dtype, copy=is_buffer)

    def _written_by_module(self, stash: _Stash) -> set[int]:
        """Indices of buffers that are other tensors now, or no longer hold the average that was put there."""
        written, compared, answers = set(), [], []
        for place, index in enumerate(stash.moved):
            if index not in self._buffers:
                continue
            slot, into = self._slots[index], stash.objects[place]
            # An exchange that was interrupted has not moved every tensor.
            if is_sharded(into) or into.data_ptr() == stash.raw[place].data_ptr():
                continue
            if slot.owner.get(slot.name) is not into:
                written.add(index)
                continue
            average = self._shadows[stash.name][index].to(into.device, into.dtype)
            compared.append(index)
            # NaN differs from itself, and an average may hold one.
            is_same = (into == average) | (into.isnan() & average.isnan())
            answers.append(~is_same.all())
        if answers:
            device = answers[0].device
            changed = torch.stack([answer.to(device, non_blocking=True) for answer in answers]).tolist()
            written |= {index for index, has_changed in zip(compared, changed, strict=True) if has_changed}
        return written


def _set(tensor: Tensor, data: Tensor) -> None:
    if is_sharded(tensor):
        local(tensor).copy_(local(data))
    else:
        tensor.data = data
