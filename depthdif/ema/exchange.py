"""Exchange of the weights that a module holds for an average of them, and back: by pointer, without a copy.

Roles never mix: raw tensors and averages are told apart by the list that they are in, not by where they lie
at the moment. The stash of raw tensors is complete before the first tensor moves and lives until the last
is back, so that whoever interrupts in between (a signal handler that saves a checkpoint, an exception)
still finds every raw tensor.
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
    """What an exchange moves: indices of slots, the module's tensors, their raw data, what they are given."""

    name: Any
    moved: list[int]
    objects: list[Tensor]
    raw: list[Tensor]
    given: list[Tensor]


class Exchange:
    """Holds named averages in the slots of a module for a while.

    Parameters exchange their storage; a DTensor's shards are copied in place, since FSDP2 gathers from
    memory of its own. Buffers get a copy of their average: what the module writes there meanwhile is the
    module's, and stays.

    Args:
        slots: the slots that change hands.
        shadows: averages by name, each in the order of `slots`.
    """

    def __init__(self, slots: Sequence[Slot], shadows: dict[Any, list[Tensor]]) -> None:
        self._slots = slots
        self._shadows = shadows
        self._buffers = {i for i, slot in enumerate(slots) if not slot.is_parameter}
        self._stash: _Stash | None = None
        self._depth = 0
        self._written: set[int] = set()
        self.held: Any = None

    @contextmanager
    def holding(self, name: Any) -> Iterator[None]:
        """Hold the average `name`, or the raw weights where it is None; afterwards what was held before.

        Contexts nest. A value that the module wrote into a buffer stays until the outermost context ends,
        and after.
        """
        before = self.held
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
        """Give the module its raw weights, whatever it holds and whoever holds it."""
        self._move(None)
        self._depth = 0
        self._written.clear()

    def raw(self) -> list[Tensor]:
        """The raw tensors in the order of the slots, also while the module holds an average."""
        tensors = [slot.tensor() for slot in self._slots]
        stash = self._stash
        if stash is not None:
            for index, tensor in zip(stash.moved, stash.raw, strict=True):
                tensors[index] = tensor
        return tensors

    def _move(self, name: Any) -> None:
        with torch.inference_mode(False), torch.no_grad():
            if self._stash is not None:
                self._take_out(self._stash)
            if name is not None:
                self._put_in(name)

    def _put_in(self, name: Any) -> None:
        moved = [i for i in range(len(self._slots)) if i not in self._written]
        objects = [self._slots[i].tensor() for i in moved]
        shadows = self._shadows[name]
        given = [_given(shadows[i], into, i in self._buffers) for i, into in zip(moved, objects, strict=True)]
        raw = [local(into).clone() if is_sharded(into) else into.data for into in objects]
        self.held = name
        self._stash = _Stash(name, moved, objects, raw, given)
        for into, average in zip(objects, given, strict=True):
            _set(into, average)

    def _take_out(self, stash: _Stash) -> None:
        self.held = None
        written = self._written_by_module(stash)
        for index, from_, raw in zip(stash.moved, stash.objects, stash.raw, strict=True):
            if index in written:
                raw.copy_(from_)
            _set(from_, raw)
        self._written |= written
        self._stash = None

    def _written_by_module(self, stash: _Stash) -> set[int]:
        """Indices of buffers that are other tensors now, or no longer hold the average that was put there."""
        written, compared, answers = set(), [], []
        for place, index in enumerate(stash.moved):
            if index not in self._buffers:
                continue
            slot, given_to = self._slots[index], stash.objects[place]
            # An exchange that was interrupted has not moved every tensor.
            if is_sharded(given_to) or given_to.data_ptr() == stash.raw[place].data_ptr():
                continue
            if slot.owner.get(slot.name) is not given_to:
                written.add(index)
                continue
            average = self._shadows[stash.name][index].to(given_to.device, given_to.dtype)
            compared.append(index)
            # NaN differs from itself, and an average may hold one.
            is_same = (given_to == average) | (given_to.isnan() & average.isnan())
            answers.append(~is_same.all())
        if answers:
            device = answers[0].device
            changed = torch.stack([answer.to(device, non_blocking=True) for answer in answers]).tolist()
            written |= {index for index, has_changed in zip(compared, changed, strict=True) if has_changed}
        return written


def _given(shadow: Tensor, into: Tensor, as_copy: bool) -> Tensor:
    """What a tensor of the module is given: the shadow itself wherever it can be."""
    if not as_copy and shadow.dtype == into.dtype and shadow.device == into.device:
        return shadow
    return shadow if is_sharded(into) else shadow.to(into.device, into.dtype, copy=as_copy)


def _set(tensor: Tensor, data: Tensor) -> None:
    if is_sharded(tensor):
        local(tensor).copy_(local(data))
    else:
        tensor.data = data
