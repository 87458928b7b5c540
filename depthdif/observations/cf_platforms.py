"""Platforms of the profiles of a CF file."""

from __future__ import annotations

import numpy as np
import xarray as xr

from depthdif.observations.cf_decoding import missing, words
from depthdif.observations.cf_layout import Layout

_NAMES = ("platform", "platform_id", "platform_number", "platform_code", "wmo", "wmo_id", "wmo_platform_code")
_STANDARD_NAMES = ("platform_id", "platform_name")
_ATTRIBUTES = ("wmo_platform_code", "wmo_code", "wmo_id", "platform_code")
# Not profile_id: a platform makes many profiles.
_ROLES = ("trajectory_id", "timeseries_id")


def platforms(dataset: xr.Dataset, layout: Layout) -> np.ndarray:
    """(N,) str, the platform of each profile; empty where it is not known.

    Taken from a variable that names platforms, else from the identifier of the trajectory or station, else from an attribute of
    the file or of a variable without content that describes its one platform.
    """
    by_name = [
        variable
        for name, variable in dataset.variables.items()
        if str(name).lower() in _NAMES or variable.attrs.get("standard_name") in _STANDARD_NAMES
    ]
    by_role = [variable for variable in dataset.variables.values() if variable.attrs.get("cf_role") in _ROLES]
    for variable in (*by_name, *by_role):
        text = _joined(variable)
        # A single number may be any: it only carries the attributes that describe a platform.
        if text.ndim or text.dtype.kind in "SUO":
            named = layout.profiles(text)
            return np.where(missing(named), "", words(named.values))
    attributes = {**{key: v.attrs[key] for v in by_name for key in v.attrs}, **dataset.attrs}
    code = next((attributes[key] for key in _ATTRIBUTES if key in attributes), "")
    return words(layout.profiles(xr.Variable((), np.array(code))).values)


def _joined(variable: xr.Variable) -> xr.Variable:
    """Arrays of characters as words; their last dimension goes."""
    if variable.dtype.kind != "S" or not variable.ndim:
        return variable
    return xr.conventions.decode_cf_variable("platform", variable).load()
