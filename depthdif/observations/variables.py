"""Numbers, dates, flags and text of the variables of Argo and EN files, opened without decoding."""

from __future__ import annotations

import netCDF4
import numpy as np

from depthdif import UserError

# Largest magnitude of a value that is no fill value: 99999 and 999999, whatever the attribute is called.
_FILL = 99_998.0
_DAYS = "days since 1950-01-01"
_EPOCH = np.datetime64("1950-01-01", "us")


def numbers(variable: netCDF4.Variable) -> np.ndarray:
    """float64, NaN where the file has a fill value."""
    values = np.asarray(variable[...], np.float64)
    return np.where(np.abs(values) < _FILL, values, np.nan)


def dates(variable: netCDF4.Variable) -> np.ndarray:
    """datetime64[us] of days since 1950-01-01, NaT where missing.

    Raises:
        UserError: other units, of a file that was written again by another program.
    """
    units = getattr(variable, "units", _DAYS)
    if not units.startswith(_DAYS):
        raise UserError(f"{variable.name} in {units!r}; expected {_DAYS!r}")
    days = numbers(variable)
    known = np.isfinite(days)
    microseconds = np.round(np.where(known, days, 0) * 86_400e6).astype("timedelta64[us]")
    return np.where(known, _EPOCH + microseconds, np.datetime64("NaT", "us"))


def flags(variable: netCDF4.Variable) -> np.ndarray:
    """Flags of one character, as bytes."""
    return np.asarray(variable[...]).astype("S1")


def is_unset(flags: np.ndarray) -> bool:
    """Whether not a single flag is set; 0 is that of what was not checked."""
    return bool(np.isin(flags, [b"", b" ", b"\0", b"0"]).all())


def text(variable: netCDF4.Variable) -> np.ndarray:
    """Text without blanks around it, from characters along the last dimension; single characters where there is none."""
    if variable.dtype is str:
        return np.char.strip(np.asarray(variable[...], str))
    characters = np.asarray(variable[...]).astype("S1")
    if characters.ndim and "STRING" in variable.dimensions[-1].upper():
        filled = np.where(characters == b"", b" ", characters)
        joined = np.ascontiguousarray(filled).view(f"S{filled.shape[-1]}")[..., 0]
    else:
        joined = characters
    return np.char.strip(np.char.decode(joined, "ascii", "replace"), " \0")
