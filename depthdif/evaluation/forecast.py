"""What the truth is and what a method says of it, in physical units, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.scores.probabilistic import ensemble_ranks, fair_crps, gaussian_crps, predictive_variance

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """A batch of B patches in physical units.

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
    def of_batch(cls, batch: Mapping[str, Tensor], standardization: Standardization) -> Truth:
        """Out of a batch of the data contract."""
        ocean = batch["ocean_mask"].numpy()
        return cls(
            values=standardization.restore(batch["target"].numpy()),
            ocean=ocean,
            scored=ocean & ~batch["observed_mask"].numpy(),
            latitude=batch["latitude"].numpy(),
            longitude=batch["longitude"].numpy(),
        )


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a method says of a batch, in physical units.

    Attributes:
        members: (B, E, D, H, W), E equally likely fields; one for a method that gives a best estimate.
        deviation: (B, D, H, W) standard deviation of a Gaussian about a single member; None for an ensemble, and for
            a method that says nothing of its error.
        antithetic: whether members come in pairs from opposite noise, so that one of each pair alone is independent.
    """

    members: Array
    deviation: Array | None = None
    antithetic: bool = False

    @property
    def mean(self) -> Array:
        """(B, D, H, W) best estimate: the mean of the members."""
        return self.members.mean(axis=1)

    @property
    def independent(self) -> Array:
        """(B, N, D, H, W), the members that are independent of each other."""
        return self.members[:, ::2] if self.antithetic else self.members

    @property
    def is_ensemble(self) -> bool:
        """Whether several members give the spread."""
        return self.independent.shape[1] > 1

    @property
    def has_spread(self) -> bool:
        """Whether the method says how far to trust it."""
        return self.is_ensemble or self.deviation is not None

    def variance(self) -> Array:
        """(B, D, H, W) squared error that is expected of the best estimate.

        In the mean of antithetic pairs the error of sampling cancels; that of independent members counts.
        """
        if self.deviation is not None:
            return np.square(self.deviation)
        if self.antithetic:
            return self.independent.var(axis=1, ddof=1, dtype=np.float64)
        return predictive_variance(self.members)

    def crps(self, truth: Truth) -> Array:
        """(B, D, H, W): fair estimate of an ensemble, closed form of a Gaussian, absolute error of a best estimate alone."""
        if self.is_ensemble:
            return fair_crps(self.independent, truth.values)
        error = self.mean - truth.values
        return np.abs(error) if self.deviation is None else gaussian_crps(error, self.deviation)

    def ranks(self, truth: Truth, bins: int, generator: np.random.Generator) -> NDArray[np.integer]:
        """(B, D, H, W), 0 to bins - 1: rank of the truth in an ensemble of bins - 1, or where in a Gaussian it falls.

        The distribution function of a reliable Gaussian forecast is uniform at the truth (PIT, Dawid 1984), as ranks are.
        """
        if self.deviation is None:
            return ensemble_ranks(self.independent, truth.values, generator)
        safe = np.where(self.deviation > 0, self.deviation, 1.0)
        probability = ndtr((truth.values - self.mean) / safe)
        return np.minimum((probability * bins).astype(int), bins - 1)
