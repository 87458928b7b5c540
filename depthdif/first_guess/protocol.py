"""First guess of a dense field from the profiles of one patch: the protocol, and the checks that all share."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np


class FirstGuess(Protocol):
    """An estimate of a patch from its observations, and how far to trust it; see docs/first_guess.md."""

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
        """Estimate and error variance of every ocean cell of one patch.

        A level without any observation gets the training mean (0) with error variance 1.

        Args:
            observations: (D, H, W), standardised, 0 where not observed.
            observed_mask: (D, H, W) bool, a subset of `ocean_mask`.
            ocean_mask: (D, H, W) bool.
            surface: (S, H, W), standardised; S may be 0. Cells outside `surface_mask` are never read.
            surface_mask: (S, H, W) bool.
            latitude: (H,) degrees north.
            longitude: (W,) degrees east.

        Returns:
            First guess and error variance, both (D, H, W) float32, standardised, 0 outside the ocean.

        Raises:
            ValueError: NaN in the observations or in a surface cell that is said to be defined, or an
                observation outside the ocean.
        """

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
        """Cross-validation: each observation against the estimate from all other profiles of its level.

        Returns:
            Observation minus estimate, and the variance expected of that difference, both (D, H, W) float64,
            0 where not observed.
        """


def check_patch(
    observations: np.ndarray,
    observed_mask: np.ndarray,
    ocean_mask: np.ndarray,
    surface: np.ndarray,
    surface_mask: np.ndarray,
) -> None:
    """Raise ValueError for what would end as a silent NaN or as a value on land."""
    missing = int((~np.isfinite(observations)).sum())
    if missing:
        raise ValueError(
            f"{missing} observations are NaN or infinite; expected finite values where observed_mask is true "
            "and 0 elsewhere"
        )
    outside = int((observed_mask & ~ocean_mask).sum())
    if outside:
        raise ValueError(
            f"{outside} observations lie outside the ocean mask; expected observed_mask to be a subset of "
            "ocean_mask"
        )
    undefined = int((surface_mask & ~np.isfinite(surface)).sum())
    if undefined:
        raise ValueError(
            f"{undefined} surface values are NaN or infinite where surface_mask is true; expected missing "
            "cells to be masked"
        )


def observed_columns(
    observations: np.ndarray, observed_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat indices (N,) of the columns observed at any level, their values (D, N) float64, observed (D, N)."""
    flat = observed_mask.reshape(len(observed_mask), -1)
    columns = np.flatnonzero(flat.any(axis=0))
    observed = flat[:, columns]
    values = observations.reshape(flat.shape)[:, columns].astype(np.float64)
    return columns, np.where(observed, values, 0.0), observed


def scatter(values: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values (D, N) of flat columns on a grid (D, H, W) that is 0 elsewhere."""
    grid = np.zeros((shape[0], math.prod(shape[1:])))
    grid[:, columns] = values
    return grid.reshape(shape)
