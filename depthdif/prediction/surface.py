"""The surface fields of a prediction, from files, on the grid of the region."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.data.field import SURFACE_DIMENSIONS
from depthdif.data.files import join_in_time, open_files, select_variable
from depthdif.first_guess.climatology import spacing
from depthdif.prediction.grid import Grid
from depthdif.units import same_units

NONE = "none"


class SurfaceFields:
    """Surface channels of a model, read from files for one time after the other.

    A channel such as zos-1 is the variable zos one time step of the training before the time of the prediction. A snapshot
    counts for a time from which it is at most half a step away, that of the files or that of the training, whichever is larger.

    Args:
        path: a file, a glob, a Zarr store, or a list of these; "none" takes all surface fields as missing; None says that the
            user has set nothing.
        variables: names in the files of those variables that have another name there, such as {"sst": "analysed_sst"}; "none" is
            a variable that is taken as missing.
        state: of the data that the model was trained on (`OceanDataModule.state_dict`): names, units, time step.
        grid: of the region.
        regrid: interpolate from another grid linearly, and `say` so; otherwise another grid is an error.

    Raises:
        UserError: no files where the model needs surface fields, a variable missing, other units, or another grid.
    """

    def __init__(
        self,
        path: str | Sequence[str] | None,
        variables: Mapping[str, str],
        state: Mapping[str, Any],
        grid: Grid,
        regrid: bool,
        say: Callable[[str], None],
    ) -> None:
        self._grid = grid
        self._channels = [_variable_and_offset(name) for name in state["surface"]]
        self._step = float(state.get("time_step", np.inf))
        self._arrays: dict[str, xr.DataArray] = {}
        needed = list(dict.fromkeys(name for name, _ in self._channels))
        if "time_step" not in state and any(offset for _, offset in self._channels):
            raise UserError(
                f"the checkpoint was trained on {', '.join(state['surface'])} by another version of depthdif, which did not "
                "record its time step; train again with this version"
            )
        if unknown := sorted(variables.keys() - set(needed)):
            raise UserError(
                f"surface_variables has {', '.join(unknown)}; expected keys among the surface fields of the checkpoint: "
                f"{', '.join(needed) or 'none'}"
            )
        if path is None and needed:
            raise UserError(
                f"surface=null, but the checkpoint was trained with the surface fields {', '.join(needed)}; set surface=FILES "
                "that hold them, or surface=none to predict without, which is less accurate"
            )
        if path is None or path == NONE:
            return
        if not needed:
            raise UserError(
                f"surface={path}, but the checkpoint was trained without surface fields; set surface=null"
            )
        datasets = open_files(path, option="surface")
        units = dict(zip(state["surface"], state["surface_units"], strict=True))
        for name in needed:
            if variables.get(name) == NONE:
                continue
            variable = select_variable(
                datasets, variables.get(name, name), {}, option=f"surface_variables.{name}"
            )
            array = join_in_time(datasets, variable, SURFACE_DIMENSIONS, {})
            expected, given = units.get(name, ""), str(array.attrs.get("units", ""))
            if not same_units(expected, given):
                raise UserError(
                    f"surface={path}: {variable} is in {given}, but the checkpoint was trained on {name} in {expected}; convert "
                    f"the files first, or where only the attribute is wrong: ncatted -a units,{variable},o,c,'{expected}' FILE.nc"
                )
            self._arrays[name] = self._on_grid(array, path, regrid, say)

    @property
    def missing(self) -> list[str]:
        """The variables of the model that are not read."""
        return [
            name for name in dict.fromkeys(name for name, _ in self._channels) if name not in self._arrays
        ]

    def __call__(self, time: np.datetime64) -> np.ndarray:
        """(S, H, W) float32 in the units of the training, NaN where missing.

        Raises:
            UserError: the files do not cover the time.
        """
        _, height, width = self._grid.shape
        layers = np.full((len(self._channels), height, width), np.nan, np.float32)
        for layer, (name, offset) in zip(layers, self._channels, strict=True):
            if name in self._arrays:
                snapshot = self._snapshot(name, time, offset)
                if snapshot is not None:
                    layer[:] = self._read(self._arrays[name].isel(time=snapshot))
        return layers

    def check_times(self, times: np.ndarray) -> None:
        """Raise UserError where the files do not cover one of the times."""
        for name in self._arrays:
            for time in times:
                self._snapshot(name, time, 0)

    def _snapshot(self, name: str, time: np.datetime64, offset: int) -> int | None:
        """Number of the snapshot; None where an offset reaches beyond the files, as in training."""
        days = _days(self._arrays[name]["time"].values)
        wanted = _days(np.array([time]))[0] + (offset * self._step if offset else 0)
        number = int(np.abs(days - wanted).argmin())
        reach = max(step for step in (spacing(days), self._step, 1.0) if np.isfinite(step)) / 2
        if abs(days[number] - wanted) <= reach:
            return number
        if offset:
            return None
        first, last = self._arrays[name]["time"].values[[0, -1]].astype("datetime64[D]")
        raise UserError(
            f"surface: {name} does not cover {time.astype('datetime64[D]')}: its files run from {first} to {last}, and the "
            f"nearest time is {abs(days[number] - wanted):.0f} days away; set times inside of them, surface=FILES of that time, "
            "or surface=none"
        )

    def _on_grid(
        self, array: xr.DataArray, path: object, regrid: bool, say: Callable[[str], None]
    ) -> xr.DataArray:
        """The array with its longitudes in the range of the grid, sorted; checked to hold its cells or to be regridded."""
        grid = self._grid
        start = grid.longitude[0] - 1e-4
        longitude = (array["longitude"].values.astype(np.float64) - start) % grid.period + start
        order, rows = np.argsort(longitude), np.argsort(array["latitude"].values)
        array = array.isel(longitude=order, latitude=rows).assign_coords(longitude=longitude[order])
        if _positions(array, grid) is not None:
            return array
        edges = ("latitude", grid.latitude), ("longitude", grid.longitude)
        given = ", ".join(
            f"{axis} {array[axis].values[0]:g} to {array[axis].values[-1]:g}" for axis, _ in edges
        )
        if not regrid:
            raise UserError(
                f"surface={path}: {array.name} lies on another grid ({given}, {array.sizes['latitude']} x "
                f"{array.sizes['longitude']} cells) than the region ({grid.shape[1]} x {grid.shape[2]} cells); set regrid=true "
                "to interpolate it linearly"
            )
        say(
            f"surface: {array.name} is interpolated linearly to the grid of the region, from a grid of {given}"
        )
        return array

    def _read(self, array: xr.DataArray) -> np.ndarray:
        """(H, W) of one snapshot (latitude, longitude)."""
        grid = self._grid
        if (positions := _positions(array, grid)) is not None:
            return array.values[positions[0][:, None], positions[1]]
        east = array.assign_coords(longitude=array["longitude"] + grid.period)
        west = array.assign_coords(longitude=array["longitude"] - grid.period)
        around = xr.concat([west, array, east], dim="longitude")
        values: np.ndarray = around.interp(latitude=grid.latitude, longitude=grid.longitude).values
        return values


def _positions(array: xr.DataArray, grid: Grid) -> tuple[np.ndarray, np.ndarray] | None:
    """Row and column numbers of the cells of the grid in an array; None where they are not all in it."""
    found = []
    for axis, wanted in (("latitude", grid.latitude), ("longitude", grid.longitude)):
        values = array[axis].values.astype(np.float64)
        nearest = np.abs(values[:, None] - wanted).argmin(axis=0)
        if not np.allclose(values[nearest], wanted, rtol=0, atol=1e-4):
            return None
        found.append(nearest)
    return found[0], found[1]


def _variable_and_offset(channel: str) -> tuple[str, int]:
    """Variable and offset of a channel such as sst or zos-1."""
    match = re.fullmatch(r"(.+?)([+-]\d+)?", channel)
    assert match is not None
    return match[1], int(match[2] or 0)


def _days(times: np.ndarray) -> np.ndarray:
    """Days since 1970 as float64."""
    return times.astype("datetime64[s]").astype(np.float64) / 86400
