"""A sparse field of real profiles on the grid of a gridded product."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from rich.console import Console

from depthdif import UserError
from depthdif.data.field import OceanField
from depthdif.first_guess.climatology import spacing
from depthdif.observations.gridding import superobservations
from depthdif.observations.levels import at_depths
from depthdif.observations.profiles import ProfileTable
from depthdif.observations.quality import Quality
from depthdif.observations.read import Window, read_profiles
from depthdif.terminal import print_lines, print_table

# Fields are held in memory.
_MOST_BYTES = 16 * 2**30


def field_of_observations(
    product: OceanField,
    observations: str | Sequence[str],
    start: str,
    stop: str,
    every: int = 10,
    quality: Quality | None = None,
    columns: Mapping[str, str | None] | None = None,
    level_tolerance: float = 0.0,
    standard_name: str | Sequence[str] | None = None,
    console: Console | None = None,
) -> OceanField:
    """Profiles averaged in the cells of a grid and in windows of time next to each other, without surface fields.

    The time of the field is the middle of each window; a last one that is shorter is left out. What was refused is printed as a
    table.

    Args:
        product: gives variables, units, grid and depths; the ocean is where it is defined at any of its times.
        observations: files of profiles, see `read_profiles`.
        start, stop: first and last day, ISO dates; both are included.
        every: length of a window, days.
        quality: of the observations; None for its defaults.
        columns: of tables, where they are not the usual ones.
        level_tolerance: metres; a sample so near to a depth counts as being there.
        standard_name: of each variable, where it is not that of the product.
        console: None is that of standard output.

    Raises:
        FileNotFoundError: no such file of profiles.
        UserError: dates that are none or hold no window, a variable without a standard_name, a field that is too large, or files
            without a usable profile in the region and the time.
    """
    edges = _edges(start, stop, every)
    product = _renamed(product, standard_name)
    console = console or Console()
    shape = len(edges) - 1, len(product.depths), len(product.latitude), len(product.longitude)
    if (size := len(product.targets) * 4 * int(np.prod(shape, dtype=np.int64))) > _MOST_BYTES:
        raise UserError(
            f"{shape[0]} windows of {' x '.join(map(str, shape[1:]))} cells take {size / 2**30:.0f} GiB of memory; set a larger "
            "data.every, a smaller data.max_depth, or data.path=FILE with a coarser grid"
        )
    ocean = np.concatenate(
        [np.isfinite(array.variable.values).any(axis=0) for array in product.targets]
    ).reshape(len(product.targets), *shape[1:])
    arrays = [
        _gridded(
            array,
            _read(product, array, observations, edges, quality or Quality(), columns, console),
            product,
            ocean[number],
            edges,
            level_tolerance,
            console,
        )
        for number, array in enumerate(product.targets)
    ]
    target, *further = arrays
    return dataclasses.replace(
        product,
        target=target,
        further=tuple(further),
        surface=(),
        surface_offsets=(0,),
        ocean=ocean.reshape(-1, *shape[2:]),
    )


def _renamed(product: OceanField, standard_name: str | Sequence[str] | None) -> OceanField:
    """The product with other CF names of its variables."""
    if standard_name is None:
        return product
    names = [standard_name] if isinstance(standard_name, str) else list(standard_name)
    if len(names) != len(product.targets):
        raise UserError(
            f"data.standard_name={names} for {len(product.targets)} variables; expected one for each variable of data.variable"
        )
    target, *further = (
        array.assign_attrs(standard_name=name) for array, name in zip(product.targets, names, strict=True)
    )
    return dataclasses.replace(product, target=target, further=tuple(further))


def _edges(start: str, stop: str, every: int) -> np.ndarray:
    """(T + 1,) datetime64[s], the borders of the windows."""
    try:
        first, last = np.datetime64(start, "D"), np.datetime64(stop, "D")
    except (TypeError, ValueError):
        raise UserError(
            f"data.start={start} data.stop={stop}; expected dates, such as data.start=2010-01-01 data.stop=2015-12-31"
        ) from None
    count = int((last - first).astype(int) + 1) // every if every >= 1 else 0
    if count < 1:
        raise UserError(
            f"data.start={start} data.stop={stop} hold no window of data.every={every} days; expected a later stop, or a smaller "
            "data.every of at least 1"
        )
    return (first + every * np.arange(count + 1)).astype("datetime64[s]")


def _read(
    product: OceanField,
    array: xr.DataArray,
    observations: str | Sequence[str],
    edges: np.ndarray,
    quality: Quality,
    columns: Mapping[str, str | None] | None,
    console: Console,
) -> ProfileTable:
    """The profiles of one variable in the region of the product and in all windows."""
    standard_name = array.attrs.get("standard_name", "")
    if not standard_name:
        raise UserError(
            f"{array.name!r} has no standard_name in data.path, so that its profiles are not known; set it, such as "
            "data.standard_name=sea_water_temperature"
        )
    south, north, west, east = (
        axis[end] + side * (spacing(axis) / 2 if len(axis) > 1 else 0.5)
        for axis in (product.latitude, product.longitude)
        for end, side in ((0, -1), (-1, 1))
    )
    window = Window(west, east, south, north, edges[0], edges[-1])
    units = str(array.attrs.get("units", ""))
    table, refusals = read_profiles(observations, standard_name, units, window, quality, columns, console)
    console.print(f"profiles of {array.name}:")
    print_table(console, refusals.table())
    print_lines(console, *refusals.lines())
    if not len(table):
        raise UserError(
            f"data.observations={observations}: no profile of {array.name} in the region from {edges[0].astype('datetime64[D]')} "
            f"to {edges[-1].astype('datetime64[D]')}; set data.start and data.stop to when there are some"
        )
    return table


def _gridded(
    array: xr.DataArray,
    table: ProfileTable,
    product: OceanField,
    ocean: np.ndarray,
    edges: np.ndarray,
    tolerance: float,
    console: Console,
) -> xr.DataArray:
    """Superobservations of a variable in each window (T, D, H, W), float32."""
    values = at_depths(table, product.depths, tolerance)
    number = np.searchsorted(edges, table.time, side="right") - 1
    gridded = np.full((len(edges) - 1, *ocean.shape), np.nan, np.float32)
    on_land = 0
    for window in range(len(gridded)):
        inside = number == window
        found = superobservations(
            values[inside],
            table.latitude[inside],
            table.longitude[inside],
            product.latitude,
            product.longitude,
            product.period,
            ocean,
        )
        gridded[window], on_land = found.mean, on_land + found.on_land
    if on_land:
        print_lines(console, f"left out: {on_land} values in cells that are no ocean at their depth")
    middles = (edges[:-1] + (edges[1:] - edges[:-1]) / 2).astype("datetime64[ns]")
    coordinates = {name: array.coords[name] for name in ("depth", "latitude", "longitude")}
    return xr.DataArray(gridded, {"time": middles, **coordinates}, array.dims, array.name, array.attrs)
