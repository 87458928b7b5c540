"""Which column of a table of samples is what, by the names that users give or by the usual names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from depthdif import UserError

# Usual names of columns, `folded`.
_USUAL = {
    "time": ("time", "datetime", "date_time", "date", "timestamp", "juld"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "depth": ("depth", "depth_m", "deph", "deph_corrected"),
    "pressure": ("pressure", "pres", "pres_adjusted", "sea_water_pressure"),
    "platform": ("platform", "platform_number", "platform_id", "platform_code", "wmo", "float", "float_id"),
    "profile": ("profile", "profile_id", "profile_number", "cast", "cast_id"),
}
_VARIABLES = {
    "sea_water_temperature": ("temperature", "temp", "temp_adjusted", "in_situ_temperature"),
    "sea_water_potential_temperature": (
        "potential_temperature",
        "theta",
        "thetao",
        "ptemp",
        "potm_corrected",
    ),
    "sea_water_conservative_temperature": ("conservative_temperature", "ct", "bigthetao"),
    "sea_water_practical_salinity": ("salinity", "practical_salinity", "psal", "psal_adjusted", "sal"),
    "sea_water_absolute_salinity": ("absolute_salinity", "sa"),
}
_SYNONYMS = {"sea_water_salinity": "sea_water_practical_salinity"}
_FLAGS = ("{}_qc", "qc_{}", "{}_flag", "{}_quality_flag", "{}_quality")
_FLAGS_OF_ROW = ("qc", "quality", "flag", "quality_flag", "qc_flag")
_OF_VALUE = ("standard_name", "units")
_KEYS = (*_USUAL, "value", "salinity", "quality", *_OF_VALUE)


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
        names = [*self.roles.values(), self.vertical, *self.values.values(), *self.flags.values()]
        return list(dict.fromkeys(names))


def find_columns(
    names: Sequence[str], units: Mapping[str, str], wanted: Sequence[str], named: Mapping[str, str | None]
) -> Columns:
    """The columns of a table.

    Args:
        names: of all columns.
        units: of columns, as the table has them.
        wanted: standard names of variables to take, as far as the table has them.
        named: column by role, None for the usual names, with the keys time, latitude, longitude, depth or pressure, value,
            salinity, platform, profile and quality (flags of value); also the standard_name and units of value.

    Raises:
        UserError: a column that is missing, or two with a name that is usual for one role.
    """
    given = {key: name for key, name in named.items() if name is not None}
    for key, name in given.items():
        if key not in _KEYS:
            keys = ", ".join(f"columns.{role}" for role in _KEYS)
            raise UserError(f"columns.{key}={name}; expected one of {keys}")
        if key not in _OF_VALUE and name not in names:
            raise UserError(f"columns.{key}={name}: no such column; there are {', '.join(names)}")
    if "value" not in given and any(key in given for key in _OF_VALUE):
        raise UserError(
            "columns.standard_name and columns.units describe one column; set columns.value=NAME too"
        )

    roles = {}
    for role in ("time", "latitude", "longitude", "platform", "profile"):
        found = given.get(role) or _usual(role, _USUAL[role], names, given)
        if found is not None:
            roles[role] = found
        elif role not in ("platform", "profile"):
            raise UserError(f"no column of {role} among {', '.join(names)}; set columns.{role}=NAME")
    # What is given comes first; a depth needs no conversion.
    candidates = [(given.get(role), role) for role in ("depth", "pressure")]
    candidates += [(_usual(role, _USUAL[role], names, given), role) for role in ("depth", "pressure")]
    vertical, vertical_role = next(((name, role) for name, role in candidates if name), (None, ""))
    if vertical is None:
        raise UserError(
            f"no column of depth or pressure among {', '.join(names)}; set columns.depth=NAME or columns.pressure=NAME"
        )
    values = _values(names, wanted, given)
    if "units" in given:
        units = {**units, given["value"]: given["units"]}
    flags = _flags(names, [*roles.values(), vertical, *values.values()], given, values)
    return Columns(roles, vertical, vertical_role == "pressure", values, flags, units)


def _folded(name: str) -> str:
    """A name in lower case, without units in brackets: `TEMP (degC)` is temp."""
    return re.sub(r"[\s\-.]+", "_", re.sub(r"[(\[].*[)\]]\s*$", "", name).strip().lower())


def _usual(role: str, spellings: Sequence[str], names: Sequence[str], given: Mapping[str, str]) -> str | None:
    """The column with a name that is usual for a role and not given to another."""
    found = [name for name in names if _folded(name) in spellings and name not in given.values()]
    if len(found) > 1:
        key = "salinity" if "salinity" in role else "value" if "temperature" in role else role
        raise UserError(
            f"{' and '.join(found)} may both be the {role}; set columns.{key}={found[0]} or the other"
        )
    return found[0] if found else None


def _values(names: Sequence[str], wanted: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Column by standard name of the wanted variables."""
    values = {}
    if "value" in given:
        folded = _folded(given["value"])
        known = [name for name, spellings in _VARIABLES.items() if folded in (name, *spellings)]
        standard_name = given.get("standard_name") or next(iter(known), None)
        if standard_name is None:
            raise UserError(
                f"columns.value={given['value']}: its name does not say which variable it is; set columns.standard_name, such as "
                f"columns.standard_name={wanted[0]}"
            )
        values[_SYNONYMS.get(standard_name, standard_name)] = given["value"]
    if "salinity" in given:
        values["sea_water_practical_salinity"] = given["salinity"]
    for standard_name in wanted:
        # Beside a value that is given, only the salinity is taken that its conversion may need.
        if standard_name not in values and ("value" not in given or "salinity" in standard_name):
            synonyms = [name for name, other in _SYNONYMS.items() if other == standard_name]
            spellings = (standard_name, *synonyms, *_VARIABLES.get(standard_name, ()))
            found = _usual(standard_name, spellings, names, given)
            if found is not None:
                values[standard_name] = found
    values = {name: column for name, column in values.items() if name in wanted}
    if not values:
        raise UserError(
            f"no column of {' or '.join(wanted)} among {', '.join(names)}; set columns.value=NAME and "
            f"columns.standard_name={wanted[0]}"
        )
    return values


def _flags(
    names: Sequence[str], columns: Sequence[str], given: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    """Column of flags by the column that they are about: TEMP_QC of TEMP, POSITION_QC of latitude and longitude."""
    flags = {}
    for column in columns:
        places = (*_USUAL["latitude"], *_USUAL["longitude"])
        subjects = [_folded(column), *(["position"] if _folded(column) in places else [])]
        spellings = [pattern.format(subject) for subject in subjects for pattern in _FLAGS]
        if list(values.values()) == [column]:
            spellings += _FLAGS_OF_ROW
        found = [name for spelling in spellings for name in names if _folded(name) == spelling]
        if found:
            flags[column] = found[0]
    if "quality" in given:
        flags[given.get("value") or next(iter(values.values()))] = given["quality"]
    return flags
