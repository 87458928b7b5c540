"""The vertical section that pictures of a prediction show."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthdif import EARTH_RADIUS, UserError
from depthdif.figures.globe import Field, places_on_grid
from depthdif.figures.level_maps import format_degrees

EXAMPLES = "{longitude: 80}, {latitude: 0} or {track: [[50,-30],[60,-20]]}"
# Points of a track to a cell, so that it misses none that it crosses.
POINTS_A_CELL = 8


@dataclasses.dataclass(frozen=True, eq=False)
class SectionLine:
    """N cells of a grid along a line.

    Attributes:
        rows, columns: (N,) numbers of the cells.
        position: (N,) where they lie, ascending: degrees, or km from the start of a track.
        along: what `position` is: "latitude", "longitude" or "distance".
        title: such as "along 80°E".
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    position: Field
    along: str
    title: str

    def numbers_of(self, row: Field, column: Field) -> NDArray[np.int64]:
        """Numbers of the cells of the line in which places lie, in cells from the corner of the grid (`places_on_grid`)."""
        at = np.stack([row, column])[:, None] // 1 == np.stack([self.rows, self.columns])[..., None]
        return np.flatnonzero(at.all(axis=0).any(axis=1))


@dataclasses.dataclass(frozen=True)
class Section:
    """A section along a meridian, a parallel or a track; exactly one is given.

    Attributes:
        longitude: degrees east of a meridian.
        latitude: degrees north of a parallel.
        track: points [longitude, latitude] that are joined by great circles.

    Raises:
        UserError: none or several of them, or a place that is none.
    """

    longitude: float | None = None
    latitude: float | None = None
    track: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
        }
        if len(given) != 1:
            raise UserError(
                f"section={given or '{}'}; expected one of longitude, latitude and track: set section={EXAMPLES}"
            )
        ((name, place),) = given.items()
        points = place if name == "track" else [[0.0, place] if name == "latitude" else [place, 0.0]]
        is_line = isinstance(points, Sequence) and all(map(_is_place, points))
        if not is_line or (name == "track" and len(points) < 2):
            expected = "two or more points [longitude, latitude]" if name == "track" else f"degrees of {name}"
            raise UserError(f"section={{{name}: {place}}}; expected {expected}: set section={EXAMPLES}")

    @classmethod
    def from_setting(cls, setting: Mapping[str, Any] | None, longitudes: Field) -> Section:
        """The section of the key `section`; None is the meridian in the middle of the (W,) longitudes of a grid."""
        if setting is None:
            return cls(longitude=float(longitudes[len(longitudes) // 2]))
        unknown = [key for key in setting if key not in {field.name for field in dataclasses.fields(cls)}]
        if unknown:
            raise UserError(
                f"section has the key {unknown[0]!r}; expected longitude, latitude or track: set section={EXAMPLES}"
            )
        return cls(**setting)

    def on(self, latitude: Field, longitude: Field) -> SectionLine:
        """The cells that it crosses on a grid with (H,) latitudes and (W,) longitudes.

        Raises:
            UserError: a section that crosses fewer than two cells.
        """
        distance: Field | None = None
        if self.track is not None:
            north, east, distance = great_circles(np.array(self.track, float), _spacing(latitude, longitude))
        elif self.latitude is not None:
            north, east = np.full(len(longitude), self.latitude), longitude
        else:
            north, east = latitude, np.full(len(latitude), self.longitude)
        row, column = places_on_grid(north, east, latitude, longitude)
        inside = np.isfinite(row)
        # A place on the outermost border belongs to the last cell.
        rows = np.minimum(row[inside], len(latitude) - 1).astype(np.int64)
        columns = np.minimum(column[inside], len(longitude) - 1).astype(np.int64)
        entered = np.flatnonzero(np.diff(rows, prepend=-1) | np.diff(columns, prepend=-1))
        if len(entered) < 2:
            raise UserError(
                f"the section {self.title} crosses fewer than two cells of the region, which covers latitude {latitude[0]:g} to "
                f"{latitude[-1]:g} and longitude {longitude[0]:g} to {longitude[-1]:g}; set section={EXAMPLES}, inside of it"
            )
        rows, columns = rows[entered], columns[entered]
        if distance is None:
            along, position = (
                ("longitude", longitude[columns])
                if self.latitude is not None
                else ("latitude", latitude[rows])
            )
            return SectionLine(rows, columns, position, along, self.title)
        # Of the middle of the points in each cell.
        middle = np.add.reduceat(distance[inside], entered) / np.diff(entered, append=inside.sum())
        return SectionLine(rows, columns, middle, "distance", self.title)

    @property
    def title(self) -> str:
        """Such as "along 80°E"."""
        if self.latitude is not None:
            return f"along {format_degrees(self.latitude, 'NS')}"
        if self.longitude is not None:
            return f"along {format_degrees(self.longitude, 'EW')}"
        ends = [
            f"{format_degrees(north, 'NS')} {format_degrees(east, 'EW')}"
            for east, north in (self.track or [])
        ]
        return f"from {ends[0]} to {ends[-1]}"


def great_circles(points: Field, spacing: float) -> tuple[Field, Field, Field]:
    """Latitudes, longitudes and distances (N,) in km along great circles through `points` (P, 2), `spacing` degrees apart."""
    east, north = np.deg2rad(points).T
    corners = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)
    parts, lengths, start = [], [], 0.0
    for one, other in itertools.pairwise(corners):
        angle = math.atan2(np.linalg.norm(np.cross(one, other)), one @ other)
        share = np.linspace(0, 1, 2 + math.ceil(np.rad2deg(angle) / spacing))[:, None]
        # Spherical interpolation; equal points have no angle between them.
        weights = np.sin([(1 - share) * angle, share * angle]) / (math.sin(angle) or 1.0)
        parts.append(
            weights[0] * one + weights[1] * other if angle else np.broadcast_to(one, (len(share), 3))
        )
        lengths.append(start + share[:, 0] * angle * EARTH_RADIUS)
        start += angle * EARTH_RADIUS
    x, y, z = np.concatenate(parts).T
    return np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x)), np.concatenate(lengths)


def _spacing(latitude: Field, longitude: Field) -> float:
    cells = [np.diff(axis).min() for axis in (latitude, longitude) if len(axis) > 1]
    return float(min(cells, default=1.0)) / POINTS_A_CELL


def _is_place(point: Any) -> bool:
    numbers = (
        isinstance(point, Sequence) and len(point) == 2 and all(isinstance(at, int | float) for at in point)
    )
    return numbers and all(map(math.isfinite, point)) and abs(point[1]) <= 90
