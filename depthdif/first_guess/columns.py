"""The observed columns of a batch of patches, padded to one length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class ObservedColumns:
    """The columns of B patches that are observed at any level: complete ones first, then those that end early, then all others.

    The numbers lie on the host, so that the sizes of tensors on a GPU are known without waiting for it.

    Attributes:
        index: (B, N) int64 flat cells; before the columns of a patch H W, which is no cell.
        count: of the columns of each patch.
        incomplete: how many of them, the last, are not observed at all levels.
        late: how many, the last, there are from the first that a level observes although it lacks one before it.
    """

    index: Tensor
    count: Sequence[int]
    incomplete: Sequence[int]
    late: Sequence[int]

    @classmethod
    def from_mask(cls, observed_mask: Tensor) -> ObservedColumns:
        """Of a mask (B, D, H, W), shallowest level first; a mask on a GPU is waited for."""
        masks = observed_mask.flatten(2).numpy(force=True)
        columns, late = [], []
        for mask in masks:
            cells = np.flatnonzero(mask.any(axis=0))
            observed = mask[:, cells]
            levels, deepest = observed.sum(axis=0), len(observed) - observed[::-1].argmax(axis=0)
            order = np.lexsort([-levels, levels < deepest])
            columns.append(cells[order])
            late.append(int(count_late(observed[:, order])))
        count = [len(cells) for cells in columns]
        index = np.full((len(masks), max(count, default=0)), masks.shape[2])
        for row, cells in zip(index, columns, strict=True):
            row[len(row) - len(cells) :] = cells
        complete = masks.all(axis=1).sum(axis=1).tolist()
        incomplete = [number - whole for number, whole in zip(count, complete, strict=True)]
        return cls(torch.from_numpy(index), count, incomplete, late)

    def take(self, patches: Sequence[int], index: Tensor) -> ObservedColumns:
        """Those of some patches, without padding that none of them needs; `index` holds the same numbers as `patches`."""
        count, incomplete, late = (
            [numbers[patch] for patch in patches] for numbers in (self.count, self.incomplete, self.late)
        )
        return ObservedColumns(
            self.index[index][:, self.index.shape[1] - max(count) :], count, incomplete, late
        )

    def to(self, device: torch.device) -> ObservedColumns:
        """On another device, which is not waited for."""
        return dataclasses.replace(self, index=self.index.to(device, non_blocking=True))


def count_late(observed: np.ndarray) -> np.ndarray:
    """How many columns there are from the first that a level observes although it lacks one before it, (...) of (..., D, N)."""
    lacks_one_before = np.logical_or.accumulate(~observed, axis=-1)
    is_late = (lacks_one_before & observed).any(axis=-2)
    return np.logical_or.accumulate(is_late, axis=-1).sum(axis=-1)


def at_places(values: Tensor, place: Tensor, cells: int) -> Tensor:
    """Values (B, D, N) of columns in `cells` cells, (B, D, cells), 0 where there is none.

    `place` (B, N) is the cell of each column, any other number where it has none.
    """
    # Those without a place go to a cell after the last one.
    place = torch.where((place >= 0) & (place < cells), place, cells)
    grid = values.new_zeros(*values.shape[:2], cells + 1)
    return grid.scatter_(2, place[:, None].expand(-1, values.shape[1], -1), values)[..., :-1]


class Profiles(NamedTuple):
    """N columns of each patch, the first of them padding.

    Attributes:
        values: (B, D, N) float64, 0 where not observed.
        observed: (B, D, N) bool.
        noise: (B, D, N) float64 variance that an observation has beyond that of all others, relative to the field.
    """

    values: Tensor
    observed: Tensor
    noise: Tensor
