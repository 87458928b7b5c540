"""Numbers, dates, flags and text of the variables of Argo and EN files, opened without decoding."""

from __future__ import annotations

import netCDF4
import numpy as np

# Largest magnitude of a value that is no fill value: 99999 and 999999, whatever the attribute is called.
_FILL = 99_998.0
_EPOCH = np.datetime64("1950-01-01", "us")


def numbers(variable: netCDF4.Variable) -> np.ndarray:
    """float64, NaN where the file has a fill value."""
    values = np.asarray(variable[...], np.float64)
    return np.where(np.abs(values) < _FILL, values, np.nan)


def dates(variable: netCDF4.Variable) -> np.ndarray:
    """datetime64[us] of days since 1950-01-01, NaT where missing."""
    days = numbers(variable)
    known = np.isfinite(days)
    microseconds = np.round(np.where(known, days, 0) * 86_400e6).astype("timedelta64[us]")
    return np.where(known, _EPOCH + microseconds, np.datetime64("NaT", "us"))


def flags(variable: netCDF4.Variable) -> np.ndarray:
    """Flags of one character, as bytes."""
    return np.asarray(variable[...]).astype("S1")


def is_unset(flags: np.ndarray) -> bool:
    """Whether not a single flag is set."""
    return bool(np.isin(flags, [b"", b" ", b"\0"]).all())


def text(variable: netCDF4.Variable) -> np.ndarray:
    """Text without blanks around it, from characters along the last dimension; single characters where there is none."""
    characters = np.asarray(variable[...]).astype("S1")
    if "STRING" in str(variable.dimensions[-1]) and characters.ndim:
        filled = np.where(characters == b"", b" ", characters)
        joined = np.ascontiguousarray(filled).view(f"S{filled.shape[-1]}")[..., 0]
    else:
        joined = characters
    return np.char.strip(np.char.decode(joined, "ascii", "replace"), " \0")
