"""Covariance between cells of a patch, by their distance in kilometres and the difference of their surface fields."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthdif import EARTH_RADIUS
from depthdif.first_guess.protocol import PatchData

# Decay length of the weights that fill missing surface cells, in cells, and the largest exponent: exp(-exponent) must
# not underflow.
_FILL_LENGTH = 1.5
_LARGEST_EXPONENT = 300.0

# Lower limit of the cosine of latitude: at a pole the distance along the parallel is 0.
_LEAST_COSINE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """N cells: latitude and longitude (N,) radians, surface (S, N) standardised and without gaps."""

    latitude: np.ndarray
    longitude: np.ndarray
    surface: np.ndarray

    @classmethod
    def from_patch(cls, patch: PatchData) -> Cells:
        """All H * W cells of a patch, row by row."""
        latitude, longitude = (
            np.radians(degrees.astype(np.float64)) for degrees in (patch.latitude, patch.longitude)
        )
        rows, columns = np.meshgrid(latitude, longitude, indexing="ij")
        filled = fill_surface(patch.surface, patch.surface_mask)
        return cls(rows.ravel(), columns.ravel(), filled.reshape(len(filled), rows.size))

    def take(self, index: np.ndarray) -> Cells:
        """The cells of these indices."""
        return Cells(self.latitude[index], self.longitude[index], self.surface[:, index])


def fill_surface(surface: np.ndarray, surface_mask: np.ndarray) -> np.ndarray:
    """Surface fields (S, H, W) with their missing cells interpolated from the defined cells of the patch, float64.

    Weights decrease exponentially with the number of rows and columns between, so that a missing cell takes the
    values at the edge of its gap. A field without any defined cell becomes its training mean (0) everywhere and
    has no effect, because no two cells differ in it. Cells outside `surface_mask` are not read.
    """
    defined = surface_mask.astype(np.float64)
    known = np.where(surface_mask, surface, 0.0).astype(np.float64)
    if surface_mask.all():
        return known
    down, across = (
        np.exp(-np.minimum(np.abs(index[:, None] - index) / _FILL_LENGTH, _LARGEST_EXPONENT))
        for index in map(np.arange, surface.shape[1:])
    )
    weight = down @ defined @ across
    estimate = down @ known @ across / np.where(weight > 0, weight, 1.0)
    return np.where(surface_mask, known, estimate)


def powered_exponential(
    first: Cells,
    second: Cells,
    exponent: float,
    latitude_scale: float,
    longitude_scale: float,
    surface_scale: np.ndarray,
) -> np.ndarray:
    """Correlation exp(-r^exponent) of cells a distance r apart, in units of the scales; 1 is exponential, 2 Gaussian.

    r^2 is the sum of squared distances north to south, along the parallel, and in each surface field. The
    length of a degree of longitude is proportional to cos(latitude), so that it differs between cells on two
    parallels. The construction of Paciorek & Schervish (2006, doi 10.1002/env.785) keeps the correlation
    positive definite: the mean inverse square of the cosines scales the distance, and their ratio enters as
    a factor (1 within a parallel, 0.98 between 30 and 45 degrees). Longitudes are compared
    by the chord, so that a parallel is a circle.

    The exponent is above 0 and at most 2 (positive definite in any number of dimensions, Schoenberg 1938). The scales
    are in km and, (S,) for the surface, in standard deviations; inf leaves a field out. N and M cells give (N, M) float64.
    """
    cosine1, cosine2 = (np.maximum(np.cos(cells.latitude), _LEAST_COSINE) for cells in (first, second))
    product = cosine1[:, None] * cosine2
    factor = 2 * product / (cosine1[:, None] ** 2 + cosine2**2)
    # sin(a - b) from those of a and b: a sine of all pairs would take most of the time.
    (sine1, co1), (sine2, co2) = ((np.sin(c.longitude / 2), np.cos(c.longitude / 2)) for c in (first, second))
    chord = 2 * EARTH_RADIUS / longitude_scale
    squared = (chord * sine1)[:, None] * co2
    squared -= (chord * co1)[:, None] * sine2
    squared *= squared
    squared *= factor
    squared *= product
    north = EARTH_RADIUS / latitude_scale
    axes = [(north * first.latitude, north * second.latitude)]
    axes += zip(first.surface / surface_scale[:, None], second.surface / surface_scale[:, None], strict=True)
    for axis1, axis2 in axes:
        difference = axis1[:, None] - axis2
        difference *= difference
        squared += difference
    if exponent != 2:
        squared **= exponent / 2
    np.exp(np.negative(squared, out=squared), out=squared)
    squared *= factor
    return squared
