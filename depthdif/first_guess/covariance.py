"""Covariance between cells of a patch, by their distance in kilometres and the difference of their surface fields."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from depthdif import EARTH_RADIUS

# Decay length of the weights that fill missing surface cells, in cells, and the largest exponent: exp(-exponent) must
# not underflow.
_FILL_LENGTH = 1.5
_LARGEST_EXPONENT = 300.0

# Lower limit of the cosine of latitude: at a pole the distance along the parallel is 0.
_LEAST_COSINE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """h x w cells of each of B patches, float64.

    Attributes:
        latitude, longitude: radians, of shapes that broadcast to (B, h, w).
        surface: (B, S, h, w) standardised, without gaps.
    """

    latitude: Tensor
    longitude: Tensor
    surface: Tensor

    @classmethod
    def on_grid(
        cls,
        latitude: Tensor,
        longitude: Tensor,
        surface: Tensor,
        surface_mask: Tensor,
        *,
        wraps: bool = False,
    ) -> Cells:
        """All cells of grids with latitudes (B, H) and longitudes (B, W) in degrees; for the rest see `fill_surface`."""
        return cls(
            torch.deg2rad(latitude.double())[:, :, None],
            torch.deg2rad(longitude.double())[:, None, :],
            fill_surface(surface, surface_mask, wraps=wraps),
        )

    def take(self, index: Tensor) -> Cells:
        """N x 1 of these cells by their flat index (B, N); one beyond the last cell has the place of the last."""
        *_, height, width = self.surface.shape
        known = index.clamp(max=height * width - 1)
        latitude = self.latitude.squeeze(2).gather(1, known // width)
        longitude = self.longitude.squeeze(1).gather(1, known % width)
        surface = self.surface.flatten(2).gather(2, known[:, None].expand(-1, self.surface.shape[1], -1))
        return Cells(latitude[..., None], longitude[..., None], surface[..., None])

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, h and w."""
        batch, _, height, width = self.surface.shape
        return batch, height, width

    def rows(self, rows: slice) -> Cells:
        """The cells of some rows."""
        return Cells(self.latitude[:, rows], self.longitude, self.surface[:, :, rows])


def fill_surface(surface: Tensor, surface_mask: Tensor, *, wraps: bool = False) -> Tensor:
    """Surface fields (..., H, W) with their missing cells interpolated from the defined cells of the patch, float64.

    `wraps` says that the last column is the western neighbour of the first.

    Weights decrease exponentially with the number of rows and columns between, so that a missing cell takes the
    values at the edge of its gap. A field without any defined cell becomes its training mean (0) everywhere and
    has no effect, because no two cells differ in it. Cells outside `surface_mask` are not read.
    """
    known = torch.where(surface_mask, surface, 0).double()
    # Another device would be waited for.
    if known.device.type == "cpu" and surface_mask.all():
        return known
    steps = [
        (index[:, None] - index).abs()
        for index in (torch.arange(n, dtype=known.dtype, device=known.device) for n in surface.shape[-2:])
    ]
    if wraps:
        steps[1] = torch.minimum(steps[1], surface.shape[-1] - steps[1])
    down, across = (torch.exp(-(step / _FILL_LENGTH).clamp(max=_LARGEST_EXPONENT)) for step in steps)
    # Products from the right alone, which need no copy of the weights for each field.
    total, weight = ((torch.stack([known, surface_mask.double()]) @ across).mT @ down).mT
    return torch.where(surface_mask, known, total / torch.where(weight > 0, weight, 1))


def powered_exponential(
    first: Cells,
    second: Cells,
    place: Tensor,
    exponent: float,
    latitude_scale: float,
    longitude_scale: float,
    surface_scale: Tensor,
) -> Tensor:
    """Correlation exp(-r^exponent) of cells a distance r apart, in units of the scales; 1 is exponential, 2 Gaussian.

    r^2 is the sum of squared distances north to south, along the parallel, and in each surface field. The
    length of a degree of longitude is proportional to cos(latitude), so that it differs between cells on two
    parallels. The construction of Paciorek & Schervish (2006, doi 10.1002/env.785) keeps the correlation
    positive definite: the mean inverse square of the cosines scales the distance, and their ratio enters as
    a factor (1 within a parallel, 0.98 between 30 and 45 degrees). Longitudes are compared
    by the chord, so that a parallel is a circle.

    The exponent is above 0 and at most 2 (positive definite in any number of dimensions, Schoenberg 1938). The scales
    are in km and, (S,) for the surface, in standard deviations; inf leaves a field out. N x 1 and h x w cells give
    (B, N, h w) float64. `place` (B, N) is the number of each first cell among the second ones, any other where it is none.
    """
    latitude1, longitude1 = first.latitude[..., None], first.longitude[..., None]
    latitude2, longitude2 = second.latitude[:, None], second.longitude[:, None]
    cosine1, cosine2 = (latitude.cos().clamp(min=_LEAST_COSINE) for latitude in (latitude1, latitude2))
    product = cosine1 * cosine2
    factor = 2 * product / (cosine1.square() + cosine2.square())
    north = (EARTH_RADIUS / latitude_scale * (latitude1 - latitude2)).square()
    east = (2 * EARTH_RADIUS / longitude_scale * torch.sin((longitude1 - longitude2) / 2)).square()
    squared = torch.addcmul(north, factor * product, east)
    grid = squared.shape
    squared = squared.flatten(2)
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a b of the surface fields, as one matrix product.
    one, other = (cells.surface.flatten(2) / surface_scale[:, None] for cells in (first, second))
    length1, length2 = (fields.square().sum(dim=1, keepdim=True) for fields in (one, other))
    squared.baddbmm_(
        torch.cat([-2 * one, length1, torch.ones_like(length1)], dim=1).mT,
        torch.cat([other, torch.ones_like(length2), length2], dim=1),
    )
    # By the product the distance of a cell from itself is not exactly 0, and a small power would make it large.
    inside = place.clamp(0, squared.shape[2] - 1)[..., None]
    squared.scatter_(2, inside, torch.where(place[..., None] == inside, 0, squared.gather(2, inside)))
    squared.clamp_(min=0)
    if exponent != 2:
        squared.log_().mul_(exponent / 2).exp_()
    return squared.neg_().exp_().view(grid).mul_(factor).flatten(2)
