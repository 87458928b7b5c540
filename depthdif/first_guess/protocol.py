"""The interface of a first guess: its input, a patch, and its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from depthdif import UserError

BACKGROUNDS = ("mean_profile", "climatology")


@dataclasses.dataclass(frozen=True, eq=False)
class PatchData:
    """Observations and surface fields of one patch, standardised; checked on construction.

    Attributes:
        observations: (D, H, W) float, 0 where not observed.
        observed_mask: (D, H, W) bool, a subset of `ocean_mask`.
        ocean_mask: (D, H, W) bool.
        surface: (S, H, W) float; S may be 0. Cells outside `surface_mask` are never read.
        surface_mask: (S, H, W) bool.
        latitude: (H,) degrees north.
        longitude: (W,) degrees east.
        background: (D, H, W) float, the climatology of the field on that day, 0 where undefined; None where none was measured.
        surface_background: (S, H, W) float, that of the surface; None likewise.
        surface_slopes, level_covariance: (D, S) and (D, D) of `Regressions`; None where a first guess does not use them.

    Raises:
        UserError: NaN or infinity in the observations, in a background or in a defined surface cell, or an observation outside
            the ocean.
    """

    observations: np.ndarray
    observed_mask: np.ndarray
    ocean_mask: np.ndarray
    surface: np.ndarray
    surface_mask: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    background: np.ndarray | None = None
    surface_background: np.ndarray | None = None
    surface_slopes: np.ndarray | None = None
    level_covariance: np.ndarray | None = None

    def __post_init__(self) -> None:
        # Each would become a silent NaN or a value on land.
        for cells, problem in (
            (
                ~np.isfinite(self.observations),
                "observations are NaN or infinite; expected finite values where observed_mask is true and 0 elsewhere",
            ),
            (
                self.observed_mask & ~self.ocean_mask,
                "observations lie outside the ocean mask; expected observed_mask to be a subset of ocean_mask",
            ),
            (
                self.surface_mask & ~np.isfinite(self.surface),
                "surface values are NaN or infinite where surface_mask is true; expected missing cells to be masked",
            ),
            *(
                (
                    ~np.isfinite(part),
                    "background values are NaN or infinite; expected 0 where it is undefined",
                )
                for part in (self.background, self.surface_background)
                if part is not None
            ),
        ):
            if cells.any():
                raise UserError(f"{np.count_nonzero(cells)} {problem}")

    @classmethod
    def from_sample(cls, sample: Mapping[str, Any]) -> PatchData:
        """The part of a sample of the data contract that a first guess may use."""
        required = [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
        optional = [field.name for field in dataclasses.fields(cls) if field.name in sample]
        return cls(**{name: sample[name] for name in required + optional})

    def anomalies(self) -> PatchData:
        """Observations and surface fields minus their backgrounds; a UserError where there are none."""
        if self.background is None or self.surface_background is None:
            raise UserError(
                "model.first_guess.background=climatology, but no climatology was measured; set data/climatology=seasonal, or "
                "model.first_guess.background=mean_profile"
            )
        return dataclasses.replace(
            self,
            observations=np.where(self.observed_mask, self.observations - self.background, 0.0),
            surface=np.where(self.surface_mask, self.surface - self.surface_background, 0.0),
            background=None,
            surface_background=None,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depths, rows and columns."""
        return self.ocean_mask.shape

    def profiles(self) -> Profiles:
        """The columns that are observed at any level."""
        flat = self.observed_mask.reshape(len(self.observed_mask), -1)
        columns = np.flatnonzero(flat.any(axis=0))
        observed = flat[:, columns]
        values = self.observations.reshape(flat.shape)[:, columns].astype(np.float64)
        return Profiles(columns, np.where(observed, values, 0.0), observed, np.zeros(values.shape))

    def on_grid(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Values (D, N) of flat columns on the grid (D, H, W) float64, 0 elsewhere."""
        grid = np.zeros((self.shape[0], self.shape[1] * self.shape[2]))
        grid[:, columns] = values
        return grid.reshape(self.shape)


class Profiles(NamedTuple):
    """N observed columns.

    Attributes:
        columns: (N,) flat indices.
        values: (D, N) float64, 0 where not observed.
        observed: (D, N) bool.
        noise: (D, N) float64 variance that an observation has beyond that of all others, relative to the field.
    """

    columns: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    noise: np.ndarray


class FirstGuessResult(NamedTuple):
    """Fields of shape (D, H, W), standardised.

    Attributes:
        estimate: float32, 0 outside the ocean; the background at a level without any observation.
        error_variance: of the estimate, float32, 0 outside the ocean; 1 where only the mean profile is known of a level.
        misfit: observation minus the estimate from all other profiles of its level, float64, 0 where not observed.
        misfit_variance: the variance expected of the misfit, float64, 0 where not observed.
    """

    estimate: np.ndarray
    error_variance: np.ndarray
    misfit: np.ndarray
    misfit_variance: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolation:
    """A first guess that interpolates the anomalies of the observations from a background.

    Args:
        background: "mean_profile", the training mean of each level, or "climatology", the `background` of a patch; the surface
            fields are then anomalies as well.

    Raises:
        UserError: another background, or (when called) a patch without climatology.
    """

    background: str = "mean_profile"

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise UserError(
                f"model.first_guess.background={self.background}; expected {' or '.join(BACKGROUNDS)}, e.g. "
                "model.first_guess.background=mean_profile"
            )

    def __call__(self, patch: PatchData) -> FirstGuessResult:
        """See `FirstGuess`."""
        result = self.interpolate(self._about_background(patch))
        if self.background == "mean_profile" or patch.background is None:
            return result
        return result._replace(
            estimate=result.estimate + np.where(patch.ocean_mask, patch.background, np.float32(0))
        )

    def leave_one_out(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """See `FirstGuess`."""
        return self.cross_validate(self._about_background(patch))

    def _about_background(self, patch: PatchData) -> PatchData:
        return patch if self.background == "mean_profile" else patch.anomalies()

    def interpolate(self, patch: PatchData) -> FirstGuessResult:
        """The result for a field with background 0."""
        raise NotImplementedError

    def cross_validate(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """Misfit and its variance for a field with background 0."""
        raise NotImplementedError


class FirstGuess(Protocol):
    """An estimate of a patch from its observations, with its error variance; see docs/first_guess.md."""

    def __call__(self, patch: PatchData) -> FirstGuessResult:
        """Estimate every ocean cell, and each observation from all other profiles (leave-one-out)."""

    def leave_one_out(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """Only `misfit` and `misfit_variance`, for cross-validation; cells without observation are not estimated."""
