"""Numbers, times and words of a CF file that was opened without decoding."""

from __future__ import annotations

from collections.abc import Mapping

import netCDF4
import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.units import canonical_units

# Factor to metres or dbar by units in lower case.
_LENGTHS = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1e3, "cm": 1e-2}
_PRESSURES = {
    **dict.fromkeys(("dbar", "decibar", "decibars", "db"), 1.0),
    **{"bar": 10.0, "mbar": 1e-2, "pa": 1e-4, "hpa": 1e-2, "kpa": 0.1, "mpa": 100.0},
}
_PRACTICAL_SALINITY = ("1", "1e-3", "")
_FILLS = ("_FillValue", "missing_value")


def numbers(variable: xr.Variable) -> np.ndarray:
    """float64 in units of the variable; NaN where missing or not valid.

    Honours `_FillValue`, `missing_value`, the default fill values of netCDF, `valid_min`, `valid_max` and `valid_range` (which
    apply to the packed numbers), `scale_factor` and `add_offset` (CF 2.5.1, 8.1).
    """
    packed, attributes = variable.values, variable.attrs
    if packed.dtype.kind not in "iuf":
        raise UserError(f"{attributes.get('standard_name', 'a variable')} is text; expected numbers")
    low, high = np.ravel(attributes.get("valid_range", (-np.inf, np.inf)))
    good = (packed >= attributes.get("valid_min", low)) & (packed <= attributes.get("valid_max", high))
    values = packed * np.float64(attributes.get("scale_factor", 1)) + np.float64(
        attributes.get("add_offset", 0)
    )
    return np.where(good & ~missing(variable), values, np.nan)


def missing(variable: xr.Variable) -> np.ndarray:
    """Where a variable holds its fill value; blank text is missing too."""
    values, attributes = variable.values, variable.attrs
    fills = [np.ravel(attributes[name]) for name in _FILLS if name in attributes]
    if values.dtype.kind in "SUO":
        return np.isin(words(values), ["", *(word for fill in fills for word in words(fill))])
    default = netCDF4.default_fillvals.get(values.dtype.str[1:])
    # Bytes have no default: all their values are in use.
    if not fills and default is not None and values.dtype.itemsize > 1:
        fills = [np.array([default], values.dtype)]
    absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    # In the type of the variable: 1e20 as float64 is no float32.
    return absent | np.isin(values, np.concatenate([[], *fills]).astype(values.dtype))


def words(values: np.ndarray) -> np.ndarray:
    """Text without blanks around it; whole numbers without a fraction."""
    # Each of them once: there are millions of flags, and few different ones.
    different, number = np.unique(values, return_inverse=True)
    return np.array([_word(value) for value in different], dtype=str)[number].reshape(values.shape)


def _word(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return (value if isinstance(value, str) else f"{value:.15g}").strip(" \0\t\n")


def times(variable: xr.Variable) -> np.ndarray:
    """datetime64[us], NaT where missing.

    Raises:
        UserError: no date to count from, or a calendar other than that of the real world.
    """
    encoding = {name: variable.attrs[name] for name in ("units", "calendar") if name in variable.attrs}
    counted = xr.Variable(variable.dims, numbers(variable), encoding)
    try:
        decoded = xr.conventions.decode_cf_variable("time", counted).values
    except (ValueError, OverflowError) as error:
        raise UserError(f"times cannot be decoded: {error}") from error
    if decoded.dtype.kind != "M":
        raise UserError(
            f"times in {encoding.get('units', 'no units')!r}, calendar {encoding.get('calendar', 'standard')!r}; expected units "
            "such as 'days since 1950-01-01' and the standard calendar"
        )
    return decoded.astype("datetime64[us]")


def vertical(values: np.ndarray, attributes: Mapping[str, object], is_pressure: bool) -> np.ndarray:
    """Depth in metres, positive downwards, or pressure in dbar.

    Depths count downwards and heights upwards unless `positive` says otherwise (CF 4.3).
    """
    units = str(attributes.get("units", "")).strip()
    factors = _PRESSURES if is_pressure else _LENGTHS
    if units.lower() not in factors:
        raise UserError(
            f"{attributes.get('standard_name')} has units {units!r}; expected {'dbar or Pa' if is_pressure else 'm'}"
        )
    upwards = "up" if attributes.get("standard_name") in ("height", "altitude") else "down"
    positive = str(attributes.get("positive", upwards)).lower()
    return values * factors[units.lower()] * (-1 if positive == "up" and not is_pressure else 1)


def physical(values: np.ndarray, units: str, standard_name: str) -> np.ndarray:
    """Temperature in degree_Celsius, practical salinity in 1, absolute salinity in g kg-1.

    Raises:
        UserError: other units.
    """
    name = canonical_units(units)
    if "temperature" in standard_name:
        if name in ("degree_Celsius", "K"):
            return values - 273.15 if name == "K" else values
        expected = "degree_Celsius or K"
    elif "absolute" in standard_name:
        if name in ("g kg-1", "1e-3"):
            return values
        expected = "g kg-1"
    elif "salinity" in standard_name:
        # The canonical units of practical salinity are 1 and those of sea_water_salinity 1e-3; the number is the same.
        if name in _PRACTICAL_SALINITY:
            return values
        expected = "1"
    else:
        return values
    raise UserError(f"{standard_name} has units {units!r}; expected {expected}")
