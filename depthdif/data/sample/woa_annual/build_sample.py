"""Rebuild the sample field from the Debian package ferret-datasets.

Usage: python build_sample.py FERRET_DATA_DIR OUT.nc

FERRET_DATA_DIR comes from `apt-get download ferret-datasets; dpkg -x ferret-datasets*.deb DIR`, folder
usr/share/ferret-vis/data in DIR. Needs scipy besides the dependencies of the package. See README.md beside
this file for what is done and why.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

DIMENSIONS = ("time", "depth", "latitude", "longitude")
DEFLATED = {"dtype": "int16", "_FillValue": np.int16(-32768), "zlib": True, "complevel": 9, "shuffle": True}
PACKING = {
    "temperature": {"scale_factor": 0.002, "add_offset": 15.0, **DEFLATED},
    "salinity": {"scale_factor": 0.001, "add_offset": 25.0, **DEFLATED},
}
ATTRIBUTES = {
    "temperature": {
        "standard_name": "sea_water_temperature",
        "units": "degree_Celsius",
        "long_name": "Sea water temperature, annual climatology",
    },
    "salinity": {
        "standard_name": "sea_water_practical_salinity",
        "units": "1",
        "long_name": "Practical salinity, annual climatology",
    },
}
AXES = {
    "time": {"standard_name": "time", "climatology": "annual", "axis": "T"},
    "depth": {"standard_name": "depth", "units": "m", "positive": "down", "axis": "Z"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
GLOBAL = {
    "Conventions": "CF-1.8",
    "title": "Annual ocean temperature and salinity climatology, 1 degree",
    "source": "World Ocean Atlas (NOAA NODC, Levitus et al.), as packaged in the Debian package ferret-datasets 7.6.0 "
    "(NOAA PMEL)",
    "license": "US Government work, public domain",
    "comment": "year 2000 is a placeholder: the field is an annual mean",
}
SOURCES = {"temperature": "TEMP", "salinity": "SALT"}
DEEPEST = 1500.0


def main() -> None:
    """Read the atlas from the folder of the first argument and write the sample to the path of the second."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python build_sample.py FERRET_DATA_DIR OUT.nc")
    atlas = xr.open_dataset(Path(sys.argv[1]) / "levitus_climatology.cdf", decode_times=False)
    atlas = atlas.rename(ZAXLEVITR="depth", YAXLEVITR="latitude", XAXLEVITR="longitude")
    atlas = atlas.assign_coords(longitude=(atlas.longitude + 180) % 360 - 180).sortby("longitude")
    atlas = atlas.sel(depth=slice(0, DEEPEST))
    axes = {name: atlas[name].values.astype("f4") for name in DIMENSIONS[1:]}
    sample = xr.Dataset(
        {
            name: (DIMENSIONS, atlas[source].values[None].astype("f4"), ATTRIBUTES[name])
            for name, source in SOURCES.items()
        },
        {
            name: (name, values, AXES[name])
            for name, values in ({"time": np.array(["2000-07-01"], "datetime64[ns]")} | axes).items()
        },
        GLOBAL,
    )
    encoding: dict[str, dict[str, object]] = {
        **PACKING,
        "time": {"units": "days since 2000-01-01", "dtype": "int32"},
    }
    sample.to_netcdf(Path(sys.argv[2]), encoding=encoding, engine="netcdf4")


if __name__ == "__main__":
    main()
