"""Density inversions: water that lies above lighter water, which a reconstruction of temperature and salinity should not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import gsw
import numpy as np

from depthdif.units import (
    CONSERVATIVE,
    IN_SITU,
    POTENTIAL,
    PRACTICAL,
    TEMPERATURES,
    canonical_name,
    canonical_units,
)

TOLERANCE = 1e-7
"""s-2; the density of 1e-4 kg m-3 in 10 m is below the accuracy of any sensor, and above the rounding of float32."""


class Inversions(NamedTuple):
    """Vertically adjacent pairs of ocean cells: how many are unstable, of how many; both may be added up over fields."""

    unstable: int
    pairs: int

    @property
    def share(self) -> float | None:
        """Of the pairs; None without any."""
        return self.unstable / self.pairs if self.pairs else None


class SeawaterVariables(NamedTuple):
    """Which of some variables are temperature and salinity, and what kind of temperature in which units."""

    temperature: int
    salinity: int
    temperature_name: str
    is_kelvin: bool

    @classmethod
    def among(cls, variables: Iterable[tuple[str, str]]) -> SeawaterVariables | None:
        """The first temperature and the first practical salinity among (standard_name, units); None without both."""
        given = list(variables)
        names = [canonical_name(standard_name) for standard_name, _ in given]
        temperature = next((number for number, name in enumerate(names) if name in TEMPERATURES), None)
        salinity = next((number for number, name in enumerate(names) if name == PRACTICAL), None)
        if temperature is None or salinity is None:
            return None
        is_kelvin = canonical_units(given[temperature][1]) == "K"
        return cls(temperature, salinity, names[temperature], is_kelvin)


def density_inversions(
    temperature: np.ndarray,
    salinity: np.ndarray,
    depths: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    temperature_name: str = IN_SITU,
) -> Inversions:
    """Count the pairs of neighbouring levels whose squared buoyancy frequency N^2 is below -`TOLERANCE`, by TEOS-10.

    Args:
        temperature, salinity: (..., D, H, W) in deg C and on the practical scale, NaN outside the ocean.
        depths: (D,) metres below the surface, ascending.
        latitude, longitude: (H,) and (W,) degrees, or with the leading dimensions (..., H) and (..., W).
        temperature_name: CF standard_name of the temperature: in-situ, potential or conservative.
    """
    if len(depths) < 2:
        return Inversions(0, 0)
    latitude, longitude = latitude[..., None, :, None], longitude[..., None, None, :]
    pressure = gsw.p_from_z(-np.asarray(depths, np.float64)[:, None, None], latitude)
    # Values outside what the equation of state covers are not extrapolated.
    absolute = gsw.SA_from_SP(np.maximum(salinity, 0).astype(np.float64), pressure, longitude, latitude)
    temperature = temperature.astype(np.float64)
    conservative = {
        IN_SITU: lambda: gsw.CT_from_t(absolute, temperature, pressure),
        POTENTIAL: lambda: gsw.CT_from_pt(absolute, temperature),
        CONSERVATIVE: lambda: temperature,
    }[temperature_name]()
    pressure, latitude = (np.broadcast_to(array, conservative.shape) for array in (pressure, latitude))
    squared, _ = gsw.Nsquared(absolute, conservative, pressure, lat=latitude, axis=-3)
    return Inversions(int((squared < -TOLERANCE).sum()), int(np.isfinite(squared).sum()))
