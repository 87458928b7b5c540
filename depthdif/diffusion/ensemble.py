"""An ensemble of reconstructions: its members, and mean, spread, quantiles and probabilistic scores over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depthdif import UserError
from depthdif.scores.probabilistic import ensemble_ranks, fair_crps, predictive_variance

Array = NDArray[np.floating]

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def independent_members(ensemble_size: int, antithetic: bool) -> int:
    """How many members are independent of each other: all, or with `antithetic` one of each pair."""
    return (ensemble_size + 1) // 2 if antithetic else ensemble_size


# Not frozen: Lightning rebuilds what predict_step returns.
@dataclass(eq=False)
class Ensemble:
    """E reconstructions of B patches in units of the field, NaN outside the ocean.

    Spread, quantiles and probabilistic scores are those of the inflated ensemble: the deviations of the members from
    their mean are multiplied by `inflation` (Anderson & Anderson 1999,
    doi 10.1175/1520-0493(1999)127<2741:AMCIOT>2.0.CO;2), because an ensemble that was trained on few basins is overconfident
    in another. The members are as the reverse chain returned them.

    Attributes:
        members: (B, E, D, H, W) float32.
        antithetic: whether members 2k and 2k + 1 start from opposite noise, so that only one of each pair is independent.
        inflation: factor on the deviations from the mean; 1 leaves them as they are.
    """

    members: Array
    antithetic: bool = False
    inflation: float = 1.0

    @property
    def mean(self) -> Array:
        """(B, D, H, W) mean of all members, the best estimate by squared error."""
        return self.members.mean(axis=1)

    @property
    def inflated(self) -> Array:
        """(B, E, D, H, W) members with their deviations from the mean inflated."""
        if self.inflation == 1:
            return self.members
        mean = self.members.mean(axis=1, keepdims=True)
        return mean + np.float32(self.inflation) * (self.members - mean)

    @property
    def independent(self) -> Array:
        """(B, N, D, H, W) inflated members that are independent of each other."""
        return self.inflated[:, ::2] if self.antithetic else self.inflated

    @property
    def has_spread(self) -> bool:
        """Whether there are two independent members, from which a spread can be estimated."""
        return independent_members(self.members.shape[1], self.antithetic) > 1

    @property
    def std(self) -> Array | None:
        """(B, D, H, W) unbiased standard deviation (divided by N - 1); None without spread."""
        return self.independent.std(axis=1, ddof=1) if self.has_spread else None

    def part(self, channels: slice) -> Ensemble:
        """The reconstructions of some channels, such as those of one variable."""
        return dataclasses.replace(self, members=self.members[:, :, channels])

    def quantiles(self, probabilities: Sequence[float] = PROBABILITIES) -> Array | None:
        """(B, Q, D, H, W) quantiles at (Q,) `probabilities` from 0 to 1; None without spread.

        Raises:
            UserError: a probability outside 0 to 1.
        """
        if not all(0 <= probability <= 1 for probability in probabilities):
            raise UserError(
                f"probabilities are {list(probabilities)}: expected numbers from 0 to 1, such as 0.95"
            )
        if not self.has_spread:
            return None
        quantiles = np.quantile(self.inflated, np.asarray(probabilities, self.members.dtype), axis=1)
        return np.moveaxis(quantiles, 0, 1)

    def variance(self) -> Array:
        """(B, D, H, W) expected squared error of the mean; NaN without spread.

        In the mean of antithetic pairs the error of sampling cancels; that of independent members counts.
        """
        if not self.has_spread:
            return np.full_like(self.mean, np.nan)
        if self.antithetic:
            return self.independent.var(axis=1, ddof=1, dtype=np.float64)
        return predictive_variance(self.independent)

    def crps(self, truth: Array) -> Array:
        """(B, D, H, W) fair CRPS against the `truth` (B, D, H, W), in units of the field; NaN without spread."""
        return fair_crps(self.independent, truth) if self.has_spread else np.full_like(truth, np.nan)

    def ranks(self, truth: Array, bins: int, generator: np.random.Generator) -> NDArray[np.integer]:
        """(B, D, H, W) rank of the `truth` among the N independent members, 0 to N = `bins` - 1."""
        return ensemble_ranks(self.independent, truth, generator)

    def is_finite(self, ocean_mask: NDArray[np.bool_]) -> bool:
        """Whether every member is finite where `ocean_mask` (B, D, H, W) holds."""
        return bool(np.isfinite(np.where(ocean_mask[:, None], self.members, 0)).all())
