"""Overlapping blocks of cells that cover a domain, the profiles nearest to each, and weights that blend their fields."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from depthdif import EARTH_RADIUS
from depthdif.first_guess.covariance import Cells

# Weight of the squared distance from the centre of a block beside that from the block itself, where profiles are chosen.
_CENTRE = 0.01

# Distances that are computed at a time.
_AT_ONCE = 2**22


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """K blocks of h x w cells of a domain.

    Attributes:
        rows, columns: (K, h) and (K, w) int64, numbers of rows and columns of the domain.
        row_weight, column_weight: (K, h) and (K, w) float64; of all blocks that hold a cell, their products sum to 1.
        latitude, longitude: (K, h) and (K, w) radians; longitudes go on across the seam of a periodic domain.
        period: of the domain in radians of longitude; None where it has a western and an eastern edge.
    """

    rows: Tensor
    columns: Tensor
    row_weight: Tensor
    column_weight: Tensor
    latitude: Tensor
    longitude: Tensor
    period: float | None

    @classmethod
    def cover(cls, domain: Cells, ocean: Tensor, side: int, period: float | None) -> Blocks:
        """Blocks of at most `side` rows and columns that cover the `ocean` (H, W) of a domain; `period` in degrees."""
        _, height, width = domain.shape
        rows, row_weights = _axis(height, side, wraps=False)
        columns, column_weights = _axis(width, side, wraps=period is not None)
        cells = ocean.numpy(force=True)
        inside = [[cells[np.ix_(row, column)].any() for column in columns] for row in rows]
        down, across = np.nonzero(inside)
        row_index, column_index, row_weight, column_weight = (
            torch.from_numpy(part).to(ocean.device)
            for part in (rows[down], columns[across], row_weights[down], column_weights[across])
        )
        latitude, longitude = domain.latitude.flatten()[row_index], domain.longitude.flatten()[column_index]
        radians = None if period is None else math.radians(period)
        if radians is not None:
            longitude = longitude[:, :1] + torch.remainder(longitude - longitude[:, :1], radians)
        return cls(row_index, column_index, row_weight, column_weight, latitude, longitude, radians)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Tensor) -> Blocks:
        """Some blocks by their numbers."""
        parts = {name: part[numbers] for name, part in vars(self).items() if name != "period"}
        return Blocks(**parts, period=self.period)

    def cells(self, domain: Cells) -> Cells:
        """The h x w cells of each block."""
        surface = domain.surface[0][:, self.rows[:, :, None], self.columns[:, None]].transpose(0, 1)
        return Cells(self.latitude[:, :, None], self.longitude[:, None], surface)

    def nearest_image(self, longitude: Tensor) -> Tensor:
        """Longitudes (K, N) or (N,), moved by whole periods to where they are nearest to the centre of each block, (K, N)."""
        centre = self.longitude[:, [0, -1]].mean(dim=1, keepdim=True)
        east = longitude - centre
        if self.period is not None:
            east = torch.remainder(east + self.period / 2, self.period) - self.period / 2
        return centre + east

    def place(self, index: Tensor, width: int) -> Tensor:
        """The number of domain cells (K, N) among the cells of each block; -1 where it does not hold them."""
        down = index // width - self.rows[:, :1]
        across = index % width - self.columns[:, :1]
        if self.period is not None:
            across = torch.remainder(across, width)
        height, wide = self.rows.shape[1], self.columns.shape[1]
        inside = (down >= 0) & (down < height) & (across >= 0) & (across < wide)
        return torch.where(inside, down * wide + across, -1)

    def add(self, total: Tensor, fields: Tensor) -> None:
        """Add weighted fields (K, D, h w) of the blocks to those of the domain, (D, H, W)."""
        weight = self.row_weight[:, :, None] * self.column_weight[:, None]
        weighted = (fields.unflatten(2, weight.shape[1:]) * weight[:, None]).to(total.dtype)
        for block, rows, columns in zip(weighted, self.rows, self.columns, strict=True):
            total[:, rows[:, None], columns] += block

    def nearest(self, profiles: Cells, scales: tuple[float, float], number: int) -> tuple[Tensor, Tensor]:
        """The `number` profiles (1, N, 1) nearest to each block, in their order, and their squared distances, (K, n) both.

        Distances are those of `powered_exponential` without surface fields.
        """
        number = min(number, profiles.shape[1])
        step = max(1, _AT_ONCE // max(1, profiles.shape[1]))
        numbers, distances = [], []
        for part in torch.arange(len(self), device=self.rows.device).split(step):
            distance = self.take(part)._squared_distance(profiles, scales)
            chosen = distance.topk(number, largest=False, sorted=False).indices.sort().values
            numbers.append(chosen)
            distances.append(distance.gather(1, chosen))
        return torch.cat(numbers), torch.cat(distances)

    def _squared_distance(self, profiles: Cells, scales: tuple[float, float]) -> Tensor:
        """(K, N), in units of the scales; within a block only the distance from its centre counts."""
        latitude = profiles.latitude.flatten()
        longitude = self.nearest_image(profiles.longitude.flatten())
        (south, north), (west, east) = (
            axis[:, [0, -1]].sort(dim=1).values.T[..., None] for axis in (self.latitude, self.longitude)
        )
        squared = torch.zeros_like(longitude)
        nearest = latitude.clamp(south, north), longitude.clamp(west, east), 1.0
        for lat, lon, weight in (nearest, ((south + north) / 2, (west + east) / 2, _CENTRE)):
            down = (EARTH_RADIUS / scales[0] * (latitude - lat)).square()
            across = (2 * EARTH_RADIUS / scales[1] * torch.sin((longitude - lon) / 2)).square()
            squared += weight * (down + across * latitude.cos() * lat.cos())
        return squared


def _axis(cells: int, side: int, *, wraps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cells (n, side) int64 of blocks along an axis, each half shared with the next, and weights that sum to 1 in each cell."""
    # Half of a periodic axis at most, so that every cell of a block has the profiles around it on their near side.
    side = max(1, min(side, cells // 2 if wraps else cells))
    stride = max(1.0, side / 2)
    if wraps:
        number = math.ceil(cells / stride)
        start = np.arange(number) * cells / number
    else:
        number = 1 + math.ceil((cells - side) / stride)
        start = np.linspace(0, cells - side, number)
    index = (np.rint(start).astype(np.int64)[:, None] + np.arange(side)) % cells
    weight = np.tile(_ramp(side), (number, 1))
    total = np.bincount(index.ravel(), weights=weight.ravel(), minlength=cells)
    return index, weight / total[index]


def _ramp(side: int) -> np.ndarray:
    """(side,) weights of the cells of a block before they are divided by their sum: linear from each edge to the centre."""
    return np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
