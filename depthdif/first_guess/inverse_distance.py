"""Inverse distance weighting of profiles, depth by depth."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.columns import at_places
from depthdif.first_guess.covariance import Cells
from depthdif.first_guess.interpolation import Interpolation, Sources, pairs_at_once
from depthdif.first_guess.protocol import PatchData


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

    def cells(self, patches: PatchData, *, wraps: bool = False) -> Cells:
        """The surface is not used."""
        none = patches.surface[:, :0]
        return Cells.on_grid(patches.latitude, patches.longitude, none, none.bool(), wraps=wraps)

    def estimate(
        self, sources: Sources, targets: Cells, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Interpolation`."""
        values, observed, _ = sources.profiles
        _, height, width = targets.shape
        # The weights of a block of rows are stored, which bounds the memory.
        block = max(1, pairs_at_once(place.device) // max(1, width * place.numel()))
        estimates = []
        for row in range(0, height, block):
            weights = self._weights(sources.cells, targets.rows(slice(row, row + block)))
            total = observed.double() @ weights
            estimates.append(values @ weights / torch.where(total > 0, total, 1))
        seen = at_places(observed, place, height * width)
        estimate = torch.where(seen, at_places(values, place, height * width), torch.cat(estimates, dim=2))
        variance, misfit, misfit_variance = self._leave_one_out(sources)
        return estimate, torch.where(seen, 0, variance[..., None]), misfit, misfit_variance

    def cross_validate(self, sources: Sources) -> tuple[Tensor, Tensor]:
        """See `Interpolation`."""
        _, misfit, misfit_variance = self._leave_one_out(sources)
        return misfit, misfit_variance

    def _leave_one_out(self, sources: Sources) -> tuple[Tensor, Tensor, Tensor]:
        """Error variance of each level (B, D), misfit and its variance (B, D, N)."""
        values, observed, _ = sources.profiles
        weights = self._weights(sources.cells, sources.cells)
        weights.diagonal(dim1=1, dim2=2).zero_()
        total = observed.double() @ weights
        # A single observation has no others: the estimate is the mean, 0.
        estimate = values @ weights / torch.where(total > 0, total, 1)
        misfit = torch.where(observed, values - estimate, 0)
        counts = observed.sum(dim=2)
        variance = torch.where(counts > 1, misfit.square().sum(dim=2) / counts.clamp(min=1), 1)
        return variance, misfit, variance[..., None] * observed

    def _weights(self, first: Cells, second: Cells) -> Tensor:
        """(B, N, M) distance^-power from N x 1 to h x w cells, distances in 1000 km."""
        # Nearer than 1 m two cells are the same place.
        return (great_circle(first, second).clamp(min=1e-3) / 1000).pow_(-self.power)


def great_circle(first: Cells, second: Cells) -> Tensor:
    """(B, N, h w) great-circle distances in km between N x 1 and h x w cells, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (
        (cells.latitude.expand(cells.shape).flatten(1), cells.longitude.expand(cells.shape).flatten(1))
        for cells in (first, second)
    )
    lat1, lon1, lat2, lon2 = lat1[..., None], lon1[..., None], lat2[:, None], lon2[:, None]
    across = lat1.cos() * lat2.cos() * torch.sin((lon1 - lon2) / 2).square()
    haversine = torch.sin((lat1 - lat2) / 2).square() + across
    return 2 * EARTH_RADIUS * torch.asin(haversine.clamp(max=1).sqrt())
