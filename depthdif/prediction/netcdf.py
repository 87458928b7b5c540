"""A NetCDF file from the working store of an output."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import netCDF4
import numpy as np
import zarr

from depthdif.prediction.cf_metadata import OutputVariable, coordinates
from depthdif.prediction.output_plan import OutputPlan


def write_netcdf(
    arrays: Mapping[str, zarr.Array], plan: OutputPlan, variables: Mapping[str, OutputVariable], path: Path
) -> None:
    """Write a NetCDF-4 file with the content of Zarr arrays; a part of one field is in memory at a time."""
    coordinates(plan).to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])
    with netCDF4.Dataset(path, "a") as file:
        for name, variable in variables.items():
            target = file.createVariable(
                name,
                variable.fill.dtype,
                variable.dimensions,
                zlib=True,
                complevel=1,
                shuffle=True,
                chunksizes=variable.chunks,
                # Chunks are written whole and once; the default keeps 64 MiB of each variable.
                chunk_cache=2**20,
                fill_value=variable.fill,
            )
            target.setncatts(variable.attributes)
            target.set_auto_maskandscale(False)
            source = arrays[name]
            for index, rows in itertools.product(np.ndindex(variable.shape[:-3]), variable.bands):
                band = (*index, slice(None), rows)
                target[band] = source[band]
