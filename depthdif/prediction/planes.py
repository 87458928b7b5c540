"""Fields as compressed bytes, for a page that draws them: one byte a value.

A code from 0 to 253 lies between the smallest and the largest value of its row of planes; two more say that there is no value.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from depthdif.figures.globe import Field

HIGHEST, SEA_FLOOR, LAND = 253, 254, 255
# Of the bytes of a page: base64 writes three as four.
BASE64 = 4 / 3


class Coded(NamedTuple):
    """Fields of T times and D depths as text.

    Attributes:
        ranges: (D, 2) values of the codes 0 and 253 at each depth.
        blocks: (T,) base64 of the zlib stream of (D, ...) codes.
    """

    ranges: list[list[float]]
    blocks: list[str]

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return sum(map(len, self.blocks))


def coded(fields: Field, ocean: NDArray[np.bool_]) -> Coded:
    """Code fields (T, D, ...), with the same range at all times; NaN is land where `ocean` (T, ...) is false, else sea floor."""
    missing = np.isnan(fields)
    rest = tuple(axis for axis in range(fields.ndim) if axis != 1)
    low = np.where(missing, np.inf, fields).min(axis=rest)
    high = np.where(missing, -np.inf, fields).max(axis=rest)
    # A depth without a value has no range.
    low, high = (np.where(np.isfinite(end), end, 0.0).astype(float) for end in (low, high))
    step = np.where(high > low, (high - low) / HIGHEST, 1.0)
    shape = (1, -1, *(1,) * (fields.ndim - 2))
    codes = np.rint((np.where(missing, 0, fields) - low.reshape(shape)) / step.reshape(shape)).clip(
        0, HIGHEST
    )
    codes = np.where(missing, np.where(ocean[:, None], SEA_FLOOR, LAND), codes).astype(np.uint8)
    ranges = np.stack([low, low + HIGHEST * step], axis=1).tolist()
    return Coded(ranges, [base64.b64encode(zlib.compress(code.tobytes(), 9)).decode() for code in codes])


def numbers_within(times: int, depths: int, most: float) -> tuple[int, int]:
    """How many of the times and depths, thinned alike, make at most `most` planes, but one of each at least."""
    share = min(1.0, math.sqrt(most / (times * depths)))
    shown_depths = max(1, min(depths, round(depths * share)))
    shown_times = max(1, min(times, int(most / shown_depths)))
    return shown_times, max(1, min(depths, int(most / shown_times)))
