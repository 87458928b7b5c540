"""Exponential moving averages of a module's weights, without any training framework."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from depthdif.ema.decay import Decay, effective_decay
from depthdif.ema.distance import distance
from depthdif.ema.exchange import Exchange
from depthdif.ema.slots import Slot, find_slots, is_averaged, is_sharded, local, reshard, unwrapped
from depthdif.ema.update import BLOCK, DECIDING_DEVICES, in_blocks, lerp_, not_finite

_AVERAGES: weakref.WeakKeyDictionary[nn.Module, ModuleAverages] = weakref.WeakKeyDictionary()


def averaged(module: nn.Module, decay: Decay | None = None) -> AbstractContextManager[None]:
    """Context with an average in `module`, wrapped or not, by default the first; afterwards exactly the earlier weights.

    Raises:
        ValueError: no `ModuleAverages` follows this module, or not with this decay.
    """
    averages = _AVERAGES.get(unwrapped(module))
    if averages is None:
        raise ValueError(
            f"averaged: this {type(module).__name__} has no averages; "
            "create ModuleAverages(module, [0.999]) first, or train with model.ema.enabled=true"
        )
    return averages.holding(averages.decays[0] if decay is None else decay)


class ModuleAverages:
    """Exponential moving averages of the tensors in a module's `state_dict`, one for each decay.

    Floating and complex tensors are averaged, others copied; so are floating buffers that hold NaN or Inf
    when the averaging starts (masks of -inf). Tied tensors are averaged once. Shadows of half-precision
    tensors are float32. Averages start as copies of the weights. Keys are canonical: those of the plain
    module, without the prefixes of `torch.compile`, DDP or activation checkpointing.

    Args:
        module: the module to follow; it is not changed and has no reference to its averages.
        decays: constants or `PowerDecay`; the first is the main one.
        guard: leave out updates in which a weight is NaN or infinite.

    Attributes:
        attempted_updates: number of calls of `update` so far, including skipped ones.
        known_skips: number of skipped updates that are known without waiting for the device.

    Raises:
        ValueError: the module has parameters without a shape yet, or is sharded by FSDP1 or DeepSpeed ZeRO-3.
    """

    def __init__(self, module: nn.Module, decays: Sequence[Decay], guard: bool = True) -> None:
        self.decays = tuple(decays)
        self.guard = guard
        self.attempted_updates = 0
        self._module = weakref.ref(unwrapped(module))
        self.known_skips = 0
        self._skipped_on_device: Tensor | None = None
        self._averaged: list[Slot] = []
        self._copied: list[Slot] = []
        self._keys: dict[str, tuple[bool, int]] = {}
        known: dict[int, tuple[bool, int]] = {}
        with torch.inference_mode(False), torch.no_grad():
            for key, slot in find_slots(module).items():
                identity = id(slot.tensor())
                if identity not in known:
                    is_float = is_averaged(slot)
                    slots = self._averaged if is_float else self._copied
                    known[identity] = (is_float, len(slots))
                    slots.append(slot)
                self._keys[key] = known[identity]
            self._is_sharded = any(is_sharded(slot.tensor()) for slot in self._averaged)
            self._shadows = {
                decay: [_shadow_of(slot.tensor()) for slot in self._averaged] for decay in self.decays
            }
            self._copies = [slot.tensor().detach().clone() for slot in self._copied]
            self._lay_out()
        self._exchange = Exchange(self._averaged, self._shadows)
        _AVERAGES[unwrapped(module)] = self

    def follows(self, module: nn.Module) -> bool:
        """Whether these are the averages of this module."""
        return self._module() is unwrapped(module)

    @property
    def skipped_updates(self) -> int:
        """Number of updates left out because a weight was NaN or infinite; reading it syncs the device."""
        return self.known_skips + (
            0 if self._skipped_on_device is None else int(self._skipped_on_device.item())
        )

    @skipped_updates.setter
    def skipped_updates(self, number: int) -> None:
        self.known_skips, self._skipped_on_device = number, None

    def seed(self) -> bool:
        """Make all averages equal to the current weights, if these are finite, and return whether they are."""
        with torch.inference_mode(False), torch.no_grad():
            current = self._current()
            if self.guard and bool(self._not_finite(current)):
                return False
            for work in self._work.values():
                torch._foreach_copy_(work, current)
            self._copy_the_others()
        return True

    def update(self, warmup: bool = False) -> None:
        """Update every average after an optimizer step, with a shorter memory at the beginning for `warmup`.

        Skipped, and counted in `skipped_updates`, where a weight is not finite. On CUDA the device decides
        that, so that no step waits for it.
        """
        rates = [1 - effective_decay(decay, self.attempted_updates, warmup) for decay in self.decays]
        self.attempted_updates += 1
        with torch.inference_mode(False), torch.no_grad():
            current = self._current()
            skip = self._not_finite(current) if self.guard and current else None
            if skip is not None and (skip.device.type not in DECIDING_DEVICES or max(rates) >= 0.5):
                if bool(skip):
                    self.known_skips += 1
                    return
                skip = None
            if skip is not None:
                before = self._skipped_on_device
                self._skipped_on_device = skip.clone() if before is None else before.add_(skip)
            for block in self._blocks:
                weights = _select(current, block)
                skip_here = None if skip is None else skip.to(weights[0].device, non_blocking=True)
                for decay, rate in zip(self.decays, rates, strict=True):
                    lerp_(_select(self._work[decay], block), weights, rate, skip_here)
            self._copy_the_others(skip)

    def state(self, decay: Decay) -> dict[str, Tensor]:
        """The averages by canonical `state_dict` key: the tracked tensors themselves, not copies."""
        shadows = self._shadows[decay]
        return {key: shadows[i] if is_float else self._copies[i] for key, (is_float, i) in self._keys.items()}

    def current_state(self) -> dict[str, Tensor]:
        """The tensors in the module now, by the same keys: not copies."""
        self._gather_shards()
        slots = {True: self._averaged, False: self._copied}
        return {key: slots[is_float][i].tensor().detach() for key, (is_float, i) in self._keys.items()}

    def load(self, decay: Decay, state: Mapping[str, Tensor]) -> list[str]:
        """Set one average from saved tensors; keys that are not in `state` keep their value and are returned.

        Raises:
            ValueError: a saved tensor has another shape than the module's.
        """
        missing = []
        with torch.inference_mode(False), torch.no_grad():
            for key, tensor in self.state(decay).items():
                if key not in state:
                    missing.append(key)
                    continue
                if state[key].shape != tensor.shape:
                    raise ValueError(
                        f"EMA: the saved average of {key!r} has shape {tuple(state[key].shape)}, the model "
                        f"has {tuple(tensor.shape)}; use the model configuration that wrote the checkpoint"
                    )
                tensor.copy_(_distributed_like(state[key], tensor))
        return missing

    def holding(self, decay: Decay | None) -> AbstractContextManager[None]:
        """Context with the average of this decay in the module, or its raw weights for None."""
        if decay is not None and decay not in self._shadows:
            raise ValueError(
                f"EMA: no average with decay {decay}; tracked: {', '.join(map(str, self.decays))}"
            )
        self._gather_shards()
        return self._exchange.holding(decay)

    def release(self) -> None:
        """Restore the raw weights of the module."""
        self._gather_shards()
        self._exchange.release()

    @property
    def active(self) -> Decay | None:
        """Decay of the average in the module, None while it has its raw weights."""
        active: Decay | None = self._exchange.active
        return active

    def distance(self, decay: Decay) -> dict[str, float]:
        """How far this average is from the raw weights, over all shards where there are several: see `distance`."""
        self._gather_shards()
        raw, average = map(local, self._exchange.raw()), map(local, self._shadows[decay])
        return distance(list(raw), list(average), sharded=self._is_sharded)

    def broadcast_buffers(self) -> None:
        """Give every process the averaged buffers of the first: under DDP each has statistics of its own."""
        for shadows in self._shadows.values():
            for slot, shadow in zip(self._averaged, shadows, strict=True):
                if not slot.is_parameter and not is_sharded(shadow):
                    torch.distributed.broadcast(shadow, src=0)

    def _lay_out(self) -> None:
        """Prepare the tensors of an update: the shadows as real tensors, this process's shards of them."""
        self._work = {
            decay: [_workable(t, t.dtype) for t in shadows] for decay, shadows in self._shadows.items()
        }
        work = self._work[self.decays[0]]
        groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for index, shadow in enumerate(work):
            groups.setdefault((shadow.device, shadow.dtype), []).append(index)
        self._groups = list(groups.values())
        self._blocks = self._groups
        if len(self.decays) > 1:
            self._blocks = [block for group in self._groups for block in in_blocks(group, work, BLOCK)]
        tensors = [slot.tensor() for slot in self._averaged]
        self._is_plain = not any(t.is_complex() or is_sharded(t) for t in tensors) and all(
            t.dtype == shadow.dtype for t, shadow in zip(tensors, work, strict=True)
        )

    def _current(self) -> list[Tensor]:
        """The weights as real tensors of the shadows' dtypes and devices, this process's shards only."""
        self._gather_shards()
        tensors = [slot.tensor() for slot in self._averaged]
        shadows = self._shadows[self.decays[0]]
        # A module moves as a whole: it is enough to look at its first tensor.
        if tensors and tensors[0].device != shadows[0].device:
            for average in self._shadows.values():
                average[:] = [shadow.to(t.device) for shadow, t in zip(average, tensors, strict=True)]
            self._copies = [c.to(s.tensor().device) for c, s in zip(self._copies, self._copied, strict=True)]
            self._lay_out()
        if self._is_plain and tensors and tensors[0].dtype == shadows[0].dtype:
            return tensors
        return [_workable(tensor, shadow.dtype) for tensor, shadow in zip(tensors, shadows, strict=True)]

    def _copy_the_others(self, skip: Tensor | None = None) -> None:
        for copy, slot in zip(self._copies, self._copied, strict=True):
            tensor = local(slot.tensor())
            if skip is not None:
                is_skipped = skip.to(tensor.device, non_blocking=True).bool().squeeze()
                tensor = torch.where(is_skipped, local(copy), tensor)
            local(copy).copy_(tensor)

    def _not_finite(self, current: list[Tensor]) -> Tensor:
        flags = [not_finite(_select(current, group)) for group in self._groups] or [torch.zeros(1)]
        flag = flags[0]
        for other in flags[1:]:
            flag = torch.maximum(flag, other.to(flag.device, non_blocking=True))
        if self._is_sharded:
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return flag

    def _gather_shards(self) -> None:
        module = self._module()
        if self._is_sharded and module is not None:
            reshard(module)


def _shadow_of(tensor: Tensor) -> Tensor:
    full = torch.complex64 if tensor.is_complex() else torch.float32
    is_half = tensor.dtype.itemsize < full.itemsize
    return tensor.detach().to(full if is_half else tensor.dtype, copy=True)


def _select(tensors: list[Tensor], group: list[int]) -> list[Tensor]:
    return tensors if len(group) == len(tensors) else [tensors[i] for i in group]


def _workable(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = local(tensor)
    if tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _distributed_like(whole: Tensor, tensor: Tensor) -> Tensor:
    """A whole saved tensor, cut into shards as `tensor` is, without communication."""
    if not is_sharded(tensor) or is_sharded(whole):
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole.to(tensor.device, tensor.dtype), mesh, placements, src_data_rank=None)
