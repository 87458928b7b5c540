"""From what was measured to a variable at depths, by the thermodynamic equation of seawater (TEOS-10, IOC et al. 2010)."""

from __future__ import annotations

import gsw
import numpy as np

from depthdif import UserError
from depthdif.observations.profiles import ProfileTable, RawProfiles
from depthdif.observations.refusals import Refusals
from depthdif.units import (
    ABSOLUTE,
    CONSERVATIVE,
    IN_SITU,
    POTENTIAL,
    PRACTICAL,
    SALINITIES,
    TEMPERATURES,
    canonical_name,
    canonical_units,
)

# What no ocean has: fill values that a file does not declare.
_POSSIBLE = {**dict.fromkeys(TEMPERATURES, (-4.0, 45.0)), **dict.fromkeys(SALINITIES, (0.0, 50.0))}
_ZERO_CELSIUS = 273.15


def wanted(standard_name: str) -> list[str]:
    """The standard names of what a variable can be made from, itself first.

    Raises:
        UserError: a variable that is no temperature and no salinity.
    """
    name = canonical_name(standard_name)
    for group in (TEMPERATURES, SALINITIES):
        if name in group:
            others = [other for other in group if other != name]
            return [name, *others, *(SALINITIES if group is TEMPERATURES else ())]
    raise UserError(
        f"the model predicts {standard_name}, which profiles cannot be converted to; expected one of "
        f"{', '.join((*TEMPERATURES, *SALINITIES))}: set standard_name"
    )


def to_variable(
    raw: RawProfiles, standard_name: str, units: str, refusals: Refusals
) -> tuple[ProfileTable, np.ndarray]:
    """The samples of a variable on depths, and the numbers (n,) of the profiles that have any.

    In-situ temperature is that of ITS-90. A sample whose conversion needs a salinity that it does not have is refused.

    Args:
        standard_name, units: of the variable; temperatures in degree_Celsius or K, practical salinity in 1.

    Raises:
        UserError: units that are not those of the variable.
    """
    name = canonical_name(standard_name)
    offset = _offset(name, units)
    latitude, longitude = raw.latitude[:, None], raw.longitude[:, None]
    if raw.is_pressure:
        pressure = raw.vertical
        depth = -gsw.z_from_p(pressure, latitude)
    else:
        depth = raw.vertical
        pressure = gsw.p_from_z(-depth, latitude)
    value = np.full(depth.shape, np.nan)
    for source, given in _by_preference(raw, name):
        possible = _POSSIBLE[source]
        sound = np.isfinite(given) & np.isfinite(depth) & (given >= possible[0]) & (given <= possible[1])
        refusals.samples("value impossible", int((np.isfinite(given) & np.isfinite(depth) & ~sound).sum()))
        open_ = sound & np.isnan(value)
        if source != name:
            salinity = _absolute_salinity(raw, pressure, longitude, latitude)
            converted = _convert(
                np.where(open_, given, np.nan), source, name, salinity, pressure, longitude, latitude
            )
            lacking = open_ & np.isnan(converted)
            refusals.samples("no salinity for the conversion", int(lacking.sum()))
            given = converted
        value = np.where(open_, given, value)
    return _table(raw, depth, value + offset, refusals)


def _offset(name: str, units: str) -> float:
    """What is added to degrees Celsius, or to practical salinity, for some units."""
    known = canonical_units(units)
    if name in TEMPERATURES:
        if known in ("degree_Celsius", "K"):
            return _ZERO_CELSIUS if known == "K" else 0.0
    elif known in ("", "1", "1e-3", "g kg-1"):
        return 0.0
    raise UserError(
        f"the model predicts {name} in {units!r}; expected degC or K for a temperature and 1 or g kg-1 for a salinity"
    )


def _by_preference(raw: RawProfiles, name: str) -> list[tuple[str, np.ndarray]]:
    """What a variable can be made from, without the salinities that only a conversion needs."""
    group = TEMPERATURES if name in TEMPERATURES else SALINITIES
    return [
        (source, raw.values[source]) for source in wanted(name) if source in group and source in raw.values
    ]


def _absolute_salinity(
    raw: RawProfiles, pressure: np.ndarray, longitude: np.ndarray, latitude: np.ndarray
) -> np.ndarray:
    """(N, L) g kg-1, NaN where there is no salinity."""
    if ABSOLUTE in raw.values:
        return raw.values[ABSOLUTE]
    if PRACTICAL not in raw.values:
        return np.full(pressure.shape, np.nan)
    practical = raw.values[PRACTICAL]
    low, high = _POSSIBLE[PRACTICAL]
    practical = np.where((practical >= low) & (practical <= high), practical, np.nan)
    return gsw.SA_from_SP(practical, pressure, longitude, latitude)


def _convert(
    given: np.ndarray,
    source: str,
    name: str,
    salinity: np.ndarray,
    pressure: np.ndarray,
    longitude: np.ndarray,
    latitude: np.ndarray,
) -> np.ndarray:
    """(N, L) of the variable `name` from another one, NaN without salinity."""
    if name == ABSOLUTE:
        return gsw.SA_from_SP(given, pressure, longitude, latitude)
    if name == PRACTICAL:
        return gsw.SP_from_SA(given, pressure, longitude, latitude)
    conservative = {
        IN_SITU: lambda: gsw.CT_from_t(salinity, given, pressure),
        POTENTIAL: lambda: gsw.CT_from_pt(salinity, given),
        CONSERVATIVE: lambda: np.where(np.isfinite(salinity), given, np.nan),
    }[source]()
    return {
        IN_SITU: lambda: gsw.t_from_CT(salinity, conservative, pressure),
        POTENTIAL: lambda: gsw.pt_from_CT(salinity, conservative),
        CONSERVATIVE: lambda: conservative,
    }[name]()


def _table(
    raw: RawProfiles, depth: np.ndarray, value: np.ndarray, refusals: Refusals
) -> tuple[ProfileTable, np.ndarray]:
    """The samples that are there, ascending in depth; of several at one depth the first."""
    there = np.isfinite(depth) & np.isfinite(value) & (depth >= 0)
    refusals.samples("above the surface", int((np.isfinite(depth) & np.isfinite(value) & (depth < 0)).sum()))
    order = np.argsort(np.where(there, depth, np.inf), axis=1, kind="stable")
    depth, value, there = (np.take_along_axis(array, order, axis=1) for array in (depth, value, there))
    again = there[:, 1:] & (depth[:, 1:] == depth[:, :-1])
    refusals.samples("a second value at a depth", int(again.sum()))
    there[:, 1:] &= ~again
    counts = there.sum(axis=1)
    refusals.profiles("no good sample", int((counts == 0).sum()))
    numbers = np.flatnonzero(counts)
    start = np.concatenate([[0], np.cumsum(counts[numbers])]).astype(np.int64)
    table = ProfileTable(
        raw.time[numbers].astype("datetime64[us]"),
        raw.latitude[numbers],
        raw.longitude[numbers],
        raw.platform[numbers].astype(str),
        start,
        depth[there],
        value[there],
    )
    return table, numbers
