"""A region larger than the network's patch: overlapping tiles, whose predictions are fused at every step of the reverse chain."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depthdif import UserError
from depthdif.diffusion.sampler import Denoiser

# Share of an overlap at each of its sides that one tile alone predicts; between, the weights change as squared sine and cosine.
# The least argument of that sine.
MARGIN, LEAST = 1 / 4, 1e-3


class Corner(NamedTuple):
    """First row and first column of a tile; the columns go on with the first one beyond the last."""

    row: int
    column: int


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Overlapping tiles of a region of H x W cells.

    The tiles are evenly spaced, so that none is a sliver, and none is larger than the region. Where the region wraps, tiles cross
    the last column, even those as wide as the region.

    Args:
        height, width: of the region.
        size: rows and columns of a tile.
        overlap: share of a tile that neighbours have in common at least, from 0 to below 1.
        wraps: whether the last column is the western neighbour of the first.
        period: degrees of longitude after which a place is the same place.
    """

    height: int
    width: int
    size: tuple[int, int]
    overlap: float = 0.5
    wraps: bool = False
    period: float = 360.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UserError(
                f"overlap={self.overlap}; expected a share from 0 to below 1, such as overlap=0.5"
            )
        object.__setattr__(self, "size", (min(self.size[0], self.height), min(self.size[1], self.width)))

    def columns(self, corner: Corner) -> Tensor:
        """(w,) numbers of the columns of a tile."""
        return torch.arange(corner.column, corner.column + self.size[1]) % self.width

    @functools.cached_property
    def weights(self) -> dict[Corner, Tensor]:
        """(h, w) float32 weight of each tile; those of a cell add up to 1.

        They fall to next to nothing in the outer quarter of an overlap, where a network sees zeros instead of the neighbours, but
        not at the borders of the region. Where a single tile covers a cell, its weight is exactly 1.
        """
        rows = _shares(self.height, self.size[0], self.overlap, circle=False)
        columns = _shares(self.width, self.size[1], self.overlap, circle=self.wraps)
        return {
            Corner(row, column): (down[:, None] * across).float()
            for row, down in rows.items()
            for column, across in columns.items()
        }

    def cut(self, tensor: Tensor, corner: Corner) -> Tensor:
        """(..., h, w) of a tensor (..., H, W)."""
        rows = tensor[..., corner.row : corner.row + self.size[0], :]
        end = corner.column + self.size[1]
        if end <= self.width:
            return rows[..., corner.column : end]
        return torch.cat([rows[..., corner.column :], rows[..., : end - self.width]], dim=-1)

    def add(self, total: Tensor, tile: Tensor, corner: Corner) -> None:
        """Add a tile (..., h, w) to a tensor (..., H, W) in place."""
        rows = total[..., corner.row : corner.row + self.size[0], :]
        end = corner.column + self.size[1]
        first = min(self.size[1], self.width - corner.column)
        rows[..., corner.column : min(end, self.width)] += tile[..., :first]
        if end > self.width:
            rows[..., : end - self.width] += tile[..., first:]

    def batch(self, batch: Mapping[str, Tensor], corner: Corner) -> dict[str, Tensor]:
        """The part of a batch of the data contract, one or several members of the whole region, that lies in a tile."""
        part = {}
        for name, tensor in batch.items():
            if name == "latitude":
                tensor = tensor[:, corner.row : corner.row + self.size[0]]
            elif name == "longitude":
                columns = self.columns(corner).to(tensor.device)
                # Ascending across the seam, as in a patch of the training.
                tensor = tensor[:, columns] + self.period * (columns < corner.column)
            elif tensor.ndim == 4:
                tensor = self.cut(tensor, corner)
            part[name] = tensor
        if "coordinates" in part:
            part["coordinates"] = centre(part["latitude"], part["longitude"])
        return part


def centre(latitude: Tensor, longitude: Tensor) -> Tensor:
    """(B, 2) centre of patches with latitude (B, H) and longitude (B, W), the longitude from -180 to 180."""
    middle = (longitude[:, 0] + longitude[:, -1]) / 2
    return torch.stack([(latitude[:, 0] + latitude[:, -1]) / 2, (middle + 180) % 360 - 180], dim=1)


@dataclasses.dataclass(frozen=True, eq=False)
class TiledRegion:
    """How a whole region is sampled.

    Attributes:
        tiles: of the region.
        patches_at_once: tiles times members in one call of the network, which bounds the memory.
        rows, columns: (H,) and (W,) numbers of the rows and columns in the whole grid, by which noise is drawn.
        advance: called after each evaluation of the whole region.
    """

    tiles: Tiles
    patches_at_once: int
    rows: NDArray[np.integer]
    columns: NDArray[np.integer]
    advance: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if self.patches_at_once < 1:
            raise UserError(
                f"patches_at_once={self.patches_at_once}; expected at least 1, such as patches_at_once=8"
            )


class TiledDenoiser:
    """A denoiser of a whole region: the weighted mean of the predictions of a denoiser for overlapping tiles.

    With it in place of the denoiser, one step of a scheduler moves one global state, and the reverse chain is the same as for a
    patch. The mean of the predictions is the state that agrees best with all tiles by least squares (MultiDiffusion, Bar-Tal et
    al. 2023, arXiv 2302.08113, eq. 5). Tiles without ocean are left out.

    Args:
        denoiser: from (noisy, timestep, batch) to the prediction.
        region: its tiles.
        conditions: from the batch of a tile to that of the denoiser (`Residual.conditions`), here, so that the derived
            conditions of the whole region are never stored.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        region: TiledRegion,
        conditions: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    ) -> None:
        self._denoiser, self._region, self._conditions = denoiser, region, conditions
        # Once a block of nearly 32 MB was freed, glibc keeps freed memory for the next tile. Otherwise each tile maps its memory
        # anew, which took a third of the time of a global field.
        torch.empty(31 * 2**20, dtype=torch.uint8)

    def __call__(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The prediction (E, D, H, W) for E members, from their `noisy` states and the `batch` of the region, once or E times.

        Members differ in their `noised_mask` alone, where there is one.
        """
        tiles, total, at_once = self._region.tiles, torch.zeros_like(noisy), self._region.patches_at_once
        own = batch.get("noised_mask")
        batch = {name: tensor[:1] for name, tensor in batch.items() if name != "noised_mask"}
        ocean = batch["ocean_mask"][0].any(dim=0)
        corners = [corner for corner in tiles.weights if tiles.cut(ocean, corner).any()]
        masks = [None] * -(-len(noisy) // at_once) if own is None else own.split(at_once)
        for states, sums, mask in zip(noisy.split(at_once), total.split(at_once), masks, strict=True):
            members = len(states)
            count = at_once // members
            for first in range(0, len(corners), count):
                group = corners[first : first + count]
                parts = [self._conditions(tiles.batch(batch, corner)) for corner in group]
                joined = {
                    name: torch.cat([part[name].expand(members, *part[name].shape[1:]) for part in parts])
                    for name in parts[0]
                }
                if mask is not None:
                    joined["noised_mask"] = torch.cat([tiles.cut(mask, corner) for corner in group])
                cut = torch.cat([tiles.cut(states, corner) for corner in group])
                predictions = self._denoiser(cut, timestep, joined).split(members)
                for corner, prediction in zip(group, predictions, strict=True):
                    tiles.add(sums, prediction * tiles.weights[corner].to(prediction), corner)
        if self._region.advance:
            self._region.advance()
        return total


def starts(length: int, size: int, overlap: float, circle: bool) -> list[int]:
    """First cells of evenly spaced tiles that cover a line, or a circle, of `length` cells."""
    stride = max(1, round(size * (1 - overlap)))
    if circle:
        count = -(-length // stride)
        return [length * n // count for n in range(count)]
    count = 1 + -(-(length - size) // stride)
    return [0] if count == 1 else [(length - size) * n // (count - 1) for n in range(count)]


def _shares(length: int, size: int, overlap: float, circle: bool) -> dict[int, Tensor]:
    """(size,) float64 weights along one axis of the tiles by their first cells; those of a cell add up to exactly or nearly 1."""
    first = starts(length, size, overlap, circle)
    spacing = max(np.diff([*first, first[0] + length] if circle else first), default=size)
    margin, ramp = MARGIN * (size - spacing), (1 - 2 * MARGIN) * (size - spacing)
    place = torch.arange(size, dtype=torch.float64) + 0.5
    total, shares = torch.zeros(length, dtype=torch.float64), {}
    for start in first:
        distance = torch.full((size,), float(size), dtype=torch.float64)
        if circle or start > 0:
            distance = torch.minimum(distance, place)
        if circle or start + size < length:
            distance = torch.minimum(distance, size - place)
        height = ((distance - margin) / max(ramp, LEAST)).clamp(LEAST, 1)
        shares[start] = torch.sin(height * (math.pi / 2)).square()
        total.index_add_(0, (start + torch.arange(size)) % length, shares[start])
    return {start: share / total[(start + torch.arange(size)) % length] for start, share in shares.items()}
