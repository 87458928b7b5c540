"""The conditions of the model: standardised observations and surface, masks, first guess, position and season."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from depthdif.data.normalization import Standardization
from depthdif.first_guess.protocol import FirstGuess, PatchData


@dataclasses.dataclass(frozen=True)
class Conditioner:
    """Makes the conditions of the data contract (docs/data.md) from physical units, for training and prediction.

    The standardisations have one channel for each depth and each surface variable. A first guess is optional.
    """

    standardization: Standardization
    surface_standardization: Standardization
    first_guess: FirstGuess | None = None

    def __call__(
        self,
        observations: np.ndarray,
        surface: np.ndarray,
        ocean_mask: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
        day_of_year: float | np.floating,
    ) -> dict[str, Any]:
        """The conditions of one patch.

        Args:
            observations: (D, H, W) units of the field, NaN where not observed.
            surface: (S, H, W) units of each surface field, NaN where missing.
            ocean_mask: (D, H, W) bool.
            latitude, longitude: (H,) and (W,) float32 degrees, ascending.
            day_of_year: 1 to 366.

        Raises:
            UserError: an observation outside the ocean, or a first guess that was fitted to other surface fields.
        """
        observed_mask, surface_mask = np.isfinite(observations), np.isfinite(surface)
        observations = self.standardization.standardize(observations)
        surface = self.surface_standardization.standardize(surface)
        patch = PatchData(
            observations=np.where(observed_mask, observations, np.float32(0)),
            observed_mask=observed_mask,
            ocean_mask=ocean_mask,
            surface=np.where(surface_mask, surface, np.float32(0)),
            surface_mask=surface_mask,
            latitude=latitude,
            longitude=longitude,
        )
        guess = {}
        if self.first_guess is not None:
            result = self.first_guess(patch)
            guess = {
                "first_guess": result.estimate,
                "first_guess_error": np.sqrt(result.error_variance),
                "first_guess_misfit": result.misfit.astype(np.float32),
            }
        centre = [(latitude[0] + latitude[-1]) / 2, ((longitude[0] + longitude[-1]) / 2 + 180) % 360 - 180]
        return {
            **vars(patch),
            **guess,
            "coordinates": np.array(centre, np.float32),
            "day_of_year": np.float32(day_of_year),
        }
