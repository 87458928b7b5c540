"""The truth of a batch, and forecasts with a Gaussian error, in units of the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.scores.gaussian import gaussian_cdf, gaussian_crps

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """A batch of B patches in units of the field.

    Attributes:
        values: (B, D, H, W), of no meaning outside the ocean.
        ocean: (B, D, H, W), where the truth is defined.
        scored: (B, D, H, W), the ocean cells that were not observed.
        latitude: (B, H) degrees north.
        longitude: (B, W) degrees east.
    """

    values: Array
    ocean: Mask
    scored: Mask
    latitude: Array
    longitude: Array

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor], standardization: Standardization) -> Truth:
        """The truth of a batch of the data contract."""
        ocean = batch["ocean_mask"].numpy()
        return cls(
            values=standardization.restore(batch["target"].numpy()),
            ocean=ocean,
            scored=ocean & ~batch["observed_mask"].numpy(),
            latitude=batch["latitude"].numpy(),
            longitude=batch["longitude"].numpy(),
        )


@dataclass(frozen=True, eq=False)
class GaussianForecast:
    """A best estimate with a Gaussian error; scored as an `Ensemble` is.

    Attributes:
        mean: (B, D, H, W) best estimate.
        deviation: (B, D, H, W) standard deviation of its error; None where it is not known.
    """

    mean: Array
    deviation: Array | None = None

    @property
    def has_spread(self) -> bool:
        """Whether the error is known."""
        return self.deviation is not None

    def variance(self) -> Array:
        """(B, D, H, W) squared error that is expected; NaN where it is not known."""
        return np.full_like(self.mean, np.nan) if self.deviation is None else np.square(self.deviation)

    def crps(self, truth: Array) -> Array:
        """(B, D, H, W) CRPS against the `truth`: the closed form, or the absolute error where none is expected."""
        error = self.mean - truth
        return np.abs(error) if self.deviation is None else gaussian_crps(error, self.deviation)

    def ranks(self, truth: Array, bins: int, generator: np.random.Generator) -> NDArray[np.integer]:
        """(B, D, H, W) bin, 0 to `bins` - 1, of the distribution function at the `truth`.

        It is uniform for a reliable forecast (PIT, Dawid 1984, doi 10.2307/2981683), as the ranks in an ensemble are.
        """
        assert self.deviation is not None
        safe = np.where(self.deviation > 0, self.deviation, 1.0)
        probability = gaussian_cdf((truth - self.mean) / safe)
        return np.minimum((probability * bins).astype(int), bins - 1)
