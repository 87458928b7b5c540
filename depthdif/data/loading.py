"""Loaders of training and validation: how draws and fixed patches are dealt out to the processes of a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler

from depthdif.data.dataset import Batch
from depthdif.data.workers import ignore_stop_signals, worker_context


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands in the endless sequence of training draws, as its checkpoints save it.

    Attributes:
        draws: that were trained on, by all processes together.
        batches: that each process has trained on, in Lightning's count.
        batch_size: patches of a batch on all processes together; None before the first batch.
    """

    draws: int = 0
    batches: int = 0
    batch_size: int | None = None

    def after(self, batches: int, batch_size: int) -> Position:
        """The position when Lightning counts `batches`, those since this position with `batch_size` patches."""
        return Position(self.draws + (batches - self.batches) * batch_size, batches, batch_size)


class DrawSampler(DistributedSampler):
    """Numbers of the draws of one epoch for one process, starting after the draws that were trained on.

    All epochs are one endless sequence of draws, of which a batch takes the next ones, whatever the number of processes. (The
    epoch number that Lightning passes to set_epoch cannot be used: after a resume with max_steps it runs ahead.) A
    DistributedSampler, so that Lightning does not wrap it.

    `length` is the number of draws in an epoch, all ranks together, a multiple of the batches of all ranks; `draws_done` returns
    the number of draws that were trained on.
    """

    def __init__(self, length: int, draws_done: Callable[[], int], rank: int = 0, ranks: int = 1) -> None:
        super().__init__(range(length), num_replicas=ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._draws_done = draws_done

    def __iter__(self) -> Iterator[int]:
        start = self._draws_done()
        return iter(range(start + self.rank, start + self.total_size, self.num_replicas))


class SharedBatches(DistributedSampler):
    """Numbers of the samples of a fixed set for one process: its contiguous part of every batch of a single process.

    All ranks get equally many batches of equal size, because each batch has collective operations: where the ranks do not divide
    a batch, its last sample is repeated. Batches that are put together in the order of the ranks end with the repetitions.

    `length` is the size of the set, `batch_size` that of the batches that are shared.
    """

    def __init__(self, length: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        super().__init__(range(length), num_replicas=ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._batches = [range(length)[start : start + batch_size] for start in range(0, length, batch_size)]
        self.part_size = self._part(batch_size)

    def __len__(self) -> int:
        return sum(self._part(len(batch)) for batch in self._batches)

    def __iter__(self) -> Iterator[int]:
        for batch in self._batches:
            first = self.rank * self._part(len(batch))
            yield from (
                batch[min(place, len(batch) - 1)] for place in range(first, first + self._part(len(batch)))
            )

    def _part(self, size: int) -> int:
        return -(-size // self.num_replicas)


class TimedLoader(DataLoader):
    """Counts the seconds that its user waited for batches in `seconds_waited`, without the start of the workers."""

    seconds_waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.seconds_waited += time.perf_counter() - start
            yield batch


class ResumableLoader(TimedLoader):
    """A loader with the two methods by which Lightning recognises one that can resume.

    It has no state: the data module saves the position of the training draws.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ignore the state, which is empty."""


def loader_options(num_workers: int, seed: int, collate: Callable[..., Batch]) -> dict[str, Any]:
    """What all loaders of a run have in common; `collate` makes a batch of samples."""
    workers: dict[str, Any] = {}
    if num_workers:
        workers = {
            "multiprocessing_context": worker_context(),
            "persistent_workers": True,
            "worker_init_fn": ignore_stop_signals,
        }
    return {
        "num_workers": num_workers,
        "collate_fn": collate,
        "pin_memory": torch.cuda.is_available(),
        # Its own: a loader draws a number at every start, which must not move the noise of the model.
        "generator": torch.Generator().manual_seed(seed),
        **workers,
    }
