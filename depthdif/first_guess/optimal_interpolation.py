"""Optimal interpolation of profiles, depth by depth, with the surface fields as a trend and as a distance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from depthdif import UserError
from depthdif.first_guess.covariance import Cells, powered_exponential
from depthdif.first_guess.protocol import FirstGuessResult, Interpolation, PatchData, Profiles
from depthdif.first_guess.regressions import completed

_EXPONENTS = {"gaussian": 2.0, "exponential": 1.0}

# Target cells solved at a time, which bounds the memory for large patches.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class OptimalInterpolation(Interpolation):
    """Optimal interpolation (Gandin 1963; Bretherton, Davis & Fandry 1976, doi 10.1016/0011-7471(76)90001-2).

    The anomaly of a level from its background, standardised, is modelled as

        field = a + sum of b_s surface_s + c,    observation = field + noise,

    with a constant a, a coefficient b_s for each surface field and a correlated remainder c, all Gaussian and
    independent. `mean_variance=trend_variance=0` is plain OI (simple kriging), large values are universal
    kriging with the surface as external drift; between them the background is weighted by its skill. All
    variances are relative to that of c, sigma^2, which is estimated for each level of each patch from its
    observations and the prior `variance`; it scales the error variance, never the estimate.

    Levels whose observed columns are nested share one Cholesky factor, which is the usual case, because a
    profile that ends early lacks its deepest levels: ordered by length, the factor of the fewer columns is the
    leading part of the factor of all columns.

    Args:
        latitude_scale, longitude_scale: of the correlation of c, km.
        surface_scale: of the correlation of c, standard deviations of the surface field; one number, one for each
            surface field, or None, which leaves the surface out of the correlation.
        nugget: variance of the noise, at least 0.
        covariance: gaussian (p = 2), exponential (p = 1) or p in (0, 2]: correlations are exp(-r^p) of the scaled distance r.
        mean_variance, trend_variance: of a and of the b_s, at least 0; the latter one number or one for each surface field.
        variance, prior_profiles: prior sigma^2 and its weight in profiles; inf keeps sigma^2 at the prior.
        regressions: the b_s have the mean of the regression over the training region instead of 0, and the levels that a profile
            misses are estimated from its others (`Regressions`).
        background: see `Interpolation`.

    Raises:
        UserError: a value out of range, or (when called) not as many numbers as surface fields, or a patch without regressions.
    """

    latitude_scale: float
    longitude_scale: float
    surface_scale: float | Sequence[float] | None
    nugget: float
    covariance: str | float = "gaussian"
    mean_variance: float = 0.0
    trend_variance: float | Sequence[float] = 0.0
    variance: float = 1.0
    prior_profiles: float = math.inf
    regressions: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.covariance not in _EXPONENTS and not (
            isinstance(self.covariance, int | float) and 0 < self.covariance <= 2
        ):
            raise UserError(
                f"model.first_guess.covariance={self.covariance}; expected gaussian, exponential or a number "
                "above 0 and at most 2, e.g. model.first_guess.covariance=gaussian"
            )
        positive = {"latitude_scale": 1000, "longitude_scale": 3000, "surface_scale": 1, "variance": 1}
        limits = {"nugget": 1e4, "mean_variance": 1e4, "trend_variance": 1e4, "prior_profiles": math.inf}
        for name in positive | limits:
            value, numbers = getattr(self, name), np.array(_numbers(getattr(self, name)))
            if name in positive:
                valid, expected = (numbers > 0) & np.isfinite(numbers), "above 0"
            else:
                valid, expected = (numbers >= 0) & (numbers <= limits[name]), f"from 0 to {limits[name]:g}"
            if not valid.all():
                raise UserError(
                    f"model.first_guess.{name}={value}; expected a number {expected}, e.g. "
                    f"model.first_guess.{name}={positive.get(name, 0.1)}"
                )

    def interpolate(self, patch: PatchData) -> FirstGuessResult:
        """See `Interpolation`."""
        cells = Cells.from_patch(patch)
        drift, profiles = self._regressed(patch, cells)
        chains = self._solve(cells, profiles)
        estimate, variance = self._estimate(patch, cells, cells.take(profiles.columns), chains)
        return FirstGuessResult(
            np.where(
                patch.ocean_mask,
                estimate + drift.astype(np.float32).reshape(-1, *patch.shape[1:]),
                np.float32(0),
            ),
            variance,
            *self._misfit(patch, profiles, chains),
        )

    def cross_validate(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """See `Interpolation`."""
        cells = Cells.from_patch(patch)
        _, profiles = self._regressed(patch, cells)
        return self._misfit(patch, profiles, self._solve(cells, profiles))

    def _regressed(self, patch: PatchData, cells: Cells) -> tuple[np.ndarray, Profiles]:
        """What the surface says of each level of each cell, (D, H W), and the profiles minus it, their gaps filled."""
        profiles = patch.profiles()
        if not self.regressions:
            return np.zeros((1, len(cells.latitude))), profiles
        if patch.surface_slopes is None or patch.level_covariance is None:
            raise UserError(
                "model.first_guess.regressions=true, but the samples hold no regressions; make them with this first guess, "
                "or set model.first_guess.regressions=false"
            )
        drift = patch.surface_slopes @ cells.surface
        values = np.where(profiles.observed, profiles.values - drift[:, profiles.columns], 0.0)
        ocean = patch.ocean_mask.reshape(len(values), -1)[:, profiles.columns]
        anomalies = profiles._replace(values=values)
        return drift, completed(anomalies, ocean, patch.level_covariance, self.nugget)

    def _estimate(
        self, patch: PatchData, cells: Cells, sources: Cells, chains: list[_Chain]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and error variance of every ocean cell, (D, H, W) float32; `sources` are the observed cells."""
        ocean = patch.ocean_mask.reshape(len(patch.ocean_mask), -1)
        # Levels without observation keep these where nothing but the mean profile is known.
        estimate, variance = np.zeros(ocean.shape, np.float32), np.ones(ocean.shape, np.float32)
        unseen = np.setdiff1d(np.arange(len(ocean)), [level for chain in chains for level in chain.levels])
        informed = self.regressions or self.background == "climatology"
        trend = self._for_each_surface("trend_variance", len(cells.surface))
        wet = np.flatnonzero(ocean.any(axis=0))
        for targets in np.split(wet, range(_BLOCK, len(wet), _BLOCK)) if chains or informed else []:
            covariance = self._covariance(sources, cells.take(targets))
            # Without any observation, in units of sigma^2.
            prior = 1.0 + self.mean_variance + trend @ cells.surface[:, targets] ** 2
            if informed:
                variance[np.ix_(unseen, targets)] = self.variance * prior
            for chain in chains:
                whitened = chain.inverse @ covariance[chain.columns]
                explained = chain.observed.astype(np.float64) @ whitened**2
                place = np.ix_(chain.levels, targets)
                estimate[place] = chain.whitened @ whitened
                # Round-off at observed cells can fall below zero.
                variance[place] = chain.scale[:, None] * np.maximum(prior - explained, 0.0)
        estimate[~ocean] = variance[~ocean] = 0.0
        return estimate.reshape(patch.shape), variance.reshape(patch.shape)

    def _misfit(
        self, patch: PatchData, profiles: Profiles, chains: list[_Chain]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leave-one-out misfit and its variance, (D, H, W) float64.

        In closed form (Dubrule 1983, doi 10.1007/BF01033232): no system is solved again.
        """
        misfit, variance = np.zeros(profiles.values.shape), np.zeros(profiles.values.shape)
        for chain in chains:
            # The inverse covariance of the columns observed at a level, times their values; its diagonal.
            weighted = chain.whitened @ chain.inverse
            precision = chain.observed.astype(np.float64) @ chain.inverse**2
            precision = np.where(chain.observed, precision, 1.0)
            error = np.where(chain.observed, weighted / precision, 0.0)
            others = np.square(chain.whitened).sum(axis=1, keepdims=True) - error**2 * precision
            scale = self._scale(np.maximum(others, 0.0), chain.observed.sum(axis=1, keepdims=True) - 1)
            place = np.ix_(chain.levels, chain.columns)
            misfit[place] = error
            variance[place] = np.where(chain.observed, scale / precision, 0.0)
        # Levels that were estimated from others of their profile are no observations.
        misfit, variance = (patch.on_grid(part, profiles.columns) for part in (misfit, variance))
        return misfit * patch.observed_mask, variance * patch.observed_mask

    def _solve(self, cells: Cells, profiles: Profiles) -> list[_Chain]:
        """Factorise the covariance of the observations = L L^T, one L for each chain of nested levels."""
        columns, values, observed, noise = profiles
        if not len(columns):
            return []
        sources = cells.take(columns)
        covariance = self._covariance(sources, sources)
        # With 1e-9 more than the nugget: a Gaussian covariance without nugget is singular in float64.
        covariance[np.diag_indices_from(covariance)] += self.nugget + 1e-9
        chains = []
        for levels in nested_levels(observed, noise):
            # The columns observed at most levels come first, so that each level observes the leading ones.
            depth = observed[levels].sum(axis=0)
            chosen = np.argsort(-depth, kind="stable")[: np.count_nonzero(depth)]
            matrix = covariance[np.ix_(chosen, chosen)] + np.diag(noise[levels[0], chosen])
            inverse = np.tril(np.linalg.inv(np.linalg.cholesky(matrix)))
            seen = observed[np.ix_(levels, chosen)]
            whitened = np.where(seen, values[np.ix_(levels, chosen)] @ inverse.T, 0.0)
            scale = self._scale(np.square(whitened).sum(axis=1), seen.sum(axis=1))
            chains.append(_Chain(levels, chosen, seen, inverse, whitened, scale))
        return chains

    def _scale(self, squares: np.ndarray, count: np.ndarray) -> np.ndarray:
        """sigma^2 from the sum of `count` squared whitened observations and the prior (inverse gamma)."""
        trust = count / (count + self.prior_profiles) if self.prior_profiles else np.sign(count)
        return (1 - trust) * self.variance + trust * squares / np.maximum(count, 1)

    def _covariance(self, first: Cells, second: Cells) -> np.ndarray:
        """(N, M) covariance of the field in units of sigma^2."""
        exponent = _EXPONENTS.get(self.covariance, self.covariance)  # type: ignore[arg-type]
        correlation = powered_exponential(
            first,
            second,
            float(exponent),
            self.latitude_scale,
            self.longitude_scale,
            self._for_each_surface("surface_scale", len(first.surface)),
        )
        trend = self._for_each_surface("trend_variance", len(first.surface))
        return correlation + self.mean_variance + (first.surface.T * trend) @ second.surface

    def _for_each_surface(self, name: str, count: int) -> np.ndarray:
        """(S,) of a setting that may be one number for all surface fields; null is infinitely long."""
        setting = getattr(self, name)
        numbers = _numbers(math.inf if setting is None else setting)
        if isinstance(setting, Sequence) and len(numbers) != count:
            raise UserError(
                f"model.first_guess.{name}={list(setting)} for {count} surface fields; expected one number for "
                f"each, or one for all, e.g. model.first_guess.{name}={numbers[0] if numbers else 1:g}"
            )
        return np.broadcast_to(np.array(numbers, np.float64), (count,))


@dataclasses.dataclass(frozen=True, eq=False)
class _Chain:
    """K nested levels that share a factorisation, over their N columns, those observed at most levels first.

    levels (K,) and columns (N,) are indices; observed (K, N) bool; inverse (N, N) of the Cholesky factor;
    whitened (K, N) are the observations times it; scale (K,) is sigma^2.
    """

    levels: np.ndarray
    columns: np.ndarray
    observed: np.ndarray
    inverse: np.ndarray
    whitened: np.ndarray
    scale: np.ndarray


def nested_levels(observed: np.ndarray, noise: np.ndarray) -> list[np.ndarray]:
    """Split the levels into chains, in each of which every set of observed columns contains the next, with the same noise.

    `observed` (D, N) is true where a column is observed at a level; `noise` (D, N) is its variance. Each chain has the
    indices of its levels, from most to fewest columns; levels without observation are in none.
    """
    chains: list[list[int]] = []
    counts = observed.sum(axis=1)
    for level in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]:
        for chain in chains:
            seen, last = observed[level], chain[-1]
            if observed[last][seen].all() and np.array_equal(noise[last][seen], noise[level][seen]):
                chain.append(int(level))
                break
        else:
            chains.append([int(level)])
    return [np.array(chain) for chain in chains]


def _numbers(setting: float | Sequence[float] | None) -> list[float]:
    """One number or several as a list; empty for None."""
    values = setting if isinstance(setting, Sequence) else [] if setting is None else [setting]
    return [float(value) for value in values]
