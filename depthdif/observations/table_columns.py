"""Which column of a table of samples is what, by the names that users give or by the usual names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from depthdif import UserError

# Usual names of columns, as `folded`.
_USUAL = {
    "time": ("time", "datetime", "date_time", "date", "timestamp", "juld"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "depth": ("depth", "depth_m", "deph", "depth_corrected", "deph_corrected"),
    "pressure": ("pressure", "pres", "pressure_dbar", "pres_adjusted", "sea_water_pressure"),
    "platform": ("platform", "platform_number", "platform_id", "platform_code", "wmo", "wmo_id", "float", "float_id"),
    "profile": ("profile", "profile_id", "profile_number", "cast", "cast_id"),
}
_VARIABLES = {
    "sea_water_temperature": ("temperature", "temp", "temp_adjusted", "in_situ_temperature", "insitu_temperature"),
    "sea_water_potential_temperature": ("potential_temperature", "theta", "thetao", "ptemp", "potm", "potm_corrected"),
    "sea_water_conservative_temperature": ("conservative_temperature", "ct", "bigthetao"),
    "sea_water_practical_salinity": ("salinity", "practical_salinity", "psal", "psal_adjusted", "sal", "sea_water_salinity"),
    "sea_water_absolute_salinity": ("absolute_salinity", "sa"),
}
_FLAGS = ("{}_qc", "qc_{}", "{}_flag", "{}_quality_flag", "{}_quality")
_ANY_FLAG = ("qc", "quality", "flag", "quality_flag", "qc_flag")
_KEYS = (*_USUAL, "value", "salinity", "quality", "standard_name", "units")
_NEEDED = ("time", "latitude", "longitude")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of a table of samples.

    Attributes:
        roles: column by role: time, latitude, longitude, and platform and profile where there are such.
        vertical: column of depth or pressure.
        is_pressure: which of the two.
        values: column by standard name.
        flags: column of the quality flags of a column.
        units: units of a column, where the user or the table gives them.
    """

    roles: Mapping[str, str]
    vertical: str
    is_pressure: bool
    values: Mapping[str, str]
    flags: Mapping[str, str]
    units: Mapping[str, str]

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return list(
            dict.fromkeys([*self.roles.values(), self.vertical, *self.values.values(), *self.flags.values()])
        )


def folded(name: str) -> str:
    """A name in lower case, without units in brackets: `TEMP (degC)` is temp."""
    return re.sub(r"[\s\-.]+", "_", re.sub(r"[(\[].*[)\]]\s*$", "", name).strip().lower())


def find_columns(
    names: Sequence[str], units: Mapping[str, str], wanted: Sequence[str], given: Mapping[str, str]
) -> Columns:
    """The columns of a table with some names.

    Args:
        units: of columns, as the table has them.
        wanted: standard names of variables to take, as far as the table has them.
        given: column by role, with the keys time, latitude, longitude, depth or pressure, value, salinity, platform, profile and
            quality (flags of value); also the standard_name and units of value.

    Raises:
        UserError: a column that is missing, or two with a name that is usual for one role.
    """
    for key, name in given.items():
        if key not in _KEYS:
            raise UserError(f"columns.{key}={name}; expected one of {', '.join(f'columns.{role}' for role in _KEYS)}")
        if key not in ("standard_name", "units") and name not in names:
            raise UserError(f"columns.{key}={name}: no such column; there are {', '.join(names)}")

    def usual(role: str, spellings: Sequence[str]) -> str | None:
        found = [name for name in names if folded(name) in (*spellings, role) and name not in given.values()]
        if len(found) > 1:
            raise UserError(f"{' and '.join(found)} may both be the {role}; set columns.{role}={found[0]} or the other")
        return found[0] if found else None

    roles = {role: given.get(role) or usual(role, _USUAL[role]) for role in _USUAL if role not in ("depth", "pressure")}
    for role in _NEEDED:
        if roles[role] is None:
            raise UserError(f"no column of {role} among {', '.join(names)}; set columns.{role}=NAME")
    vertical = given.get("depth") or given.get("pressure")
    is_pressure = "depth" not in given and "pressure" in given
    if vertical is None:
        # A depth needs no conversion.
        vertical = usual("depth", _USUAL["depth"])
        if vertical is None:
            vertical, is_pressure = usual("pressure", _USUAL["pressure"]), True
    if vertical is None:
        raise UserError(
            f"no column of depth or pressure among {', '.join(names)}; set columns.depth=NAME or columns.pressure=NAME"
        )
    values = _values(names, wanted, given)
    all_units = dict(units)
    if "units" in given and "value" in given:
        all_units[given["value"]] = given["units"]
    found_roles = {role: name for role, name in roles.items() if name is not None}
    flags = _flags(names, [*(found_roles[role] for role in _NEEDED), vertical, *values.values()])
    value = given.get("value") or (next(iter(values.values())) if len(values) == 1 else None)
    if value is not None:
        anywhere = [name for name in names if folded(name) in _ANY_FLAG]
        flag = given.get("quality") or flags.get(value) or (anywhere[0] if anywhere else None)
        flags = {**flags, value: flag} if flag else flags
    return Columns(found_roles, vertical, is_pressure, values, flags, all_units)


def _values(names: Sequence[str], wanted: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Column by standard name of the wanted variables."""
    values = {}
    if "value" in given:
        known = [key for key, spellings in _VARIABLES.items() if folded(given["value"]) in (key, *spellings)]
        standard_name = given.get("standard_name") or (known[0] if known else None)
        if standard_name is None:
            raise UserError(
                f"columns.value={given['value']}: its name does not say which variable it is; set columns.standard_name, such as "
                f"columns.standard_name={wanted[0]}"
            )
        values["sea_water_practical_salinity" if standard_name == "sea_water_salinity" else standard_name] = given["value"]
    elif "standard_name" in given or "units" in given:
        raise UserError("columns.standard_name and columns.units describe one column; set columns.value=NAME too")
    if "salinity" in given:
        values["sea_water_practical_salinity"] = given["salinity"]
    for standard_name in wanted:
        # Where the value is named, nothing but the salinity that its conversion may need is taken besides.
        if standard_name in values or ("value" in given and "salinity" not in standard_name):
            continue
        spellings = (standard_name, *_VARIABLES.get(standard_name, ()))
        found = [name for name in names if folded(name) in spellings and name not in given.values()]
        if len(found) > 1:
            key = "salinity" if "salinity" in standard_name else "value"
            raise UserError(f"{' and '.join(found)} may both be {standard_name}; set columns.{key}={found[0]} or the other")
        if found:
            values[standard_name] = found[0]
    values = {name: column for name, column in values.items() if name in wanted}
    if not values:
        raise UserError(
            f"no column of {' or '.join(wanted)} among {', '.join(names)}; set columns.value=NAME and columns.standard_name={wanted[0]}"
        )
    return values


def _flags(names: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Column of flags by the column that they are about: TEMP_QC of TEMP, POSITION_QC of latitude and longitude."""
    flags = {}
    for column in columns:
        spellings = [pattern.format(folded(column)) for pattern in _FLAGS]
        if folded(column) in (*_USUAL["latitude"], *_USUAL["longitude"]):
            spellings += [pattern.format("position") for pattern in _FLAGS]
        found = [name for name in names if folded(name) in spellings]
        if found:
            flags[column] = found[0]
    return flags
