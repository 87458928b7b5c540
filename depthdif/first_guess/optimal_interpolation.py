"""Optimal interpolation of profiles, depth by depth, with the surface fields as a trend and as a distance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from depthdif import UserError
from depthdif.first_guess.columns import Profiles
from depthdif.first_guess.covariance import Cells, powered_exponential
from depthdif.first_guess.interpolation import Interpolation, Sources, pairs_at_once
from depthdif.first_guess.protocol import PatchData
from depthdif.first_guess.regressions import completed

_EXPONENTS = {"gaussian": 2.0, "exponential": 1.0}


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

    The columns of all levels share one Cholesky factor. A level takes from it the columns that it observes before the first that
    it lacks; those after it are conditioned on them with a factor of their own.

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
        cross_covariance: whether the others are those of all variables; false interpolates each variable by itself.
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
    cross_covariance: bool = True

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
            value, numbers = getattr(self, name), _numbers(getattr(self, name))
            if name in positive:
                valid, expected = all(0 < number < math.inf for number in numbers), "above 0"
            else:
                valid = all(0 <= number <= limits[name] for number in numbers)
                expected = f"from 0 to {limits[name]:g}"
            if not valid:
                raise UserError(
                    f"model.first_guess.{name}={value}; expected a number {expected}, e.g. "
                    f"model.first_guess.{name}={positive.get(name, 0.1)}"
                )
            if isinstance(value, Sequence):
                # Read for every patch, and slow as the list of a config.
                object.__setattr__(self, name, tuple(_numbers(value)))

    def scales(self) -> tuple[float, float]:
        """See `Interpolation`."""
        return self.latitude_scale, self.longitude_scale

    def prepared(self, patches: PatchData, sources: Cells) -> Profiles:
        """With regressions minus what the surface says of each level, and their gaps filled."""
        profiles = patches.profiles()
        if not self.regressions:
            return profiles
        if patches.surface_slopes is None or patches.level_covariance is None:
            raise UserError(
                "model.first_guess.regressions=true, but the samples hold no regressions; make them with this first guess, "
                "or set model.first_guess.regressions=false"
            )
        values = profiles.values - patches.surface_slopes.double() @ sources.surface.flatten(2)
        anomalies = profiles._replace(values=torch.where(profiles.observed, values, 0))
        ocean = patches.at_columns(patches.ocean_mask)
        incomplete = max(patches.columns.incomplete)
        return completed(anomalies, ocean, patches.level_covariance, self.nugget, incomplete)

    def estimate(
        self, sources: Sources, targets: Cells, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Interpolation`."""
        solution = self._solve(sources)
        estimate, variance = self._estimate(sources, targets, place, solution)
        if self.regressions and sources.surface_slopes is not None:
            estimate = estimate + sources.surface_slopes.double() @ targets.surface.flatten(2)
        return estimate, variance, *self._misfit(sources, solution)

    def cross_validate(self, sources: Sources) -> tuple[Tensor, Tensor]:
        """See `Interpolation`."""
        return self._misfit(sources, self._solve(sources))

    def _estimate(
        self, sources: Sources, targets: Cells, place: Tensor, solution: _Solution
    ) -> tuple[Tensor, Tensor]:
        """Estimate, without the slopes of the regressions, and error variance of every cell, (B, D, h w)."""
        batch, depths, _ = solution.coefficients.shape
        _, height, width = targets.shape
        trend = self._for_each_surface("trend_variance", targets.surface)
        # The most that is stored of each cell are its whitened covariances, or those with the others of each level.
        most = batch * width * max(1, solution.root.shape[1], depths * solution.basis.shape[2])
        block = max(1, 4 * pairs_at_once(place.device) // most)
        parts = []
        for row in range(0, height, block):
            part = targets.rows(slice(row, row + block))
            whitened = solution.root @ self._covariance(sources.cells, part, place - row * width)
            # Without any observation, in units of sigma^2.
            prior = 1 + self.mean_variance + trend @ part.surface.flatten(2).square()
            # Round-off at observed cells can fall below zero.
            remaining = (prior[:, None] - solution.explained(whitened)).clamp_(min=0)
            parts.append((solution.coefficients @ whitened, remaining))
        estimate, remaining = (torch.cat(fields, dim=2) for fields in zip(*parts, strict=True))
        variance = solution.scale[..., None] * remaining
        if not (self.regressions or self.background == "climatology"):
            # Without observation nothing but the mean profile is known.
            variance = torch.where(sources.profiles.observed.any(dim=2, keepdim=True), variance, 1)
        return estimate, variance

    def _misfit(self, sources: Sources, solution: _Solution) -> tuple[Tensor, Tensor]:
        """Leave-one-out misfit and its variance, (B, D, N).

        In closed form (Dubrule 1983, doi 10.1007/BF01033232): no system is solved again.
        """
        profiles = sources.profiles
        observed = profiles.observed & (profiles.noise == 0)
        precision = torch.where(observed, solution.explained(solution.root), 1)
        error = torch.where(observed, solution.coefficients @ solution.root / precision, 0)
        others = (solution.squares[..., None] - error.square() * precision).clamp(min=0)
        scale = self._scale(others, profiles.observed.sum(dim=2, keepdim=True) - 1)
        variance = torch.where(observed, scale / precision, 0)
        return error, variance

    def _solve(self, sources: Sources) -> _Solution:
        """Factorise the covariance of all columns, C = L L^T, and for each level that of its others.

        T, the rows of L of the others without their part in the first columns, gives their covariance conditional on the first,
        T T^T, to which the level adds its noise. No difference of large numbers is taken, however near to singular C is.
        """
        values, observed, noise = sources.profiles
        real = observed.any(dim=1)
        place = torch.arange(real.shape[1], device=real.device).expand_as(real)
        covariance = self._covariance(sources.cells, sources.cells, place) * (real[:, None] & real[..., None])
        # With 1e-9 more than the nugget: a Gaussian covariance without nugget is singular in float64.
        covariance.diagonal(dim1=1, dim2=2).add_((~real).double() + self.nugget + 1e-9)
        factor = torch.linalg.cholesky_ex(covariance).L
        root = _inverse(factor)
        certain = observed & (noise == 0)
        first = certain & ((~certain & real[:, None]).cumsum(dim=2) == 0)
        whitened = torch.where(first, values @ root.mT, 0)
        # From `start` on columns may be incomplete, from `late` on others than the first columns of a level may be observed.
        start, late = (real.shape[1] - count for count in self._others(sources))
        other, behind = (observed & ~first)[..., late:], ~first[..., start:]
        upper = factor[:, None, late:, start:] * (other[..., None] & behind[..., None, :])
        conditional = upper @ upper.mT
        conditional.diagonal(dim1=2, dim2=3).add_(torch.where(other, noise[..., late:], 1))
        inverse = _inverse(torch.linalg.cholesky_ex(conditional).L)
        basis = inverse @ upper
        departure = torch.where(other, values[..., late:] - whitened @ factor[:, late:].mT, 0)
        departure = (inverse @ departure[..., None])[..., 0]
        squares = whitened.square().sum(dim=2) + departure.square().sum(dim=2)
        coefficients = whitened
        coefficients[..., start:] += (departure[..., None, :] @ basis)[..., 0, :]
        scale = self._scale(squares, observed.sum(dim=2))
        return _Solution(root, first.double(), basis, coefficients, squares, scale)

    def _others(self, sources: Sources) -> tuple[int, int]:
        """The most columns of a patch that are incomplete, and from the first that a level may observe after one it lacks."""
        # An estimate in place of what a level lacks is an observation with noise.
        return sources.incomplete, sources.incomplete if self.regressions else sources.late

    def _scale(self, squares: Tensor, count: Tensor) -> Tensor:
        """sigma^2 from the sum of `count` squared whitened observations and the prior (inverse gamma)."""
        count = count.double()
        trust = count / (count + self.prior_profiles) if self.prior_profiles else count.sign()
        return (1 - trust) * self.variance + trust * squares / count.clamp(min=1)

    def _covariance(self, first: Cells, second: Cells, place: Tensor) -> Tensor:
        """(B, N, h w) covariance of the field in units of sigma^2; see `powered_exponential`."""
        exponent = _EXPONENTS.get(self.covariance, self.covariance)  # type: ignore[arg-type]
        correlation = powered_exponential(
            first,
            second,
            place,
            float(exponent),
            self.latitude_scale,
            self.longitude_scale,
            self._for_each_surface("surface_scale", first.surface),
        )
        trend = self._for_each_surface("trend_variance", first.surface)
        slopes, fields = first.surface.flatten(2) * trend[:, None], second.surface.flatten(2)
        return correlation.add_(self.mean_variance).baddbmm_(slopes.mT, fields)

    def _for_each_surface(self, name: str, surface: Tensor) -> Tensor:
        """(S,) of a setting that may be one number for all surface fields (B, S, ...); null is infinitely long."""
        setting, count = getattr(self, name), surface.shape[1]
        numbers = _numbers(math.inf if setting is None else setting)
        if isinstance(setting, Sequence) and len(numbers) != count:
            raise UserError(
                f"model.first_guess.{name}={list(setting)} for {count} surface fields; expected one number for "
                f"each, or one for all, e.g. model.first_guess.{name}={numbers[0] if numbers else 1:g}"
            )
        return torch.tensor(numbers, dtype=torch.float64).to(surface.device, non_blocking=True).expand(count)


class _Solution(NamedTuple):
    """Solution for N columns and D levels of B patches, in units of sigma^2.

    The inverse covariance of a level is R^T P R, with R the inverse Cholesky factor of the covariance of all columns and P the
    projection of whitened columns on `first` and `basis`; it is 0 for columns that the level does not observe.

    Attributes:
        root: (B, N, N), R.
        first: (B, D, N) 1 for the columns of a level before the first that it does not observe, or with noise of its own; else 0.
        basis: (B, D, m, n) what the others, among the last m, add; by the last n whitened columns.
        coefficients: (B, D, N), P R times the observations.
        squares: (B, D) product of the observations and the inverse covariance times them.
        scale: (B, D) sigma^2.
    """

    root: Tensor
    first: Tensor
    basis: Tensor
    coefficients: Tensor
    squares: Tensor
    scale: Tensor

    def explained(self, whitened: Tensor) -> Tensor:
        """(B, D, M) sum of squares of the projections of whitened covariances (B, N, M)."""
        others = whitened[:, whitened.shape[1] - self.basis.shape[-1] :]
        added = (self.basis.flatten(1, 2) @ others).unflatten(1, self.basis.shape[1:3]).square_().sum(dim=2)
        return added.baddbmm_(self.first, whitened.square())


def _inverse(factor: Tensor) -> Tensor:
    """Inverse of lower triangular matrices (..., N, N)."""
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)


def _numbers(setting: float | Sequence[float] | None) -> list[float]:
    """One number or several as a list; empty for None."""
    values = setting if isinstance(setting, Sequence) else [] if setting is None else [setting]
    return [float(value) for value in values]
