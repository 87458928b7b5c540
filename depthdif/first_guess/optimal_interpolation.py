"""Optimal interpolation of profiles, depth by depth, with the surface fields as a trend and as a distance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

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

    The columns of all levels share one Cholesky factor; that a level does not observe some of them is noise of infinite variance
    there, which costs a factor of so many columns.

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
            if isinstance(value, Sequence):
                # Read for every patch, and slow as the list of a config.
                object.__setattr__(self, name, tuple(_numbers(value)))

    def interpolate(self, patch: PatchData) -> FirstGuessResult:
        """See `Interpolation`."""
        cells = Cells.from_patch(patch)
        drift, profiles = self._regressed(patch, cells)
        solution = self._solve(cells, profiles)
        estimate, variance = self._estimate(patch, cells, cells.take(profiles.columns), solution)
        estimate, variance = (
            np.where(patch.ocean_mask, field.reshape(patch.shape), 0.0).astype(np.float32)
            for field in (estimate + drift, variance)
        )
        return FirstGuessResult(estimate, variance, *self._misfit(patch, profiles, solution))

    def cross_validate(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
        """See `Interpolation`."""
        cells = Cells.from_patch(patch)
        _, profiles = self._regressed(patch, cells)
        return self._misfit(patch, profiles, self._solve(cells, profiles))

    def _regressed(self, patch: PatchData, cells: Cells) -> tuple[np.ndarray, Profiles]:
        """What the surface says of each level of each cell, (D, H W), and the profiles minus it, their gaps filled."""
        profiles = patch.profiles()
        if not self.regressions:
            return np.zeros((1, len(cells.latitude))), _ordered(profiles)
        if patch.surface_slopes is None or patch.level_covariance is None:
            raise UserError(
                "model.first_guess.regressions=true, but the samples hold no regressions; make them with this first guess, "
                "or set model.first_guess.regressions=false"
            )
        drift = patch.surface_slopes @ cells.surface
        values = np.where(profiles.observed, profiles.values - drift[:, profiles.columns], 0.0)
        ocean = patch.ocean_mask.reshape(len(values), -1)[:, profiles.columns]
        anomalies = profiles._replace(values=values)
        return drift, _ordered(completed(anomalies, ocean, patch.level_covariance, self.nugget))

    def _estimate(
        self, patch: PatchData, cells: Cells, sources: Cells, solution: _Solution
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and error variance of every ocean column, (D, H W); `sources` are the observed cells."""
        ocean = patch.ocean_mask.reshape(len(patch.ocean_mask), -1)
        estimate, variance = np.zeros(ocean.shape), np.zeros(ocean.shape)
        trend = self._for_each_surface("trend_variance", len(cells.surface))
        wet = np.flatnonzero(ocean.any(axis=0))
        for targets in np.split(wet, range(_BLOCK, len(wet), _BLOCK)):
            covariance = self._covariance(sources, cells.take(targets))
            estimate[:, targets] = solution.weighted @ covariance
            # Without any observation, in units of sigma^2.
            prior = 1.0 + self.mean_variance + trend @ cells.surface[:, targets] ** 2
            whitened = solution.root @ covariance
            explained = np.einsum("nm,nm->m", whitened, whitened)
            for levels, basis in solution.groups:
                lost = basis @ whitened[len(whitened) - basis.shape[1] :]
                # Round-off at observed cells can fall below zero.
                remaining = np.maximum(prior - explained + np.einsum("nm,nm->m", lost, lost), 0.0)
                variance[np.ix_(levels, targets)] = solution.scale[levels][:, None] * remaining
        if not (self.regressions or self.background == "climatology"):
            # Without observation nothing but the mean profile is known.
            variance[~patch.observed_mask.any(axis=(1, 2))] = 1.0
        return estimate, variance

    def _misfit(
        self, patch: PatchData, profiles: Profiles, solution: _Solution
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leave-one-out misfit and its variance, (D, H, W) float64.

        In closed form (Dubrule 1983, doi 10.1007/BF01033232): no system is solved again.
        """
        observed = profiles.observed & (profiles.noise == 0)
        precision = np.where(observed, solution.precision, 1.0)
        error = np.where(observed, solution.weighted / precision, 0.0)
        others = solution.squares[:, None] - error**2 * precision
        scale = self._scale(np.maximum(others, 0.0), profiles.observed.sum(axis=1, keepdims=True) - 1)
        variance = np.where(observed, scale / precision, 0.0)
        return patch.on_grid(error, profiles.columns), patch.on_grid(variance, profiles.columns)

    def _solve(self, cells: Cells, profiles: Profiles) -> _Solution:
        """Factorise the covariance of the columns once, C = L L^T, and what the noise of each level takes from it.

        A level adds noise N to some columns E, infinite where it does not observe them. With Q R = (L^-1 E; N^-1/2) and B the
        upper part of Q, (C + E N E^T)^-1 = L^-T (I - B B^T) L^-1 (Woodbury), however near to singular C is.
        """
        columns, values, observed, noise = profiles
        sources = cells.take(columns)
        covariance = self._covariance(sources, sources)
        # With 1e-9 more than the nugget: a Gaussian covariance without nugget is singular in float64.
        covariance[np.diag_indices_from(covariance)] += self.nugget + 1e-9
        root = np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))
        # Of the noise, its inverse root: 0 is not observed, infinity is no noise.
        certainty = np.where(observed, np.sqrt(1 / np.where(noise > 0, noise, np.nan)), 0.0)
        alike: dict[bytes, list[int]] = {}
        for level, row in enumerate(certainty):
            alike.setdefault(row.tobytes(), []).append(level)
        whitened, precision = values @ root.T, np.zeros(values.shape) + np.square(root).sum(axis=0)
        groups = []
        for levels in map(np.array, alike.values()):
            noisy = np.flatnonzero(~np.isnan(certainty[levels[0]]))
            # The rows of L^-1 above are 0 in these columns.
            first = noisy[0] if len(noisy) else len(columns)
            stacked = np.concatenate([root[first:, noisy], np.diag(certainty[levels[0], noisy])])
            basis = np.linalg.qr(stacked).Q[: len(columns) - first].T
            whitened[levels, first:] -= whitened[levels, first:] @ basis.T @ basis
            precision[levels] -= np.square(basis @ root[first:]).sum(axis=0)
            groups.append((levels, basis))
        weighted = np.where(observed, whitened @ root, 0.0)
        squares = np.maximum((values * weighted).sum(axis=1), 0.0)
        scale = self._scale(squares, observed.sum(axis=1))
        return _Solution(root, groups, weighted, precision, squares, scale)

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


class _Solution(NamedTuple):
    """Solution for N columns and D levels, in units of sigma^2.

    Attributes:
        root: (N, N) inverse of the Cholesky factor of the covariance without the noise of single levels.
        groups: levels of the same noise, and what it takes: (J, n), an orthonormal basis of the last n whitened columns where
            the noise is infinite.
        weighted: (D, N) inverse covariance of a level times its observations.
        precision: (D, N) diagonal of that inverse, for observed columns.
        squares: (D,) product of observations and `weighted`.
        scale: (D,) sigma^2.
    """

    root: np.ndarray
    groups: list[tuple[np.ndarray, np.ndarray]]
    weighted: np.ndarray
    precision: np.ndarray
    squares: np.ndarray
    scale: np.ndarray


def _ordered(profiles: Profiles) -> Profiles:
    """The columns that most levels observe without noise first, so that what a level lacks lies at the end."""
    order = np.argsort((~profiles.observed | (profiles.noise > 0)).sum(axis=0), kind="stable")
    return Profiles(*(part[..., order] for part in profiles))


def _numbers(setting: float | Sequence[float] | None) -> list[float]:
    """One number or several as a list; empty for None."""
    values = setting if isinstance(setting, Sequence) else [] if setting is None else [setting]
    return [float(value) for value in values]
