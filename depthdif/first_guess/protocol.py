"""The interface of a first guess: its input, a batch of patches, and its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from depthdif import UserError
from depthdif.first_guess.columns import ObservedColumns, Profiles, at_places


@dataclasses.dataclass(frozen=True, eq=False)
class PatchData:
    """Observations and surface fields of B patches, standardised, on one device.

    Attributes:
        observations: (B, D, H, W) float, 0 where not observed.
        observed_mask: (B, D, H, W) bool, a subset of `ocean_mask`.
        ocean_mask: (B, D, H, W) bool.
        surface: (B, S, H, W) float; S may be 0. Cells outside `surface_mask` are never read.
        surface_mask: (B, S, H, W) bool.
        latitude: (B, H) degrees north.
        longitude: (B, W) degrees east.
        columns: the observed columns.
        background: (B, D, H, W) float, the climatology of the field on that day, 0 where undefined; None where none was measured.
        surface_background: (B, S, H, W) float, that of the surface; None likewise.
        surface_slopes, level_covariance: (B, D, S) and (B, D, D) of `Regressions`; None where a first guess does not use them.
    """

    observations: Tensor
    observed_mask: Tensor
    ocean_mask: Tensor
    surface: Tensor
    surface_mask: Tensor
    latitude: Tensor
    longitude: Tensor
    columns: ObservedColumns
    background: Tensor | None = None
    surface_background: Tensor | None = None
    surface_slopes: Tensor | None = None
    level_covariance: Tensor | None = None

    @classmethod
    def from_batch(cls, batch: Mapping[str, Any]) -> PatchData:
        """The part of a batch of the data contract that a first guess may use, checked; a batch on a GPU is waited for.

        Raises:
            UserError: NaN or infinity in the observations, in a background or in a defined surface cell, or an observation
                outside the ocean.
        """
        _check(batch)
        return cls(columns=ObservedColumns.from_mask(batch["observed_mask"]), **cls._tensors(batch))

    def in_batch(self, batch: Mapping[str, Any]) -> PatchData:
        """The same patches in a copy of their batch on another device, which is not waited for."""
        return PatchData(columns=self.columns.to(batch["observed_mask"].device), **self._tensors(batch))

    @classmethod
    def _tensors(cls, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {field.name: batch[field.name] for field in dataclasses.fields(cls) if field.name in batch}

    def take(self, patches: Sequence[int]) -> PatchData:
        """Some of the patches by their numbers."""
        index = self.index(patches)
        tensors = {name: value[index] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, columns=self.columns.take(patches, index), **tensors)

    def index(self, numbers: Sequence[int]) -> Tensor:
        """Numbers as a tensor on the device, which is not waited for."""
        return torch.tensor(numbers, dtype=torch.int64).to(self.observations.device, non_blocking=True)

    def anomalies(self) -> PatchData:
        """Observations and surface fields minus their backgrounds; a UserError where there are none."""
        if self.background is None or self.surface_background is None:
            raise UserError(
                "model.first_guess.background=climatology, but no climatology was measured; set data/climatology=seasonal, or "
                "model.first_guess.background=mean_profile"
            )
        return dataclasses.replace(
            self,
            observations=torch.where(self.observed_mask, self.observations - self.background, 0),
            surface=torch.where(self.surface_mask, self.surface - self.surface_background, 0),
            background=None,
            surface_background=None,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Patches, depths, rows and columns."""
        batch, depths, height, width = self.ocean_mask.shape
        return batch, depths, height, width

    def at_columns(self, field: Tensor) -> Tensor:
        """(B, C, N) of a field (B, C, H, W) at the observed columns; the last cell again for the padding."""
        cells = field.flatten(2)
        index = self.columns.index.clamp(max=cells.shape[2] - 1)[:, None]
        return cells.gather(2, index.expand(-1, cells.shape[1], -1))

    def profiles(self) -> Profiles:
        """What is observed at the observed columns."""
        padding = (self.columns.index == self.shape[2] * self.shape[3])[:, None]
        observed = self.at_columns(self.observed_mask) & ~padding
        values = torch.where(observed, self.at_columns(self.observations), 0).double()
        return Profiles(values, observed, torch.zeros_like(values))

    def on_grid(self, values: Tensor) -> Tensor:
        """Values (B, D, N) at the observed columns on the grid (B, D, H, W), 0 elsewhere."""
        *_, height, width = self.shape
        return at_places(values, self.columns.index, height * width).reshape(self.shape)


def _check(batch: Mapping[str, Any]) -> None:
    """Raise UserError for what would become a silent NaN or a value on land."""
    # NumPy, because torch counts the cells of a mask on a CPU slowly.
    names = ("observations", "observed_mask", "ocean_mask", "surface", "surface_mask")
    backgrounds = [
        batch[name].numpy(force=True) for name in ("background", "surface_background") if name in batch
    ]
    observations, observed, ocean, surface, defined = (batch[name].numpy(force=True) for name in names)
    for cells, problem in (
        (
            ~np.isfinite(observations),
            "observations are NaN or infinite; expected finite values where observed_mask is true and 0 elsewhere",
        ),
        (
            observed & ~ocean,
            "observations lie outside the ocean mask; expected observed_mask to be a subset of ocean_mask",
        ),
        (
            defined & ~np.isfinite(surface),
            "surface values are NaN or infinite where surface_mask is true; expected missing cells to be masked",
        ),
        *(
            (~np.isfinite(part), "background values are NaN or infinite; expected 0 where it is undefined")
            for part in backgrounds
        ),
    ):
        if cells.any():
            raise UserError(f"{np.count_nonzero(cells)} {problem}")


class FirstGuessResult(NamedTuple):
    """Fields of shape (B, D, H, W), standardised.

    Attributes:
        estimate: float32, 0 outside the ocean; the background at a level without any observation.
        error_variance: of the estimate, float32, 0 outside the ocean; 1 where only the mean profile is known of a level.
        misfit: observation minus the estimate from all other profiles of its level, float64, 0 where not observed.
        misfit_variance: the variance expected of the misfit, float64, 0 where not observed.
    """

    estimate: Tensor
    error_variance: Tensor
    misfit: Tensor
    misfit_variance: Tensor


class FirstGuess(Protocol):
    """An estimate of patches from their observations, with its error variance; see docs/first_guess.md."""

    def __call__(self, patches: PatchData) -> FirstGuessResult:
        """Estimate every ocean cell, and each observation from all other profiles (leave-one-out)."""

    def leave_one_out(self, patches: PatchData) -> tuple[Tensor, Tensor]:
        """Only `misfit` and `misfit_variance`, for cross-validation; cells without observation are not estimated."""
