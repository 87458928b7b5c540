"""Profiles from the quality-controlled files of the Met Office Hadley Centre, EN4 and EN3.

Source: Good, Martin & Rayner (2013), doi 10.1002/2013JC009067, and the format description of the data set.
"""

from __future__ import annotations

from collections.abc import Sequence

import netCDF4
import numpy as np

from depthdif import UserError
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.ragged import own_platforms
from depthdif.observations.refusals import Refusals
from depthdif.observations.variables import dates, flags, is_unset, numbers, text

PARAMETERS = {"sea_water_potential_temperature": "POTM", "sea_water_practical_salinity": "PSAL"}


def reads(file: netCDF4.Dataset) -> bool:
    """Whether a file has the corrected depths of EN profiles."""
    return "DEPH_CORRECTED" in file.variables


def read(file: netCDF4.Dataset, wanted: Sequence[str], quality: Quality, refusals: Refusals) -> RawProfiles:
    """The profiles with good position and good levels, on corrected depths.

    A flag that is missing is not good. Flags of depths and dates are not among the decisions of the data set, which are those of
    position, profile and value: where a file sets not a single one of them, as EN3, they do not count, and that is noted.

    Args:
        wanted: as in `argo.read`.

    Raises:
        UserError: the file has none of the variables.
    """
    names = {
        name: PARAMETERS[name] for name in wanted if f"{PARAMETERS.get(name)}_CORRECTED" in file.variables
    }
    if wanted[0] in names:
        names = {wanted[0]: names[wanted[0]]}
    if not names:
        raise UserError(
            f"has no {' or '.join(f'{PARAMETERS[name]}_CORRECTED' for name in wanted if name in PARAMETERS)}"
        )
    time = dates(file["JULD" if "JULD" in file.variables else "JULD_LOCATION"])
    latitude, longitude = numbers(file["LATITUDE"]), numbers(file["LONGITUDE"])
    checks = {
        "no time": ~np.isnat(time),
        "no position": (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360),
        "flag of time or position": quality.is_good_position(flags(file["POSITION_QC"])),
    }
    has_date_flags = "JULD_QC" in file.variables and not is_unset(flags(file["JULD_QC"]))
    if has_date_flags:
        checks["flag of time or position"] &= quality.is_good_position(flags(file["JULD_QC"]))
    kept = np.ones(len(time), bool)
    for reason, good in checks.items():
        refusals.profiles(reason, int((kept & ~good).sum()))
        kept &= good
    depth = numbers(file["DEPH_CORRECTED"])[kept]
    usable = _good(file, "DEPH", kept, quality)
    if usable is not None:
        refusals.samples("flag of the depth", int((np.isfinite(depth) & ~usable).sum()))
        depth = np.where(usable, depth, np.nan)
    values, taken = {}, np.zeros(depth.shape, bool)
    for name, variable in names.items():
        value = numbers(file[f"{variable}_CORRECTED"])[kept]
        there = np.isfinite(value) & np.isfinite(depth)
        good = _good(file, variable, kept, quality)
        refusals.samples(
            "no flag" if good is None else "flag of the value",
            int((there if good is None else there & ~good).sum()),
        )
        values[name] = np.where(there & (False if good is None else good), value, np.nan)
        taken |= np.isfinite(values[name])
    for what, has_flags in (("depths", usable is not None), ("dates", has_date_flags)):
        if not has_flags:
            refusals.note(f"without flags of their {what}", int(taken.sum()))
    where = time[kept], latitude[kept], longitude[kept]
    platform = own_platforms(*where)
    if "PLATFORM_NUMBER" in file.variables:
        named = text(file["PLATFORM_NUMBER"])[kept]
        platform = np.where(named == "", platform, named)
    return RawProfiles(*where, platform, depth, False, values)


def _good(file: netCDF4.Dataset, name: str, kept: np.ndarray, quality: Quality) -> np.ndarray | None:
    """(n, L) bool, where the flags of a level, and that of its profile where there is one, are good; None without flags."""
    levels = f"{name}_CORRECTED_QC"
    if levels not in file.variables or is_unset(flags(file[levels])):
        return None
    good = quality.is_good(flags(file[levels])[kept])
    profile = f"PROFILE_{name}_QC"
    if profile in file.variables and not is_unset(flags(file[profile])):
        good &= quality.is_good(flags(file[profile])[kept])[:, None]
    return good
