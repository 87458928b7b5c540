"""The truth of a batch, and forecasts with a Gaussian error, in units of the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.scores.probabilistic import gaussian_crps

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
    """A best estimate with a Gaussian error, both (B, D, H, W); scored as an `Ensemble` is.

    `deviation` is the standard deviation of the error, None where it is not known.
    """

    mean: Array
    deviation: Array | None = None

    @classmethod
    def from_first_guess(
        cls, first_guess: FirstGuess, batch: Mapping[str, Tensor], standardization: Standardization
    ) -> GaussianForecast:
        """The first guess of each patch of a batch and its error."""
        results = []
        for patch in range(len(batch["target"])):
            sample = {name: tensor[patch].numpy() for name, tensor in batch.items()}
            results.append(first_guess(PatchData.from_sample(sample)))
        guess = np.stack([result.estimate for result in results])
        deviation = np.sqrt(np.stack([result.error_variance for result in results]))
        std = standardization.std.astype(np.float32)[:, None, None]
        return cls(standardization.restore(guess), deviation * std)

    @property
    def has_spread(self) -> bool:
        """Whether the error is known."""
        return self.deviation is not None

    def variance(self) -> Array:
        """(B, D, H, W) expected squared error; NaN where it is not known."""
        return np.full_like(self.mean, np.nan) if self.deviation is None else np.square(self.deviation)

    def crps(self, truth: Array) -> Array:
        """(B, D, H, W) CRPS against the `truth`: the closed form, or the absolute error of an estimate without error."""
        error = self.mean - truth
        return np.abs(error) if self.deviation is None else gaussian_crps(error, self.deviation)

    def ranks(self, truth: Array, bins: int, generator: np.random.Generator) -> NDArray[np.integer]:
        """(B, D, H, W) bin, 0 to `bins` - 1, of the distribution function at the `truth`.

        It is uniform for a reliable forecast (PIT, Dawid 1984, doi 10.2307/2981683), as the ranks in an ensemble are.
        """
        assert self.deviation is not None
        safe = np.where(self.deviation > 0, self.deviation, 1.0)
        probability = ndtr((truth - self.mean) / safe)
        return np.minimum((probability * bins).astype(int), bins - 1)
