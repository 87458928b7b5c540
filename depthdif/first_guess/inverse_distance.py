"""Inverse distance weighting of profiles, depth by depth."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.columns import Profiles
from depthdif.first_guess.protocol import FirstGuessResult, Interpolation, PatchData


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

    def interpolate(self, patches: PatchData) -> FirstGuessResult:
        """See `Interpolation`; the surface is not used."""
        profiles = patches.profiles()
        observed, ocean, seen = profiles.observed.double(), patches.ocean_mask, patches.observed_mask
        *_, height, width = patches.shape
        # The weights of a block of cells are stored, which bounds the memory.
        block = max(1, patches.pairs_at_once // max(1, len(seen) * observed.shape[2]))
        estimates = []
        for targets in torch.arange(height * width, device=seen.device).split(block):
            weights = self._weights(targets.expand(len(seen), -1), patches)
            total = observed @ weights
            estimates.append(profiles.values @ weights / torch.where(total > 0, total, 1))
        estimate = torch.where(seen, patches.observations, torch.cat(estimates, dim=2).view(patches.shape))
        variance, *leave_one_out = self._leave_one_out(profiles, patches)
        return FirstGuessResult(
            torch.where(ocean, estimate, 0).float(),
            torch.where(ocean & ~seen, variance[..., None, None], 0).float(),
            *leave_one_out,
        )

    def cross_validate(self, patches: PatchData) -> tuple[Tensor, Tensor]:
        """See `Interpolation`."""
        _, misfit, misfit_variance = self._leave_one_out(patches.profiles(), patches)
        return misfit, misfit_variance

    def _leave_one_out(self, profiles: Profiles, patches: PatchData) -> tuple[Tensor, Tensor, Tensor]:
        """Error variance of each level (B, D), misfit and its variance (B, D, H, W)."""
        values, observed, _ = profiles
        weights = self._weights(patches.columns.index, patches)
        weights.diagonal(dim1=1, dim2=2).zero_()
        total = observed.double() @ weights
        # A single observation has no others: the estimate is the mean, 0.
        estimate = values @ weights / torch.where(total > 0, total, 1)
        misfit = torch.where(observed, values - estimate, 0)
        counts = observed.sum(dim=2)
        variance = torch.where(counts > 1, misfit.square().sum(dim=2) / counts.clamp(min=1), 1)
        return variance, patches.on_grid(misfit), patches.on_grid(variance[..., None] * observed)

    def _weights(self, targets: Tensor, patches: PatchData) -> Tensor:
        """(B, N, M) distance^-power from the observed columns to cells (B, M), flat, distances in 1000 km."""
        kilometres = great_circle(patches.columns.index, targets, patches.latitude, patches.longitude)
        # Nearer than 1 m two cells are the same place.
        return (kilometres.clamp(min=1e-3) / 1000).pow_(-self.power)


def great_circle(first: Tensor, second: Tensor, latitude: Tensor, longitude: Tensor) -> Tensor:
    """(B, N, M) great-circle distances in km between flat cells (B, N) and (B, M) of grids, by the haversine formula.

    Latitude (B, H) and longitude (B, W) are degrees; a cell beyond the last has the place of the last.
    """
    height, width = latitude.shape[1], longitude.shape[1]
    latitude, longitude = (torch.deg2rad(degrees.double()) for degrees in (latitude, longitude))
    places = []
    for cells in (first, second):
        known = cells.clamp(max=height * width - 1)
        places.append((latitude.gather(1, known // width), longitude.gather(1, known % width)))
    (lat1, lon1), (lat2, lon2) = places
    lat1, lon1, lat2, lon2 = lat1[..., None], lon1[..., None], lat2[:, None], lon2[:, None]
    across = lat1.cos() * lat2.cos() * torch.sin((lon1 - lon2) / 2).square()
    haversine = torch.sin((lat1 - lat2) / 2).square() + across
    return 2 * EARTH_RADIUS * torch.asin(haversine.clamp(max=1).sqrt())
