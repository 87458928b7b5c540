"""Profiles from Argo files of the global data centres: many cycles of a float (`*_prof.nc`) or one (`D*.nc`, `R*.nc`).

Source: Argo user's manual, version 3.41, doi 10.13155/29825.
"""

from __future__ import annotations

from collections.abc import Sequence

import netCDF4
import numpy as np

from depthdif import UserError
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals
from depthdif.observations.variables import dates, flags, numbers, text

PARAMETERS = {"sea_water_temperature": "TEMP", "sea_water_practical_salinity": "PSAL"}
WORDS = {"PRES": "pressure", "TEMP": "temperature", "PSAL": "salinity"}
# Of two files with the same cycle the one of the later processing is taken: real time, adjusted in real time, delayed mode.
_RANKS = {"R": 0, "A": 1, "D": 2}


def reads(file: netCDF4.Dataset) -> bool:
    """Whether a file has the variables of an Argo profile file."""
    return {"DATA_MODE", "PLATFORM_NUMBER", "CYCLE_NUMBER", "PRES"} <= file.variables.keys()


def read(file: netCDF4.Dataset, wanted: Sequence[str], quality: Quality, refusals: Refusals) -> RawProfiles:
    """The profiles of the primary sampling scheme, ascending and descending.

    In the data modes A and D the adjusted variables count, and raw ones are never taken in their place. A refused profile stays
    without time and samples, so that a real-time file of the same cycle does not take its place.

    Args:
        wanted: standard names of variables to take values of, as far as the file has them. The first is that of the target: where
            the file has it, no other is needed.

    Raises:
        UserError: the file has none of the variables, such as one of oxygen.
    """
    names = {name: PARAMETERS[name] for name in wanted if PARAMETERS.get(name) in file.variables}
    if wanted[0] in names:
        names = {wanted[0]: names[wanted[0]]}
    if not names:
        raise UserError(f"has no {' or '.join(PARAMETERS[name] for name in wanted if name in PARAMETERS)}")
    mode, platform = text(file["DATA_MODE"]), text(file["PLATFORM_NUMBER"])
    direction = text(file["DIRECTION"]) if "DIRECTION" in file.variables else np.full(mode.shape, "A")
    cycle = numbers(file["CYCLE_NUMBER"])
    time = dates(file["JULD"])
    if "JULD_LOCATION" in file.variables:
        time = np.where(np.isnat(time), dates(file["JULD_LOCATION"]), time)
    latitude, longitude = numbers(file["LATITUDE"]), numbers(file["LONGITUDE"])
    scheme = "VERTICAL_SAMPLING_SCHEME"
    schemes = text(file[scheme]) if scheme in file.variables else np.full(mode.shape, "")
    primary = (schemes == "") | np.char.startswith(schemes, "Primary sampling")
    checks = {
        "not the primary sampling scheme": primary,
        "data mode unknown": np.isin(mode, list(_RANKS)),
        "not in delayed mode": (mode == "D") | (not quality.delayed_mode_only),
        "no time": ~np.isnat(time),
        "no position": (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360),
        "flag of time or position": quality.is_good_position(flags(file["JULD_QC"]))
        & quality.is_good_position(flags(file["POSITION_QC"])),
    }
    kept = np.ones(len(mode), bool)
    for reason, good in checks.items():
        refusals.profiles(reason, int((kept & ~good).sum()))
        kept &= good
    modes = _modes_of_parameters(file, mode)
    pressure = _good_values(file, "PRES", modes, kept, quality, refusals)
    values = {
        name: _good_values(file, variable, modes, kept, quality, refusals) for name, variable in names.items()
    }
    pressure, values = _downwards(pressure, values)
    below = _deeper_than_before(pressure)
    refusals.samples("pressure does not increase", int((np.isfinite(pressure) & ~below).sum()))
    identity = np.array([f"{p} {c:g} {d}" for p, c, d in zip(platform, cycle, direction, strict=True)])
    return RawProfiles(
        np.where(kept, time, np.datetime64("NaT")),
        latitude,
        longitude,
        platform,
        np.where(below, pressure, np.nan),
        True,
        values,
        np.where(primary & (platform != "") & np.isfinite(cycle), identity, ""),
        np.array([_RANKS.get(each, 0) for each in mode]),
    )


def _modes_of_parameters(file: netCDF4.Dataset, mode: np.ndarray) -> dict[str, np.ndarray]:
    """The data mode (N,) of each parameter that has one of its own."""
    modes = dict.fromkeys(("PRES", *PARAMETERS.values()), mode)
    if "PARAMETER_DATA_MODE" in file.variables and "STATION_PARAMETERS" in file.variables:
        own, parameters = flags(file["PARAMETER_DATA_MODE"]), text(file["STATION_PARAMETERS"])
        for name in modes:
            place = parameters == name
            letter = own[np.arange(len(own)), place.argmax(axis=1)].astype(str)
            modes[name] = np.where(place.any(axis=1) & np.isin(letter, list(_RANKS)), letter, mode)
    return modes


def _good_values(
    file: netCDF4.Dataset,
    name: str,
    modes: dict[str, np.ndarray],
    kept: np.ndarray,
    quality: Quality,
    refusals: Refusals,
) -> np.ndarray:
    """(N, L) values, NaN where they are missing, their flag is not good or the profile is not kept."""
    raw, flag = numbers(file[name]), flags(file[f"{name}_QC"])
    is_adjusted = (modes[name] != "R")[:, None]
    if is_adjusted.any():
        adjusted = f"{name}_ADJUSTED"
        has_any = adjusted in file.variables
        # Without adjusted values there are none in these modes.
        values = numbers(file[adjusted]) if has_any else np.full(raw.shape, np.nan)
        flag = np.where(is_adjusted, flags(file[f"{adjusted}_QC"]) if has_any else b"", flag)
        there = np.isfinite(raw) & ~np.isfinite(values) & is_adjusted
        refusals.samples(f"no adjusted {WORDS[name]}", int(there[kept].sum()))
        raw = np.where(is_adjusted, values, raw)
    there, missing, good = (
        np.isfinite(raw) & kept[:, None],
        np.isin(flag, [b"", b" ", b"\0"]),
        quality.is_good(flag),
    )
    what = WORDS[name]
    refusals.samples(f"no flag of the {what}", int((there & missing).sum()))
    refusals.samples(f"flag of the {what}", int((there & ~missing & ~good).sum()))
    return np.where(there & good, raw, np.nan)


def _downwards(
    pressure: np.ndarray, values: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Profiles that are stored from below reversed."""
    filled = np.isfinite(pressure)
    rows = np.arange(len(pressure))
    first, last = filled.argmax(axis=1), pressure.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)
    upwards = filled.any(axis=1) & (pressure[rows, first] > pressure[rows, last])

    def turned(array: np.ndarray) -> np.ndarray:
        return np.where(upwards[:, None], array[:, ::-1], array)

    return turned(pressure), {name: turned(array) for name, array in values.items()}


def _deeper_than_before(pressure: np.ndarray) -> np.ndarray:
    """(N, L) bool, where a pressure is larger than all before it in its profile."""
    filled = np.where(np.isfinite(pressure), pressure, -np.inf)
    before = np.maximum.accumulate(filled, axis=1)[:, :-1]
    return filled > np.concatenate([np.full((len(filled), 1), -np.inf), before], axis=1)
