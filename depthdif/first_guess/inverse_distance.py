"""Inverse distance weighting of profiles, depth by depth."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.protocol import FirstGuessResult, Interpolation, PatchData, Profiles


@dataclasses.dataclass(frozen=True)
class InverseDistance(Interpolation):
    """Inverse distance weighting (Shepard 1968, doi 10.1145/800186.810616) on great-circle distances.

    The method has no error theory: the error variance of a level is its mean squared leave-one-out error, 0 at
    the observed cells, and 1 at a level with a single observation, which has no other to be compared with. Weights
    are distance^-power; a power that is not above 0 and at most 20 is a UserError. For `background` see `Interpolation`.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.power <= 20:
            raise UserError(
                f"model.first_guess.power={self.power}; expected a number above 0 and at most 20, e.g. "
                "model.first_guess.power=2"
            )

    def interpolate(self, patch: PatchData) -> FirstGuessResult:
        """See `Interpolation`; the surface is not used."""
        profiles = patch.profiles()
        _, values, observed, _ = profiles
        counts = observed.sum(axis=1)
        weights = self._weights(profiles.columns, np.arange(patch.ocean_mask[0].size), patch)
        estimate = (values @ weights) / np.where(counts[:, None] > 0, observed @ weights, 1.0)
        estimate = np.where(patch.observed_mask, patch.observations, estimate.reshape(patch.shape))
        variance, *leave_one_out = self._leave_one_out(profiles, patch)
        error_variance = np.where(patch.observed_mask, 0.0, variance[:, None, None])
        return FirstGuessResult(
            np.where(patch.ocean_mask, estimate, 0.0).astype(np.float32),
            np.where(patch.ocean_mask, error_variance, 0.0).astype(np.float32),
            *leave_one_out,
        )

    def cross_validate(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """See `Interpolation`."""
        _, misfit, misfit_variance = self._leave_one_out(patch.profiles(), patch)
        return misfit, misfit_variance

    def _leave_one_out(
        self, profiles: Profiles, patch: PatchData
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Error variance of each level (D,), misfit and its variance (D, H, W)."""
        columns, values, observed, _ = profiles
        weights = self._weights(columns, columns, patch)
        np.fill_diagonal(weights, 0.0)
        total = observed @ weights
        # A single observation has no others: the estimate is the mean, 0.
        estimate = (values @ weights) / np.where(total > 0, total, 1.0)
        misfit = np.where(observed, values - estimate, 0.0)
        counts = observed.sum(axis=1)
        variance = np.where(counts > 1, np.square(misfit).sum(axis=1) / np.maximum(counts, 1), 1.0)
        return variance, patch.on_grid(misfit, columns), patch.on_grid(variance[:, None] * observed, columns)

    def _weights(self, columns: np.ndarray, targets: np.ndarray, patch: PatchData) -> np.ndarray:
        """(N, M) distance^-power from observed to target columns (flat indices), distances in 1000 km."""
        kilometres = great_circle(columns, targets, patch.latitude, patch.longitude)
        # Nearer than 1 m two cells are the same place.
        return (np.maximum(kilometres, 1e-3) / 1000) ** -self.power


def great_circle(
    first: np.ndarray, second: np.ndarray, latitude: np.ndarray, longitude: np.ndarray
) -> np.ndarray:
    """(N, M) great-circle distances in km between flat cells of a grid, by the haversine formula."""
    width = len(longitude)
    lat, lon = np.radians(latitude.astype(np.float64)), np.radians(longitude.astype(np.float64))
    lat1, lon1 = lat[first // width][:, None], lon[first % width][:, None]
    lat2, lon2 = lat[second // width], lon[second % width]
    across = np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
    haversine = np.sin((lat1 - lat2) / 2) ** 2 + across
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(haversine, 1.0)))
