"""CF files on disk or behind a URL: found, opened lazily, and joined along time."""

from __future__ import annotations

import glob
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers the .cf accessor)
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

# CF's names of an axis: the `axis` attribute, and cf_xarray's name of the coordinate (from standard_name and
# units).
_CF_NAMES = {
    "time": ("T", "time"),
    "depth": ("Z", "vertical"),
    "latitude": ("Y", "latitude"),
    "longitude": ("X", "longitude"),
}
_METRES = {"", "m", "meter", "meters", "metre", "metres"}


def open_files(path: str | Path | Sequence[str | Path]) -> list[xr.Dataset]:
    """Open a file, a glob, a Zarr store or a list of these without reading any field."""
    paths = [path] if isinstance(path, str | Path) else list(path)
    return [_open(name) for entry in paths for name in _expand(str(entry))]


def select_variable(
    datasets: Sequence[xr.Dataset],
    wanted: str | None,
    coordinates: Mapping[str, str],
    option: str = "data.variable",
) -> str:
    """Name of the variable called `wanted` (or of that standard_name); None: the only one with depths."""
    holds: dict[str, xr.DataArray] = {}
    for dataset in datasets:
        for name, array in dataset.data_vars.items():
            holds.setdefault(str(name), array)
    if wanted in holds:
        return str(wanted)
    if wanted is None:
        found = [name for name, array in holds.items() if _has_depth(array, coordinates)]
    else:
        found = [name for name, array in holds.items() if array.attrs.get("standard_name") == wanted]
    if len(found) == 1:
        return found[0]
    given = "no variable was named" if wanted is None else f"{option}={wanted} was given"
    several = "none fits" if not found else f"several fit ({', '.join(found)})"
    raise ValueError(f"{given} and {several}; the data hold {_contents(holds)}: type {option}=NAME")


def join_in_time(
    datasets: Sequence[xr.Dataset], name: str, dimensions: tuple[str, ...], coordinates: Mapping[str, str]
) -> xr.DataArray:
    """One lazy float32 array with the given dims, joined along time over all files that hold the variable."""
    parts = [
        _renamed(dataset[name], dimensions, coordinates) for dataset in datasets if name in dataset.data_vars
    ]
    parts.sort(key=lambda part: part["time"].values[0])
    first = parts[0]
    for part in parts[1:]:
        for dimension in dimensions[1:]:
            if not np.array_equal(part[dimension].values, first[dimension].values):
                raise ValueError(
                    f"files of {name!r} differ in {dimension}: {_source(part)} against {_source(first)}; "
                    "expected files that differ in time only"
                )
    coords = {dimension: first[dimension] for dimension in dimensions[1:]}
    coords["time"] = xr.concat([part["time"] for part in parts], "time")
    lazy = indexing.LazilyIndexedArray(_JoinedArray([part.variable for part in parts], dimensions))
    variable = xr.Variable(dimensions, lazy, first.attrs)
    variable.encoding = {"preferred_chunks": dict(first.encoding.get("preferred_chunks") or {})}
    return xr.DataArray(variable, coords, name=name)


class _JoinedArray(BackendArray):
    """Files joined along time, read as float32 in one order of dimensions.

    xarray's own concatenation needs dask, which reads small patches 2.7 times slower.
    """

    def __init__(self, parts: list[xr.Variable], dimensions: tuple[str, ...]) -> None:
        self._parts = parts
        self._dimensions = dimensions
        self._ends = np.cumsum([part.sizes["time"] for part in parts])
        self.shape = (int(self._ends[-1]), *(parts[0].sizes[dimension] for dimension in dimensions[1:]))
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        steps = np.arange(self.shape[0])[key[0]]
        if steps.ndim == 0:
            return self._read_step(int(steps), key[1:])
        if not len(steps):
            return np.empty(
                [len(np.arange(size)[one]) for size, one in zip(self.shape, key, strict=True)], self.dtype
            )
        return np.stack([self._read_step(int(step), key[1:]) for step in steps])

    def _read_step(self, step: int, key: tuple[Any, ...]) -> np.ndarray:
        number = int(np.searchsorted(self._ends, step, side="right"))
        part = self._parts[number]
        start = int(self._ends[number]) - part.sizes["time"]
        read = part.isel(time=step - start, **dict(zip(self._dimensions[1:], key, strict=True))).load()
        kept = [dimension for dimension in self._dimensions if dimension in read.dims]
        return read.transpose(*kept).values.astype(np.float32)


def _expand(path: str) -> list[str]:
    if "://" in path:
        return [path]
    if any(character in path for character in "*?["):
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not found:
            raise FileNotFoundError(f"no file matches data.path={path}; check the folder and the pattern")
        return found
    if not Path(path).exists():
        raise FileNotFoundError(
            f"data.path={path}: no such file; expected a NetCDF file, a glob of files in quotes, or a Zarr "
            "store"
        )
    return [path]


def _open(path: str) -> xr.Dataset:
    is_zarr = path.rstrip("/").endswith(".zarr") or Path(path).is_dir()
    try:
        # Without dask and without a cache: a patch is read once, and dask would make it slower.
        return xr.open_dataset(path, engine="zarr" if is_zarr else None, chunks=None, cache=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"data.path={path} cannot be read ({reason}); expected a CF NetCDF file or a Zarr store"
        ) from error


def _renamed(
    array: xr.DataArray, dimensions: tuple[str, ...], coordinates: Mapping[str, str]
) -> xr.DataArray:
    """The variable with our names of dimensions; a scalar time or a single surface level is no obstacle."""
    names = {role: _coordinate(array, role, coordinates) for role in dimensions}
    missing = [role for role, name in names.items() if name is None]
    if missing:
        raise ValueError(
            f"{array.name!r} {_shape(array)} in {_source(array)} has no {' and no '.join(missing)} "
            f"coordinate; expected {', '.join(dimensions)}: name it, e.g. "
            f"data.coordinates={{{missing[0]}: NAME}}"
        )
    if names["time"] not in array.dims:
        array = array.expand_dims(str(names["time"]))
    extra = [dimension for dimension in array.dims if dimension not in names.values()]
    too_long = [str(dimension) for dimension in extra if array.sizes[dimension] != 1]
    if too_long:
        raise ValueError(
            f"{array.name!r} {_shape(array)} in {_source(array)} also runs along {', '.join(too_long)}; "
            f"expected {', '.join(dimensions)} only"
        )
    array = array.isel(dict.fromkeys(extra, 0), drop=True).reset_coords(drop=True)
    renamed = array.rename({name: role for role, name in names.items() if name != role})
    return _downward(renamed) if "depth" in dimensions else renamed


def _coordinate(array: xr.DataArray, role: str, coordinates: Mapping[str, str]) -> str | None:
    """Name of the one-dimensional coordinate that plays a role, or None."""
    if role in coordinates:
        if coordinates[role] not in array.coords:
            raise ValueError(
                f"data.coordinates.{role}={coordinates[role]} was given but {array.name!r} in "
                f"{_source(array)} has only {', '.join(map(str, array.coords))}"
            )
        found = [coordinates[role]]
    else:
        found = _candidates(array, role)
    if curved := [name for name in found if array[name].ndim > 1]:
        raise ValueError(
            f"{role} {curved[0]!r} of {array.name!r} in {_source(array)} is two-dimensional (a curvilinear "
            "grid); expected one-dimensional coordinates: regrid first, e.g. cdo remapbil or xESMF"
        )
    if len(found) > 1:
        raise ValueError(
            f"{array.name!r} in {_source(array)} has several {role} coordinates ({', '.join(found)}): "
            f"type data.coordinates={{{role}: NAME}}"
        )
    return found[0] if found else None


def _candidates(array: xr.DataArray, role: str) -> list[str]:
    axis, coordinate = _CF_NAMES[role]
    for source in (array, array.cf.guess_coord_axis()):
        # A name from units or standard_name before one from `axis`: x of a projection is no longitude.
        for mapping, key in ((source.cf.coordinates, coordinate), (source.cf.axes, axis)):
            found = [str(name) for name in mapping.get(key, [])]
            own = [name for name in found if name in array.dims] or found
            if own:
                return own
    return []


def _downward(array: xr.DataArray) -> xr.DataArray:
    """Depth in metres, positive downwards (a height of -10 m is a depth of 10 m)."""
    depth = array["depth"]
    units = str(depth.attrs.get("units", "")).strip().lower()
    if units not in _METRES:
        raise ValueError(f"depth of {array.name!r} in {_source(array)} has units {units!r}; expected metres")
    values = depth.values.astype(np.float64)
    if np.all(values <= 0) and np.any(values < 0):
        values = -values
    if np.any(values < 0) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"depth of {array.name!r} in {_source(array)} mixes signs or is missing; expected metres below "
            "the surface"
        )
    return array.assign_coords(depth=("depth", values, {"units": "m", "positive": "down"}))


def _has_depth(array: xr.DataArray, coordinates: Mapping[str, str]) -> bool:
    if coordinates.get("depth") in array.dims:
        return True
    return any(name in array.dims for name in _candidates(array, "depth"))


def _contents(holds: Mapping[str, xr.DataArray]) -> str:
    return ", ".join(f"{name} {_shape(array)}" for name, array in holds.items()) or "no variable"


def _shape(array: xr.DataArray) -> str:
    names: list[Hashable] = list(array.dims)
    return f"({', '.join(map(str, names))})"


def _source(array: xr.DataArray) -> str:
    return str(array.encoding.get("source", "the data"))
