"""Mirrored training patches: more oceans than the data hold, so that the model learns oceanography and not places."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from depthdif import DAYS_PER_YEAR

_GRIDDED = 3  # dimensions of what has a value in each cell


@dataclasses.dataclass(frozen=True)
class Mirrors:
    """Mirrors each training patch with probability 1/2, about each axis on its own.

    North to south is a symmetry of the ocean: latitude changes its sign and the season moves by half a year. East to west is
    none: western boundary currents lie in the west. A first guess is mirrored with the patch, which is the first guess of the
    mirrored patch, because it depends on distances alone.

    Args:
        north_south: mirror about a parallel.
        east_west: mirror about a meridian.
    """

    north_south: bool = True
    east_west: bool = False

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        """A sample of the data contract, mirrored or as it was.

        Args:
            sample: arrays of one patch; (..., H, W) in each cell, latitude (H,), coordinates (2,), day_of_year.
            generator: the only source of randomness; two numbers are drawn whatever the options.
        """
        north_south, east_west = generator.random(2) < 0.5
        if self.east_west and east_west:
            sample = {key: value[..., ::-1] if is_gridded(value) else value for key, value in sample.items()}
        if self.north_south and north_south:
            sample = {
                key: value[..., ::-1, :] if is_gridded(value) else value for key, value in sample.items()
            }
            latitude, longitude = sample["coordinates"]
            day = (sample["day_of_year"] + DAYS_PER_YEAR / 2 - 1) % DAYS_PER_YEAR + 1
            sample |= {
                "latitude": -sample["latitude"][::-1],
                "coordinates": np.array([-latitude, longitude], np.float32),
                "day_of_year": np.float32(day),
            }
        return sample


def is_gridded(value: Any) -> bool:
    """Whether an entry of a sample has a value in each cell."""
    return np.ndim(value) == _GRIDDED
