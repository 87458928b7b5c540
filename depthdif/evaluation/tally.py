"""Truth and forecasts of a batch, and the sums over cells from which every score, figure and interval is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.structure import Structure
from depthdif.scores.gradients import gradient_square
from depthdif.scores.probabilistic import gaussian_crps, spread_and_error, sums_by_spread
from depthdif.scores.score import Sums, concatenate, percentile_interval
from depthdif.scores.spectra import WindowSpectra
from depthdif.scores.volume import relative_areas

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Edges of the bins of spread, in units of the largest standard deviation of the field.
SPREAD_EDGES = np.geomspace(1e-4, 10, 201)
# Groups that the bins are merged into, of about as many cells each.
SPREAD_GROUPS = 12


@dataclass(frozen=True, eq=False)
class Truth:
    """A batch of B patches in units of the field.

    Attributes:
        values: (B, D, H, W), of no meaning outside the ocean.
        ocean: (B, D, H, W), where the truth is defined.
        scored: (B, D, H, W), the ocean cells that were not observed.
        latitude: (B, H) degrees north.
        longitude: (B, W) degrees east.
    """

    values: Array
    ocean: Mask
    scored: Mask
    latitude: Array
    longitude: Array

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor], standardization: Standardization) -> Truth:
        """The truth of a batch of the data contract."""
        known = batch["target_mask"].numpy()
        return cls(
            values=standardization.restore(batch["target"].numpy()),
            ocean=known,
            scored=known & ~batch["observed_mask"].numpy(),
            latitude=batch["latitude"].numpy(),
            longitude=batch["longitude"].numpy(),
        )


@dataclass(frozen=True, eq=False)
class GaussianForecast:
    """A best estimate with a Gaussian error, both (B, D, H, W); scored as an `Ensemble` is.

    `deviation` is the standard deviation of the error, None where it is not known.
    """

    mean: Array
    deviation: Array | None = None

    @classmethod
    def from_first_guess(
        cls, estimate: Tensor, error_variance: Tensor, standardization: Standardization
    ) -> GaussianForecast:
        """A first guess (B, D, H, W) and the variance of its error, in standardised units."""
        std = standardization.std.astype(np.float32)[:, None, None]
        return cls(standardization.restore(estimate.numpy()), error_variance.sqrt().numpy() * std)

    @property
    def has_spread(self) -> bool:
        """Whether the error is known."""
        return self.deviation is not None

    def variance(self) -> Array:
        """(B, D, H, W) expected squared error; NaN where it is not known."""
        return np.full_like(self.mean, np.nan) if self.deviation is None else np.square(self.deviation)

    def crps(self, truth: Array) -> Array:
        """(B, D, H, W) CRPS against the `truth`: the closed form, or the absolute error of an estimate without error."""
        error = self.mean - truth
        return np.abs(error) if self.deviation is None else gaussian_crps(error, self.deviation)

    def ranks(self, truth: Array, bins: int, generator: np.random.Generator) -> NDArray[np.integer]:
        """(B, D, H, W) bin, 0 to `bins` - 1, of the distribution function at the `truth`.

        It is uniform for a reliable forecast (PIT, Dawid 1984, doi 10.2307/2981683), as the ranks in an ensemble are.
        """
        assert self.deviation is not None
        safe = np.where(self.deviation > 0, self.deviation, 1.0)
        probability = ndtr((truth - self.mean) / safe)
        return np.minimum((probability * bins).astype(int), bins - 1)


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of the field, from which the patches are cut.

    Attributes:
        latitude, longitude: (H,), (W,) degrees.
        ocean: (H, W) at the surface.
        thickness: (D,) of the layers, metres.
        scale: largest standard deviation of the field over its depths, physical units.
        spectra: None where the patches are too small for them.
        period: degrees of longitude after which a place is the same place.
    """

    latitude: Array
    longitude: Array
    ocean: Mask
    thickness: Array
    scale: float
    spectra: WindowSpectra | None
    period: float = 360.0

    def cells(self, latitude: Array, longitude: Array) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Rows (h, 1) and columns (1, w) of the grid nearest to those of a patch, across the seam too."""
        rows = np.abs(self.latitude[None, :] - latitude[:, None]).argmin(axis=1)
        half = self.period / 2
        apart = np.abs((self.longitude[None, :] - longitude[:, None] + half) % self.period - half)
        return rows[:, None], apart.argmin(axis=1)[None, :]


@dataclass(eq=False)
class Tally:
    """Running sums of one method over the unobserved ocean cells of each patch.

    Args:
        grid: the grid of the field.
        rank_bins: bins of the histogram of ranks; 0 for a method without spread.

    Attributes:
        parts: sums (B, D) of each batch so far; see `scores_from_sums`.
        weighted_parts: those in which a cell counts by its area and the thickness of its layer; without gradients.
        ranks: (R,) of each patch.
        spread: (N, 3) over all patches, see `sums_by_spread`.
        map_square, map_count: (H, W) of the grid, over all patches and depths.
        structure: spectra and gradients over all patches.
    """

    grid: Grid
    rank_bins: int = 0
    parts: list[Sums] = field(default_factory=list)
    weighted_parts: list[Sums] = field(default_factory=list)
    ranks: list[NDArray[np.integer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.map_square, self.map_count = (np.zeros(self.grid.ocean.shape) for _ in range(2))
        self.spread = np.zeros(())
        self.structure = Structure(self.grid.spectra, self.grid.scale)

    @property
    def sums(self) -> Sums:
        """Sums (P, D) over all patches so far."""
        return concatenate(self.parts)

    @property
    def weighted_sums(self) -> Sums:
        """Sums (P, D) over all patches so far, weighted by area and thickness."""
        return concatenate(self.weighted_parts)

    @property
    def has_spread(self) -> bool:
        """Whether the forecasts have a spread."""
        return bool(self.ranks)

    @property
    def rmse_map(self) -> Array:
        """(H, W) RMSE over depths and patches; NaN where no cell was scored."""
        return np.sqrt(self.map_square / np.where(self.map_count > 0, self.map_count, np.nan))

    def rank_shares(self, counts: Array) -> tuple[Array, Array, Array]:
        """Share of the cells in each bin of rank, (R,), and its limits over the resamples `counts` (S, P) of the patches."""
        ranks = np.stack(self.ranks)
        resampled = counts @ ranks
        low, high = percentile_interval(resampled / np.maximum(resampled.sum(axis=1, keepdims=True), 1))
        return ranks.sum(axis=0) / max(ranks.sum(), 1), low, high

    def spread_and_error(self) -> tuple[Array, Array]:
        """Expected and actual RMSE in bins of spread."""
        return spread_and_error(self.spread, SPREAD_GROUPS)

    def add(
        self, forecast: Ensemble | GaussianForecast, truth: Truth, generator: np.random.Generator
    ) -> None:
        """Score the best estimate of a batch, and its spread where it has one."""
        error = forecast.mean - truth.values
        sums = error_sums(error[:, None], truth.scored)
        sums["crps"] = summed(forecast.crps(truth.values), truth.scored)
        if forecast.has_spread:
            variance = forecast.variance()
            sums["variance"] = summed(variance, truth.scored)
            ranks = forecast.ranks(truth.values, self.rank_bins, generator)
            for patch, scored in enumerate(truth.scored):
                self.ranks.append(np.bincount(ranks[patch][scored], minlength=self.rank_bins))
                values = variance[patch][scored], np.square(error[patch][scored])
                self.spread = self.spread + sums_by_spread(*values, self.grid.scale * SPREAD_EDGES)
        self.add_sums(sums, forecast.mean[:, None], truth)
        self.add_map(np.square(error), truth)

    def add_members(self, ensemble: Ensemble, truth: Truth) -> None:
        """Score each member of an ensemble as the only estimate; the sums are means over the members."""
        errors = ensemble.members - truth.values[:, None]
        sums = error_sums(errors, truth.scored)
        # The CRPS of a single field is its absolute error.
        self.add_sums({**sums, "crps": sums["absolute"]}, ensemble.members, truth)
        self.add_map(np.square(errors).mean(axis=1), truth)

    def add_sums(self, rows: Sums, members: Array, truth: Truth) -> None:
        """Keep the sums (B, D, H) over the cells of each row, and the structure of the members (B, E, D, H, W)."""
        weights = self.grid.thickness[:, None] * relative_areas(truth.latitude)[:, None, :]
        self.parts.append(
            {name: values.sum(axis=-1) for name, values in rows.items()} | self.add_structure(members, truth)
        )
        self.weighted_parts.append({name: (values * weights).sum(axis=-1) for name, values in rows.items()})

    def add_map(self, squares: Array, truth: Truth) -> None:
        """Squared error, (B, D, H, W), and count of each water column."""
        columns = np.where(truth.scored, squares, 0.0).sum(axis=1)
        for patch, (square, scored) in enumerate(zip(columns, truth.scored, strict=True)):
            cells = self.grid.cells(truth.latitude[patch], truth.longitude[patch])
            self.map_square[cells] += square
            self.map_count[cells] += scored.sum(axis=0)

    def add_structure(self, members: Array, truth: Truth) -> dict[str, Array]:
        """Add spectra and gradients of the members (B, E, D, H, W); returns the sums (B, D) that the gradients are scored by."""
        sums: dict[str, list[Array]] = {"gradient": [], "truth_gradient": []}
        for patch, fields in enumerate(members):
            values, ocean = truth.values[patch], truth.ocean[patch]
            latitude, longitude = truth.latitude[patch], truth.longitude[patch]
            self.structure.add_spectra(fields, values, ocean, latitude)
            self.structure.add_gradients(fields, ocean, latitude, longitude)
            squares = gradient_square(fields, ocean, latitude, longitude)
            sums["gradient"].append(squares.mean(axis=0))
            sums["truth_gradient"].append(gradient_square(values, ocean, latitude, longitude))
        return {name: np.stack(parts) for name, parts in sums.items()}


def error_sums(errors: Array, scored: Mask) -> dict[str, Array]:
    """Count, error, squared and absolute error over the scored cells of each row, (B, D, H), averaged over members.

    `errors` is (B, E, D, H, W), `scored` (B, D, H, W).
    """
    return {
        "count": scored.sum(axis=-1, dtype=np.float64),
        "error": summed(errors.mean(axis=1), scored),
        "square": summed(np.square(errors).mean(axis=1), scored),
        "absolute": summed(np.abs(errors).mean(axis=1), scored),
    }


def summed(values: Array, scored: Mask) -> Array:
    """Sum over the scored cells of each row of a patch: (B, D, H, W) to (B, D, H) float64."""
    return np.where(scored, values, 0.0).sum(axis=-1, dtype=np.float64)
