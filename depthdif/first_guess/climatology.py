"""Mean and seasonal cycle of each cell: a background for interpolation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Cells nearer to a centre than this part of a block are at the centre: coordinates of patches are float32.
_SAME_PLACE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Climatology:
    """mean + sum over k of a_k cos(2 pi k day / year) + b_k sin(2 pi k day / year) in each block of cells.

    Attributes:
        coefficients: (1 + 2 harmonics, C, h, w) float32 in the units of the C channels: the mean, then a_k and b_k of each
            harmonic; NaN where undefined.
        latitude, longitude: (h,) and (w,) float64 centres of the blocks, degrees, ascending.
        period: degrees after which longitudes repeat.
        year: days of a year in the calendar of the times.
    """

    coefficients: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    period: float
    year: float

    def __call__(self, latitude: np.ndarray, longitude: np.ndarray, day_of_year: float) -> np.ndarray:
        """(C, H, W) float32 at latitude (H,) and longitude (W,) on a day (1 to 366); NaN where undefined.

        Bilinear between the centres of the defined blocks around a cell; beyond the outermost centres by more than a block
        it is undefined.
        """
        rows, row_weights = _neighbours(latitude, self.latitude, None)
        columns, column_weights = _neighbours(longitude, self.longitude, self.period)
        season = harmonics(np.array([day_of_year]), len(self.coefficients) // 2, self.year)[0]
        shape = (self.coefficients.shape[1], len(latitude), len(longitude))
        total, weight = np.zeros(shape), np.zeros(shape)
        for row, down in zip(rows, row_weights, strict=True):
            for column, across in zip(columns, column_weights, strict=True):
                share = down[:, None] * across
                if share.any():
                    blocks = np.tensordot(season, self.coefficients[:, :, row[:, None], column], axes=1)
                    defined = np.isfinite(blocks)
                    total += share * np.where(defined, blocks, 0.0)
                    weight += share * defined
        return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan).astype(np.float32)

    @classmethod
    def join(cls, parts: Sequence[Climatology]) -> Climatology:
        """The channels of all parts, which lie on the same blocks, in order."""
        coefficients = np.concatenate([part.coefficients for part in parts], axis=1)
        return dataclasses.replace(parts[0], coefficients=coefficients)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Climatology:
        """From its attributes by name, arrays as tensors or lists."""
        return cls(
            np.asarray(state["coefficients"], np.float32),
            np.asarray(state["latitude"], np.float64),
            np.asarray(state["longitude"], np.float64),
            float(state["period"]),
            float(state["year"]),
        )


def harmonics(day_of_year: np.ndarray, count: int, year: float) -> np.ndarray:
    """(T, 1 + 2 count) float64: 1, then cosine and sine of 2 pi k day / year for k from 1 to `count`."""
    angle = 2 * np.pi * np.asarray(day_of_year, np.float64)[:, None] / year * np.arange(1, count + 1)
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(angle), 2 * count)
    return np.concatenate([np.ones((len(angle), 1)), waves], axis=1)


def _neighbours(
    points: np.ndarray, centres: np.ndarray, period: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (2, N) of the centres before and after each point and their weights (2, N), 0 far outside.

    With a period, centres that fill it are a circle.
    """
    points, index = np.asarray(points, np.float64), np.arange(len(centres))
    step = spacing(centres)
    if period is not None:
        middle = (centres[0] + centres[-1]) / 2
        points = (points - middle + period / 2) % period - period / 2 + middle
        if period - (centres[-1] - centres[0]) < 1.5 * step:
            centres = np.concatenate([[centres[-1] - period], centres, [centres[0] + period]])
            index = np.concatenate([[index[-1]], index, [index[0]]])
    place = np.interp(points, centres, np.arange(len(centres)))
    near = np.round(place)
    place = np.where(np.abs(place - near) < _SAME_PLACE, near, place)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(centres) - 1)
    inside = (points > centres[0] - step) & (points < centres[-1] + step)
    return np.stack([index[before], index[after]]), np.stack([1 - place + before, place - before]) * inside


def spacing(axis: np.ndarray) -> float:
    """Distance between neighbours; infinite for a single one."""
    return float(np.median(np.diff(axis))) if len(axis) > 1 else math.inf
