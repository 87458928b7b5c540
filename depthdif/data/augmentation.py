"""Mirrored training patches, so that the model does not learn places by heart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from depthdif import DAYS_PER_YEAR


@dataclasses.dataclass(frozen=True)
class Mirrors:
    """Mirrors each training patch about each axis with probability 1/2, independently.

    North to south is a symmetry of the ocean: latitude changes its sign and the season moves by half a year. East to west is
    not: western boundary currents lie in the west. The mirrored first guess is the first guess of the mirrored patch, because
    it depends on distances alone.
    """

    north_south: bool = True
    east_west: bool = False

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        """A sample of the data contract, mirrored or not.

        `generator` is the only source of randomness; two numbers are drawn whatever the options are.
        """
        north_south, east_west = generator.random(2) < 0.5
        if self.east_west and east_west:
            sample = _flipped(sample, -1)
        if self.north_south and north_south:
            sample = _flipped(sample, -2)
            latitude, longitude = sample["coordinates"]
            day = (sample["day_of_year"] + DAYS_PER_YEAR / 2 - 1) % DAYS_PER_YEAR + 1
            sample |= {
                "latitude": -sample["latitude"][::-1],
                "coordinates": np.array([-latitude, longitude], np.float32),
                "day_of_year": np.float32(day),
            }
        return sample


def _flipped(sample: dict[str, Any], axis: int) -> dict[str, Any]:
    """A sample of which the arrays with a value in each cell, (..., H, W), are reversed along an axis."""
    return {key: np.flip(value, axis) if np.ndim(value) == 3 else value for key, value in sample.items()}
