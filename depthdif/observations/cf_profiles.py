"""Profiles from CF files with discrete sampling geometries: orthogonal, incomplete, contiguous and indexed ragged arrays.

Source: CF conventions 1.11, chapter 9 and appendix H.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.observations import cf_decoding
from depthdif.observations.cf_flags import flag_variables, good_flags
from depthdif.observations.cf_layout import Ragged, Rectangle, layout_of
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.ragged import own_platforms
from depthdif.observations.refusals import Refusals

_FEATURES = ("profile", "trajectoryprofile", "timeseriesprofile")
# Standard names of the vertical coordinate; the first that a file has is taken: a depth needs no conversion.
_DEPTHS = ("depth", "height", "altitude")
_PRESSURES = ("sea_water_pressure", "sea_water_pressure_due_to_sea_water")
# Other standard names under which files hold a wanted one.
_SYNONYMS = {"sea_water_practical_salinity": ("sea_water_salinity",)}
_PLATFORM_NAMES = ("platform", "platform_id", "platform_number", "platform_code", "wmo", "wmo_id", "wmo_platform_code")
_PLATFORM_ATTRIBUTES = ("wmo_platform_code", "wmo_code", "platform_code")


def reads(dataset: xr.Dataset) -> bool:
    """Whether the `featureType` of a file is profile, trajectoryProfile or timeSeriesProfile, in any case."""
    named = {str(name).lower(): value for name, value in dataset.attrs.items()}
    return str(named.get("featuretype", "")).strip().lower() in _FEATURES


def read(
    dataset: xr.Dataset, wanted: Sequence[str], quality: Quality, refusals: Refusals
) -> Iterator[RawProfiles]:
    """Profiles of a file, block by block; `dataset` is opened lazily with `decode_cf=False`.

    Args:
        wanted: standard names of variables to take values of, as far as the file has them.
        quality: which flags of values, depths, times and positions are good. Values without flags are taken, and noted.

    Raises:
        UserError: none of the variables, no time, position or depth, or not one for each profile; units or flags that are not known.
    """
    data = {
        name: found
        for name in wanted
        if (found := _only(dataset, (name, *_SYNONYMS.get(name, ())))) is not None
    }
    if not data:
        raise UserError(f"no variable with standard_name {' or '.join(wanted)}")
    first = dataset.variables[next(iter(data.values()))]
    vertical, is_pressure = _vertical(dataset, first)
    samples = _sample_dimension(dataset, first, dataset.variables[vertical])
    layout = layout_of(dataset, first, samples)
    time, latitude, longitude, good = _positions(dataset, layout, first, samples, quality, refusals)
    platform = _platforms(dataset, layout)
    unknown = np.array([name == "" for name in platform], bool)
    platform = np.where(unknown, own_platforms(time, latitude, longitude), platform)

    for block in layout.blocks():
        (rows,) = np.nonzero(good[block])
        if not len(rows):
            continue
        chosen = block.start + rows
        variable = dataset.variables[vertical]
        present = layout.present(block)[rows]
        depth = cf_decoding.numbers(layout.samples(variable, block))[rows]
        depth = cf_decoding.vertical(depth, variable.attrs, is_pressure)
        usable, _ = _flags(dataset, layout, variable, block, quality)
        depth, refused = np.where(present, depth, np.nan), ~usable[rows]
        values, unflagged = {}, np.zeros(depth.shape, bool)
        for standard_name, name in data.items():
            variable = dataset.variables[name]
            value = cf_decoding.numbers(layout.samples(variable, block))[rows]
            value = cf_decoding.physical(value, str(variable.attrs.get("units", "")), standard_name)
            there = present & np.isfinite(value) & np.isfinite(depth)
            usable, absent = (flags[rows] for flags in _flags(dataset, layout, variable, block, quality))
            refusals.samples("no flag", int((there & absent & ~refused).sum()))
            refusals.samples("flag of the value", int((there & ~usable & ~absent & ~refused).sum()))
            refusals.samples("flag of the depth", int((there & refused).sum()))
            values[standard_name] = np.where(there & usable & ~refused, value, np.nan)
            if not flag_variables(dataset, variable):
                unflagged |= there
        if unflagged.any():
            refusals.note("without quality flags", int(unflagged.sum()))
        depth[refused] = np.nan
        yield RawProfiles(
            time[chosen], latitude[chosen], longitude[chosen], platform[chosen], depth, is_pressure, values
        )


def _only(dataset: xr.Dataset, standard_names: Sequence[str]) -> str | None:
    """The variable with one of some standard names; None without any."""
    names = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.attrs.get("standard_name") in standard_names
    ]
    if len(names) > 1:
        raise UserError(
            f"{' and '.join(names)} have the standard_name {standard_names[0]}; expected one such variable: remove the others, "
            "e.g. with ncks -x -v NAME IN.nc OUT.nc"
        )
    return names[0] if names else None


def _coordinates(dataset: xr.Dataset, data: xr.Variable, standard_names: Sequence[str]) -> list[str]:
    """Variables with one of some standard names, those among the `coordinates` or dimensions of the data first."""
    listed = {*str(data.attrs.get("coordinates", "")).split(), *map(str, data.dims)}
    names = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.attrs.get("standard_name") in standard_names
    ]
    return sorted(names, key=lambda name: name not in listed)


def _vertical(dataset: xr.Dataset, data: xr.Variable) -> tuple[str, bool]:
    """The vertical coordinate, and whether it is pressure."""
    for standard_name in (*_DEPTHS[:1], *_PRESSURES, *_DEPTHS[1:]):
        names = [
            name
            for name in _coordinates(dataset, data, [standard_name])
            if set(dataset.variables[name].dims) & set(data.dims)
        ]
        if names:
            return names[0], standard_name in _PRESSURES
    raise UserError(
        f"no vertical coordinate of the samples; expected a variable with standard_name {', '.join((*_DEPTHS, *_PRESSURES))}"
    )


def _sample_dimension(dataset: xr.Dataset, data: xr.Variable, vertical: xr.Variable) -> str:
    """The dimension along which the samples of a profile lie."""
    if vertical.ndim == 1:
        return str(vertical.dims[0])
    taken: set[object] = set()
    for role in ("time", "latitude", "longitude"):
        names = _coordinates(dataset, data, [role])
        taken |= set(dataset.variables[names[0]].dims) if names else set()
    left = [name for name in data.dims if name not in taken]
    if len(left) != 1:
        raise UserError(
            f"the values lie on ({', '.join(map(str, data.dims))}), and time and position do not leave one of these for the "
            "samples of a profile; expected one time, latitude and longitude for each profile"
        )
    return str(left[0])


def _positions(
    dataset: xr.Dataset,
    layout: Rectangle | Ragged,
    data: xr.Variable,
    samples: str,
    quality: Quality,
    refusals: Refusals,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Time, latitude, longitude and whether all three are good, (N,) each; what is refused is counted."""
    found: dict[str, np.ndarray] = {}
    flagged: np.ndarray | bool = True
    for role in ("time", "latitude", "longitude"):
        # Gliders have times and positions of their samples beside those of their profiles.
        names = [
            name for name in _coordinates(dataset, data, [role]) if samples not in dataset.variables[name].dims
        ]
        if not names:
            raise UserError(f"no {role} of the profiles; expected a variable with standard_name {role}, one value a profile")
        variable = dataset.variables[names[0]]
        decode = cf_decoding.times if role == "time" else cf_decoding.numbers
        found[role] = decode(layout.profiles(variable))
        for name in flag_variables(dataset, variable):
            flagged = flagged & good_flags(layout.profiles(dataset.variables[name]), quality.position)[0]
    time, latitude, longitude = found.values()
    dated = ~np.isnat(time)
    placed = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360)
    good = dated & placed & flagged
    refusals.profiles("no time", int((~dated).sum()))
    refusals.profiles("no position", int((dated & ~placed).sum()))
    refusals.profiles("flag of time or position", int((dated & placed & ~good).sum()))
    return time, latitude, longitude, good


def _flags(
    dataset: xr.Dataset, layout: Rectangle | Ragged, variable: xr.Variable, block: slice, quality: Quality
) -> tuple[np.ndarray, np.ndarray]:
    """Where all flags of a variable are good and where one is missing, (n, L) bool for a block of n profiles."""
    shape = (block.stop - block.start, layout.width)
    usable, absent = np.ones(shape, bool), np.zeros(shape, bool)
    for name in flag_variables(dataset, variable):
        flags = dataset.variables[name]
        if layout.samples_dimension in flags.dims:
            good, none = good_flags(layout.samples(flags, block), quality.good)
        else:
            good, none = (part[block, None] for part in good_flags(layout.profiles(flags), quality.good))
        usable, absent = usable & good, absent | none
    return usable, absent


def _platforms(dataset: xr.Dataset, layout: Rectangle | Ragged) -> np.ndarray:
    """(N,) str, the platform of each profile; empty where it is not known."""
    unknown = layout.profiles(xr.Variable((), ""))
    for key in _PLATFORM_ATTRIBUTES:
        if key in dataset.attrs:
            return cf_decoding.words(layout.profiles(xr.Variable((), str(dataset.attrs[key]))).values)
    for name, variable in dataset.variables.items():
        for key in _PLATFORM_ATTRIBUTES:
            # A variable without content that describes the platform of the whole file.
            if str(name).startswith("platform") and key in variable.attrs:
                return cf_decoding.words(layout.profiles(xr.Variable((), str(variable.attrs[key]))).values)
    for name, variable in sorted(dataset.variables.items(), key=lambda item: not _names_platform(*item)):
        attributes = variable.attrs
        if _names_platform(name, variable) or attributes.get("cf_role") in ("trajectory_id", "timeseries_id"):
            text = _joined(variable)
            if text.ndim == 0 and text.dtype.kind not in "SUO":
                continue
            values = layout.profiles(text)
            return np.where(cf_decoding.missing(values), "", cf_decoding.words(values.values))
    return cf_decoding.words(unknown.values)


def _names_platform(name: object, variable: xr.Variable) -> bool:
    return str(name).lower() in _PLATFORM_NAMES or variable.attrs.get("standard_name") in (
        "platform_id",
        "platform_name",
    )


def _joined(variable: xr.Variable) -> xr.Variable:
    """Arrays of characters as words; the last dimension goes."""
    if variable.dtype.kind != "S" or not variable.ndim:
        return variable
    return xr.conventions.decode_cf_variable("platform", variable).load()
