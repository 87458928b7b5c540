"""Sparse vertical profiles such as those of Argo floats: the observed cells of a patch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from depthdif import UserError


@dataclasses.dataclass(frozen=True)
class ProfileSampler:
    """Random ocean columns, some of which end at a shallower depth, as profiles of floats do.

    `density` is the share of the ocean columns of a patch that is observed: one number, or a range from which each patch draws
    log-uniformly. A share `shallow_fraction` ends above the sea floor or the deepest level, at a level drawn uniformly.
    """

    density: float | Sequence[float] = (0.01, 0.1)
    shallow_fraction: float = 0.3

    def __post_init__(self) -> None:
        density = (self.density,) * 2 if isinstance(self.density, int | float) else tuple(self.density)
        if len(density) != 2 or not 0 < density[0] <= density[1] <= 1:
            raise UserError(
                f"data.profiles.density={self.density}; expected a share of the ocean columns or a range within 0 "
                "to 1, e.g. data.profiles.density=[0.01,0.1]"
            )
        if not 0 <= self.shallow_fraction <= 1:
            raise UserError(
                f"data.profiles.shallow_fraction={self.shallow_fraction}; expected a number from 0 to 1"
            )
        object.__setattr__(self, "density", (float(density[0]), float(density[1])))

    def sample(self, ocean_mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Observed cells (D, H, W) bool, at least one column, of the ocean mask (D, H, W), shallowest level first."""
        columns = np.flatnonzero(ocean_mask.any(axis=0))
        if not len(columns):
            raise ValueError("the patch contains no ocean; profiles need at least one ocean column")
        low, high = self.density  # type: ignore[misc]
        density = np.exp(generator.uniform(np.log(low), np.log(high)))
        count = max(1, round(density * len(columns)))
        chosen = generator.choice(columns, count, replace=False)
        ocean = ocean_mask.reshape(len(ocean_mask), -1)[:, chosen]
        # Number of levels that each profile keeps: all defined levels, or fewer where it ends early.
        levels = ocean.sum(axis=0)
        shallow = (generator.random(count) < self.shallow_fraction) & (levels > 1)
        kept = np.where(shallow, generator.integers(1, np.maximum(levels, 2)), levels)
        observed = np.zeros((len(ocean_mask), ocean_mask[0].size), bool)
        observed[:, chosen] = ocean & (np.cumsum(ocean, axis=0) <= kept)
        return observed.reshape(ocean_mask.shape)
