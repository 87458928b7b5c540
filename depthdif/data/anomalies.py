"""Simulated departures of the ocean from its climatology, for training on a climatology alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from depthdif import EARTH_RADIUS, UserError

# Waves that a random field is the sum of.
_WAVES = 64
# Scales in depth that a displacement is coherent over, metres.
_DEPTH_SCALES = (150.0, 3000.0)
_EXAMPLES = {"scales": "[100,3000]", "strength": "[0.7,1.4]"}


@dataclasses.dataclass(frozen=True)
class SimulatedAnomalies:
    """The climatology displaced by eddies and waves, and warmed or cooled.

    To first order in the displacements, T' = w dT/dz + v dT/dy + u dT/dx + r, with vertical displacement w, horizontal ones u and
    v, and a remainder r, which are independent Gaussian random fields of position and depth. Anomalies are large where the
    climatology has gradients: in the thermocline and at fronts.

    The fields are sums of waves (random Fourier features, Rahimi & Recht 2007) with Gaussian correlation exp(-d^2 / (2 L^2)) in
    the distance d, where L is drawn log-uniformly for each wave, so that the correlation falls about logarithmically from the
    least scale to the largest. Zonal distances count less by `zonal_stretch`.

    A share of the variance is on scales that the cells of the grid do not resolve: observations have it, cells do not.

    Args:
        vertical: standard deviation of w of an observation, metres.
        horizontal: of u and of v, km.
        remainder: of r at the surface, in units of the field, one number or one for each variable;
            it falls off exponentially in `remainder_depth` metres.
        scales: least and largest L that cells resolve, km.
        zonal_stretch: scales along a parallel over those along a meridian.
        unresolved: share of the variance of an observation on smaller scales, down to `unresolved_scale` km.
        strength: least and largest factor on all of them, drawn log-uniformly for each patch.

    Raises:
        UserError: a value out of range.
    """

    vertical: float = 20.0
    horizontal: float = 180.0
    remainder: float | Sequence[float] = 0.8
    remainder_depth: float = 600.0
    scales: Sequence[float] = (100.0, 3000.0)
    zonal_stretch: float = 2.0
    unresolved: float = 0.4
    unresolved_scale: float = 15.0
    strength: Sequence[float] = (0.7, 1.4)

    def __post_init__(self) -> None:
        for name in ("vertical", "horizontal", "remainder"):
            value = getattr(self, name)
            several = list(value) if name == "remainder" and isinstance(value, Sequence) else [value]
            if not all(0 <= number < math.inf for number in several):
                raise UserError(
                    f"data.anomalies.{name}={getattr(self, name)}; expected a standard deviation, at least 0, such as "
                    f"data.anomalies.{name}=1"
                )
        if not 0 <= self.unresolved < 1:
            raise UserError(
                f"data.anomalies.unresolved={self.unresolved}; expected a share of the variance from 0 to below 1, such as "
                "data.anomalies.unresolved=0.4"
            )
        for name, example in (("remainder_depth", 600), ("zonal_stretch", 2), ("unresolved_scale", 15)):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(
                    f"data.anomalies.{name}={getattr(self, name)}; expected a number above 0, such as "
                    f"data.anomalies.{name}={example}"
                )
        for name in ("scales", "strength"):
            low_high = tuple(getattr(self, name))
            if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1] < math.inf:
                raise UserError(
                    f"data.anomalies.{name}={list(low_high)}; expected the least and the largest value, above 0, such as "
                    f"data.anomalies.{name}={_EXAMPLES[name]}"
                )

    def __call__(
        self,
        climatology: np.ndarray,
        depths: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Anomalies of the cells and what observations have beyond them, (C, H, W) float32 each, of a `climatology` (C, H, W).

        The channels are the depths (D,) of one variable, in metres, or of several: these are displaced by the same w, v and u,
        which relates their anomalies as their gradients are, and each has its own r. The anomalies are 0 where the climatology is
        NaN; latitude (H,) and longitude (W,) are in degrees.

        Raises:
            UserError: a list `remainder` that has not one number for each variable.
        """
        variables = climatology.reshape(-1, len(depths), *climatology.shape[1:])
        remainders = self._remainders(len(variables))
        slopes = [gradients(each, depths, latitude, longitude) for each in variables]
        strength = _log_uniform(generator, self.strength, None)
        parts = []
        for share, scales in (
            (1 - self.unresolved, self.scales),
            (self.unresolved, (self.unresolved_scale, self.scales[0])),
        ):
            if not share:
                parts.append(np.zeros(climatology.shape, np.float32))
                continue
            w, v, u = (self._field(depths, latitude, longitude, scales, generator) for _ in range(3))
            decay = np.exp(-depths / self.remainder_depth)[:, None, None]
            of_variables = []
            for (down, north, east), remainder in zip(slopes, remainders, strict=True):
                r = self._field(depths, latitude, longitude, scales, generator)
                displaced = self.vertical * w * down + self.horizontal * (v * north + u * east)
                of_variables.append(math.sqrt(share) * strength * (displaced + remainder * decay * r))
            anomalies = np.concatenate(of_variables)
            parts.append(np.where(np.isfinite(climatology), anomalies, 0.0).astype(np.float32))
        return parts[0], parts[1]

    def _remainders(self, variables: int) -> Sequence[float]:
        """The remainder of each variable."""
        if not isinstance(self.remainder, Sequence):
            return [self.remainder] * variables
        if len(self.remainder) != variables:
            raise UserError(
                f"data.anomalies.remainder={list(self.remainder)} for {variables} variables; expected one number, or one "
                "for each variable of data.variable"
            )
        return self.remainder

    def _field(
        self,
        depths: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
        scales: Sequence[float],
        generator: np.random.Generator,
    ) -> np.ndarray:
        """A standard normal random field (D, H, W), float32."""
        scale, depth_scale = (_log_uniform(generator, limits, _WAVES) for limits in (scales, _DEPTH_SCALES))
        waves = generator.normal(size=(2, _WAVES)) / scale
        phase = generator.uniform(0, 2 * np.pi, _WAVES)
        # Kilometres on the parallels from the middle of the patch, and northwards.
        north = np.deg2rad(latitude)[:, None]
        east = np.deg2rad(longitude - (longitude[0] + longitude[-1]) / 2) * np.cos(north) / self.zonal_stretch
        places = EARTH_RADIUS * np.stack(np.broadcast_arrays(east, north), axis=-1)
        across = (places.reshape(-1, 2) @ waves + phase).astype(np.float32)
        down = np.outer(depths, generator.normal(size=_WAVES) / depth_scale).astype(np.float32)
        # cos(a + b) for all pairs of a depth and a column, as one matrix product.
        levels = np.concatenate([np.cos(down), -np.sin(down)], axis=1)
        columns = np.concatenate([np.cos(across), np.sin(across)], axis=1)
        field: np.ndarray = math.sqrt(2 / _WAVES) * levels @ columns.T
        return field.reshape(len(depths), len(latitude), len(longitude))


def _log_uniform(generator: np.random.Generator, limits: Sequence[float], count: int | None) -> Any:
    """Numbers between two limits, or one number, whose logarithms are uniform."""
    return np.exp(generator.uniform(math.log(limits[0]), math.log(limits[1]), count))


def gradients(
    field: np.ndarray, depths: np.ndarray, latitude: np.ndarray, longitude: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients (D, H, W) of a field: downwards per metre, northwards and eastwards per km; 0 beside missing cells."""
    down, north, east = (
        np.nan_to_num(np.gradient(field, positions, axis=axis))
        if field.shape[axis] > 1
        else np.zeros_like(field)
        for axis, positions in enumerate((depths, latitude, longitude))
    )
    degree = math.radians(1) * EARTH_RADIUS
    return down, north / degree, east / (degree * np.cos(np.deg2rad(latitude))[:, None].clip(0.05))
