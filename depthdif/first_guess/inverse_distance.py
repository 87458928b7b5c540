"""Inverse distance weighting of profiles, depth by depth."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthdif import EARTH_RADIUS
from depthdif.first_guess.protocol import check_patch, observed_columns, scatter

# Nearer than this (km) two cells are the same place.
_SAME_PLACE = 1e-3


@dataclasses.dataclass(frozen=True)
class InverseDistance:
    """Inverse distance weighting (Shepard 1968, doi 10.1145/800186.810616) on great-circle distances.

    It has no theory of its error: the error variance of a level is its mean squared leave-one-out error, 0 at
    the observed cells, and 1 where a single observation leaves nothing to compare with.

    Args:
        power: weights are distance^-power; greater than 0.

    Raises:
        ValueError: power out of range.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.power <= 20:
            raise ValueError(
                f"model.first_guess.power={self.power}; expected a number above 0 and at most 20, e.g. "
                "model.first_guess.power=2"
            )

    def __call__(
        self,
        observations: np.ndarray,
        observed_mask: np.ndarray,
        ocean_mask: np.ndarray,
        surface: np.ndarray,
        surface_mask: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FirstGuess`; the surface is not used."""
        check_patch(observations, observed_mask, ocean_mask, surface, surface_mask)
        columns, values, observed = observed_columns(observations, observed_mask)
        weights = self._weights(columns, np.arange(latitude.size * longitude.size), latitude, longitude)
        counts = observed.sum(axis=1)
        estimate = (values @ weights) / np.where(counts[:, None] > 0, observed @ weights, 1.0)
        _, squared = self._leave_one_out(columns, values, observed, latitude, longitude)
        variance = np.where(counts > 1, squared, 1.0)
        shape = observations.shape
        guess = np.where(observed_mask, observations, estimate.reshape(shape))
        variances = np.where(observed_mask, 0.0, variance[:, None, None])
        return (
            np.where(ocean_mask, guess, 0.0).astype(np.float32),
            np.where(ocean_mask, variances, 0.0).astype(np.float32),
        )

    def leave_one_out(
        self,
        observations: np.ndarray,
        observed_mask: np.ndarray,
        ocean_mask: np.ndarray,
        surface: np.ndarray,
        surface_mask: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FirstGuess`."""
        check_patch(observations, observed_mask, ocean_mask, surface, surface_mask)
        columns, values, observed = observed_columns(observations, observed_mask)
        errors, squared = self._leave_one_out(columns, values, observed, latitude, longitude)
        variances = np.where(observed.sum(axis=1) > 1, squared, 1.0)[:, None] * observed
        return scatter(errors, columns, observations.shape), scatter(variances, columns, observations.shape)

    def _leave_one_out(
        self,
        columns: np.ndarray,
        values: np.ndarray,
        observed: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Errors (D, N) at the observed columns, and their mean square for each level (D,)."""
        weights = self._weights(columns, columns, latitude, longitude)
        np.fill_diagonal(weights, 0.0)
        total = observed @ weights
        # A single observation has no others: the estimate is the mean, 0.
        estimate = (values @ weights) / np.where(total > 0, total, 1.0)
        errors = np.where(observed, values - estimate, 0.0)
        return errors, np.square(errors).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)

    def _weights(
        self, columns: np.ndarray, targets: np.ndarray, latitude: np.ndarray, longitude: np.ndarray
    ) -> np.ndarray:
        """(N, M) distance^-power from observed to target columns (flat indices), distances in 1000 km."""
        kilometres = great_circle(columns, targets, latitude, longitude)
        return (np.maximum(kilometres, _SAME_PLACE) / 1000) ** -self.power


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
