"""Regions of a field, and the patches that lie wholly inside one region."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from depthdif import UserError
from depthdif.data.field import OceanField


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The part of a field that a region covers: times (T,) bool and cells (H, W) bool; both must hold."""

    times: np.ndarray
    cells: np.ndarray

    def complement(self) -> Selection:
        """The rest of the field: the other cells at all times, or all cells at the other times.

        Raises:
            UserError: the region limits both times and cells; its complement is not a selection.
        """
        if self.times.all():
            return Selection(self.times, ~self.cells)
        if self.cells.all():
            return Selection(~self.times, self.cells)
        raise UserError(
            "data.validation limits both times and cells; set data.training, e.g. to a region beside it"
        )

    def overlaps(self, other: Selection) -> bool:
        """Whether any cell at any time lies in both."""
        return bool((self.times & other.times).any() and (self.cells & other.cells).any())


@dataclasses.dataclass(frozen=True)
class Box:
    """All times of a box in longitude and latitude, degrees, by the centres of the cells.

    Longitudes are modulo 360, or the period of the field, so (170, -170) crosses the date line. East and north, except the
    pole, are excluded, so that neighbouring boxes share no cell.
    """

    longitude: tuple[float, float] = (-180.0, 180.0)
    latitude: tuple[float, float] = (-90.0, 90.0)

    def __post_init__(self) -> None:
        for name in ("longitude", "latitude"):
            limits = tuple(float(value) for value in getattr(self, name))
            if len(limits) != 2 or not np.all(np.isfinite(limits)):
                raise UserError(
                    f"a region has {name}={list(limits)}; expected two numbers, e.g. {name}=[30,110]"
                )
            object.__setattr__(self, name, limits)
        south, north = self.latitude
        if not -90 <= south < north <= 90:
            raise UserError(
                f"a region has latitude=[{south:g},{north:g}]; expected south < north within -90 to 90"
            )
        west, east = self.longitude
        if west == east or east - west > 360:
            raise UserError(
                f"a region has longitude=[{west:g},{east:g}]; expected west and east at most 360 degrees "
                "apart, e.g. longitude=[30,110]"
            )

    def select(self, field: OceanField) -> Selection:
        """The cells whose centre lies in the box, at every time."""
        west, east = self.longitude
        period = field.period
        width = period if east - west >= period else (east - west) % period or period
        south, north = self.latitude
        columns = (field.longitude - west) % period < width
        rows = (field.latitude >= south) & ((field.latitude < north) | (north == 90))
        return Selection(np.ones(len(field.times), bool), rows[:, None] & columns[None, :])


@dataclasses.dataclass(frozen=True)
class TimeRange:
    """All cells at the times from start to stop, both included.

    They are ISO dates, whole or partial: "2018" to "2018" is the year 2018, None is open.
    """

    start: str | None = None
    stop: str | None = None

    def select(self, field: OceanField) -> Selection:
        """Every cell, at the times within the range."""
        index = field.target.get_index("time")
        start, stop = (None if limit is None else str(limit) for limit in (self.start, self.stop))
        try:
            inside = index.slice_indexer(start, stop)
        except (TypeError, ValueError) as error:  # pandas raises one, cftime the other
            raise UserError(
                f"a region has start={start} and stop={stop}, which cannot be read as dates; expected e.g. "
                "start=2018-01-01 stop=2018-12-31"
            ) from error
        times = np.zeros(len(index), bool)
        times[inside] = True
        return Selection(times, np.ones(field.target.shape[-2:], bool))


Region = Box | TimeRange


@dataclasses.dataclass(frozen=True)
class Patch:
    """Position of a patch: index of its time, of its southern row and of its western column."""

    time: int
    row: int
    column: int


class PatchSet:
    """All patches of `patch_size` rows and columns that lie wholly inside a region and contain enough ocean.

    `min_ocean_fraction` is the least share of a patch that is ocean at the surface; `name`, training or validation, is that of
    the region in messages.

    Raises:
        UserError: the patch is larger than the grid, the region holds no ocean, or no patch fits into it.
    """

    def __init__(
        self,
        field: OceanField,
        region: Selection,
        patch_size: tuple[int, int],
        min_ocean_fraction: float = 0.25,
        name: str = "training",
    ) -> None:
        height, width = patch_size
        rows, columns = field.target.shape[-2:]
        if height > rows or width > columns:
            raise UserError(
                f"data.patch_size=[{height},{width}] is larger than the grid of {rows} x {columns} cells; "
                f"set e.g. data.patch_size=[{min(height, rows)},{min(width, columns)}]"
            )
        if not 0 <= min_ocean_fraction <= 1:
            raise UserError(f"data.min_ocean_fraction={min_ocean_fraction}; expected a number from 0 to 1")
        ocean = field.surface_ocean_mask
        if not region.times.any() or not (region.cells & ocean).any():
            part = "time" if not region.times.any() else "ocean"
            longitude, latitude, times = field.longitude, field.latitude, field.times
            raise UserError(
                f"the {name} region holds no {part} of this field (longitude {longitude[0]:g} to {longitude[-1]:g}, "
                f"latitude {latitude[0]:g} to {latitude[-1]:g}, {str(times[0])[:10]} to {str(times[-1])[:10]}); "
                "choose other limits, e.g. data.validation.longitude=[WEST,EAST] (data.training=null is the rest "
                "of the field)"
            )
        inside = window_sums(region.cells, patch_size, field.wraps) == height * width
        # At least one column of ocean even for a fraction of 0: a patch of land has no target.
        needed = max(1.0, min_ocean_fraction * height * width)
        allowed = inside & (window_sums(ocean, patch_size, field.wraps) >= needed)
        if not allowed.any():
            reason = "fits into" if not inside.any() else f"has an ocean fraction of {min_ocean_fraction} in"
            raise UserError(
                f"no patch of {height} x {width} cells {reason} the {name} region; set a smaller "
                f"data.patch_size, a larger data.{name} region or a smaller data.min_ocean_fraction"
            )
        # Flat and 32 bits: 8 million corners of a global 1/12 degree grid are copied to every worker.
        self._corners = np.flatnonzero(allowed).astype(np.int32)
        self._columns = allowed.shape[1]
        self._times = np.flatnonzero(region.times)

    @property
    def positions(self) -> int:
        """Number of allowed south-western corners."""
        return len(self._corners)

    def __len__(self) -> int:
        return self.positions * len(self._times)

    def draw(self, generator: np.random.Generator) -> Patch:
        """One patch, every position and time as likely as any other."""
        corner = int(self._corners[generator.integers(self.positions)])
        return Patch(int(self._times[generator.integers(len(self._times))]), *divmod(corner, self._columns))

    def spread(self, count: int, generator: np.random.Generator) -> list[Patch]:
        """`count` distinct patches, spread evenly over positions and times, in random order.

        Raises:
            UserError: fewer distinct patches exist.
        """
        if count > len(self):
            raise UserError(
                f"data.validation_patches={count}, but the validation region holds only "
                f"{len(self)} distinct patches ({self.positions} positions, {len(self._times)} times); "
                f"set data.validation_patches={len(self)} or fewer"
            )
        # One corner from each of equal stretches of a Z-order curve, which keeps neighbours together.
        curve = np.argsort(_z_order(*np.divmod(self._corners, self._columns)), kind="stable")
        used = min(count, self.positions)
        edges = np.arange(used + 1) * self.positions // used
        corners = self._corners[curve][generator.integers(edges[:-1], edges[1:])]
        # A position that is used several times gets a different time in each round.
        rounds = -(-count // used)
        first = generator.permutation(used) * len(self._times) // used
        later = np.arange(rounds) * len(self._times) // rounds
        times = self._times[(first[None, :] + later[:, None]) % len(self._times)].ravel()
        places = np.tile(corners, rounds)
        order = generator.permutation(count)
        return [Patch(int(times[i]), *divmod(int(places[i]), self._columns)) for i in order]


def consecutive_times(inside: np.ndarray, time: int, count: int) -> range | None:
    """`count` neighbouring indices of the times `inside` (T,) bool with `time` among them, in the middle where that is possible.

    None where fewer neighbours are inside.
    """
    outside = np.flatnonzero(~inside)
    first = int(outside[outside < time].max(initial=-1)) + 1
    end = int(outside[outside > time].min(initial=len(inside)))
    if end - first < count:
        return None
    start = min(max(time - count // 2, first), end - count)
    return range(start, start + count)


def window_sums(mask: np.ndarray, window: tuple[int, int], wraps: bool) -> np.ndarray:
    """Count of true cells of a mask (H, W) in the window of (h, w) cells at each corner, by a summed-area table.

    (H - h + 1, W) int64 when it wraps, that is when windows may cross the last column, else (H - h + 1, W - w + 1).
    """
    height, width = window
    if wraps:
        mask = np.concatenate([mask, mask[:, : width - 1]], axis=1)
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    table[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    rows = table[height:] - table[:-height]
    return rows[:, width:] - rows[:, :-width]


def read_patch(field: OceanField, patch: Patch, patch_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Target (C, H, W) and surface (S, H, W) of a patch, float32, units of the file, NaN where missing."""
    rows, columns = _cells(field, patch, patch_size)
    target = [
        np.concatenate([array.variable[patch.time, :, rows, part].values for part in columns], axis=-1)
        for array in field.targets
    ]
    surface = [field.surface_at(patch.time, rows, part) for part in columns]
    return np.concatenate(target) if field.further else target[0], np.concatenate(surface, axis=-1)


def ocean_of_patch(
    field: OceanField, patch: Patch, patch_size: tuple[int, int], target: np.ndarray
) -> np.ndarray:
    """(C, H, W) bool, where the ocean is in a patch whose `target` (C, H, W) was read."""
    return np.isfinite(target) if field.ocean is None else cut(field.ocean, field, patch, patch_size)


def cut(values: np.ndarray, field: OceanField, patch: Patch, patch_size: tuple[int, int]) -> np.ndarray:
    """The part (C, h, w) of values (C, H, W) on the grid of a field that lies in a patch."""
    rows, columns = _cells(field, patch, patch_size)
    return np.concatenate([values[:, rows, part] for part in columns], axis=-1)


def _cells(field: OceanField, patch: Patch, patch_size: tuple[int, int]) -> tuple[slice, list[slice]]:
    """Rows of a patch, and its columns: those before the last column of the field, then those beyond it, if any."""
    height, width = patch_size
    beyond = patch.column + width - field.target.shape[-1]
    columns = [slice(patch.column, patch.column + width), *([slice(beyond)] if beyond > 0 else [])]
    return slice(patch.row, patch.row + height), columns


def patch_longitude(field: OceanField, patch: Patch, width: int) -> np.ndarray:
    """(W,) float32 longitudes of a patch, degrees east, ascending across the seam."""
    columns = patch.column + np.arange(width)
    size = len(field.longitude)
    return (field.longitude[columns % size] + field.period * (columns // size)).astype(np.float32)


def as_patch_size(patch_size: int | Sequence[int], option: str = "data.patch_size") -> tuple[int, int]:
    """Rows and columns from one number or two; an error names the `option`."""
    sizes = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(f"{option}={patch_size}; expected a positive integer or [ROWS,COLUMNS]")
    return sizes[0], sizes[1]


def _z_order(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Position along the Z-order (Morton) curve: the bits of row and column interleaved."""
    code = np.zeros(len(rows), np.int64)
    for bit in range(20):
        for offset, index in enumerate((columns, rows)):
            code |= ((index >> bit) & 1).astype(np.int64) << (2 * bit + offset)
    return code
