"""Opens CF files lazily, from disk or a URL, and joins them along time."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers the .cf accessor)
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from depthdif import UserError

# cf_xarray's two names of each role: the coordinate (by standard_name or units) and the CF `axis` attribute.
_CF_NAMES = {
    "time": ("time", "T"),
    "depth": ("vertical", "Z"),
    "latitude": ("latitude", "Y"),
    "longitude": ("longitude", "X"),
}
_CF_TIME = (
    "expected CF units such as 'days since 1950-01-01' (not months or years), with a date and a calendar that exist: write "
    "the times anew, e.g. cdo settaxis,1950-01-15,00:00:00,1mon IN.nc OUT.nc"
)


def open_files(path: str | Path | Sequence[str | Path], option: str = "data.path") -> list[xr.Dataset]:
    """Open a NetCDF file, a glob, a Zarr store or a list of these without reading any field; errors name the `option`.

    Raises:
        FileNotFoundError: no such file.
        UserError: a file that xarray cannot read.
    """
    datasets = []
    for pattern in map(str, [path] if isinstance(path, str | Path) else path):
        is_url, is_glob = "://" in pattern, any(character in pattern for character in "*?[")
        names = [pattern]
        if is_glob and not is_url:
            names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
            if not names:
                raise FileNotFoundError(
                    f"no file matches {option}={pattern}; check the folder and the pattern"
                )
        elif not is_url and not Path(pattern).exists():
            raise FileNotFoundError(
                f"{option}={pattern}: no such file; expected a NetCDF file, a glob of files or a Zarr store"
            )
        datasets += [_open(name, option) for name in names]
    return datasets


def _open(path: str, option: str) -> xr.Dataset:
    engine = "zarr" if path.rstrip("/").endswith(".zarr") or Path(path).is_dir() else None
    try:
        # No dask and no cache: each patch is read once, and dask would make it slower.
        return xr.open_dataset(path, engine=engine, chunks=None, cache=False)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "decode time" in reason or isinstance(error, OverflowError):
            # Without xarray's advice, which is for programs: to open without decoding.
            reason = reason.split(". Try")[0].removeprefix("unable to decode time ")
            raise UserError(
                f"{option}={path} has times that cannot be decoded ({reason}); {_CF_TIME}"
            ) from error
        raise UserError(
            f"{option}={path} cannot be read ({reason}); expected a CF NetCDF file or a Zarr store"
        ) from error


def select_variable(
    datasets: Sequence[xr.Dataset],
    name: str | None,
    coordinates: Mapping[str, str],
    option: str = "data.variable",
) -> str:
    """The variable with this name or standard_name; None selects the only variable that has a depth axis.

    Raises:
        UserError: no variable matches, or several do; the message lists the variables of the data.
    """
    variables: dict[str, xr.DataArray] = {}
    for dataset in datasets:
        variables = {str(key): array for key, array in dataset.data_vars.items()} | variables
    if name in variables:
        return name
    if name is None:
        matches = [key for key, array in variables.items() if _has_depth(array, coordinates)]
        problem, condition = f"{option} is not set and", "a depth axis"
    else:
        matches = [key for key, array in variables.items() if array.attrs.get("standard_name") == name]
        problem, condition = f"{option}={name}, but", "that name"
    if len(matches) == 1:
        return matches[0]
    problem += f" {'several variables have' if matches else 'no variable has'} {condition}"
    listing = ", ".join(f"{key} {_shape(array)}" for key, array in variables.items()) or "no variable"
    raise UserError(f"{problem}; the data hold {listing}: set {option} to one of these")


def join_in_time(
    datasets: Sequence[xr.Dataset], name: str, dimensions: tuple[str, ...], coordinates: Mapping[str, str]
) -> xr.DataArray:
    """A lazy float32 array of the variable `name`, joined along time over all files that have it.

    The dimensions are those of the result, time first; `coordinates` names them in the files, where CF attributes are missing.

    Raises:
        UserError: coordinates missing, ambiguous or two-dimensional, or files that differ in more than time.
    """
    parts: list[xr.DataArray] = []
    names: dict[str, str] = {}
    for array in (dataset[name] for dataset in datasets if name in dataset.data_vars):
        # Looked up once for all files: with thousands of them the look-up takes most of the time.
        if not names or not all(coordinate in array.coords for coordinate in names.values()):
            names = {role: _coordinate(array, role, dimensions, coordinates) for role in dimensions}
        parts.append(_canonical(array, names))
    for part in parts:
        check_dates(part)
    if len(calendars := {type(part["time"].values.flat[0]): part for part in parts}) > 1:
        one, other = list(calendars.values())[:2]
        raise UserError(
            f"files of {name!r} differ in the calendar: {_source(one)} has {one['time'].dt.calendar}, {_source(other)} "
            f"{other['time'].dt.calendar}; expected one: convert the files first, e.g. xarray convert_calendar('standard')"
        )
    parts.sort(key=lambda part: part["time"].values.flat[0])
    first = parts[0]
    for part in parts[1:]:
        for dimension in dimensions[1:]:
            if not np.array_equal(part[dimension].values, first[dimension].values):
                raise UserError(
                    f"files of {name!r} differ in {dimension}: {_source(part)} against {_source(first)}; "
                    "expected files that differ in time only"
                )
    coords: dict[str, Any] = {dimension: first[dimension] for dimension in dimensions[1:]}
    coords["time"] = ("time", np.concatenate([np.atleast_1d(part["time"].values) for part in parts]))
    lazy = indexing.LazilyIndexedArray(_JoinedArray([part.variable for part in parts], dimensions))
    joined = xr.DataArray(xr.Variable(dimensions, lazy, first.attrs), coords, name=name)
    joined.encoding["preferred_chunks"] = first.encoding.get("preferred_chunks", {})
    return joined


def check_dates(array: xr.DataArray) -> None:
    """Raise UserError where a time of the array is missing, or no date."""
    time, where = array["time"], f"time of {array.name!r} in {_source(array)}"
    if not (time.dtype == object or np.issubdtype(time.dtype, np.datetime64)):
        units = time.attrs.get("units")
        raise UserError(f"{where} is {time.dtype} with units {units!r}, not dates; {_CF_TIME}")
    if len(missing := np.flatnonzero(time.isnull())):
        raise UserError(
            f"{where} is missing (NaT) in {len(missing)} of {time.size} records, the first of them number {missing[0]}; "
            "expected a date for each: leave these records out, e.g. xarray dropna('time')"
        )


class _JoinedArray(BackendArray):
    """Files joined along time, read as float32 in one order of dimensions.

    xarray's own lazy concatenation goes through dask, which reads small patches several times slower.
    """

    def __init__(self, parts: list[xr.Variable], dimensions: tuple[str, ...]) -> None:
        self._parts = parts
        self._dimensions = dimensions
        self._ends = np.cumsum([part.sizes.get("time", 1) for part in parts])
        self.shape = (int(self._ends[-1]), *(parts[0].sizes[dimension] for dimension in dimensions[1:]))
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        steps = np.arange(self.shape[0])[key[0]]
        if steps.ndim == 0:
            return self._read_step(int(steps), key[1:])
        return np.stack([self._read_step(int(step), key[1:]) for step in steps])

    def _read_step(self, step: int, key: tuple[Any, ...]) -> np.ndarray:
        number = int(np.searchsorted(self._ends, step, side="right"))
        part = self._parts[number]
        where = dict(zip(self._dimensions[1:], key, strict=True))
        if "time" in part.dims:
            where["time"] = step - int(self._ends[number]) + part.sizes["time"]
        read = part.isel(where).load()
        kept = [dimension for dimension in self._dimensions if dimension in read.dims]
        return read.transpose(*kept).values.astype(np.float32, copy=False)


def _coordinate(
    array: xr.DataArray, role: str, dimensions: tuple[str, ...], coordinates: Mapping[str, str]
) -> str:
    """Name of the one-dimensional coordinate of a role; only time may be a scalar."""
    where = f"{array.name!r} in {_source(array)}"
    name = coordinates.get(role)
    if name is not None and name not in array.coords:
        raise UserError(
            f"data.coordinates.{role}={name}, but {where} has only {', '.join(map(str, array.coords))}"
        )
    candidates = _candidates(array, role) if name is None else [name]
    if curved := [name for name in candidates if array[name].ndim > 1]:
        raise UserError(
            f"{role} {curved[0]!r} of {where} is two-dimensional (a curvilinear grid); expected "
            "one-dimensional coordinates: regrid first, e.g. with cdo remapbil or xESMF"
        )
    candidates = [name for name in candidates if array[name].ndim == 1 or role == "time"]
    if len(candidates) > 1:
        raise UserError(
            f"{where} has several {role} coordinates ({', '.join(candidates)}): "
            f"set +data.coordinates.{role}=NAME"
        )
    if not candidates:
        raise UserError(
            f"{array.name!r} {_shape(array)} in {_source(array)} has no {role} coordinate; expected "
            f"{', '.join(dimensions)}: if it has another name, set +data.coordinates.{role}=NAME"
        )
    return candidates[0]


def _candidates(array: xr.DataArray, role: str) -> list[str]:
    """Coordinates that CF attributes give a role, or else those with a usual name; dimensions first."""
    coordinate, axis = _CF_NAMES[role]
    declared = array.coords.to_dataset()
    for guess in (False, True):
        dataset = declared.cf.guess_coord_axis() if guess else declared
        # standard_name and units before `axis`: x of a projection has axis X but is no longitude.
        for mapping, key in ((dataset.cf.coordinates, coordinate), (dataset.cf.axes, axis)):
            if names := [str(name) for name in mapping.get(key, [])]:
                return [name for name in names if name in array.dims] or names
    return []


def _has_depth(array: xr.DataArray, coordinates: Mapping[str, str]) -> bool:
    names = [coordinates["depth"]] if "depth" in coordinates else _candidates(array, "depth")
    return any(name in array.coords and array[name].ndim > 0 for name in names)


def _canonical(array: xr.DataArray, names: Mapping[str, str]) -> xr.DataArray:
    """The variable with the dimensions renamed, and depth in metres, positive downwards.

    A scalar time stays one, other dimensions of length 1 are dropped.
    """
    source, chunks = array.encoding.get("source"), array.encoding.get("preferred_chunks", {})
    array = array.drop_vars([name for name in array.coords if name not in names.values()])
    for role, name in names.items():
        axis = array[name].dims[0] if array[name].ndim else name
        array = array.swap_dims({axis: name}) if axis != name else array
        array = array.rename({name: role}) if name != role else array
        chunks = {role if dimension == axis else dimension: size for dimension, size in chunks.items()}
    extra = [dimension for dimension in array.dims if dimension not in names]
    if too_long := [str(dimension) for dimension in extra if array.sizes[dimension] != 1]:
        raise UserError(
            f"{array.name!r} in {source or 'the data'} also runs along {', '.join(too_long)}; expected "
            f"{', '.join(names)} only"
        )
    array = array.isel(dict.fromkeys(extra, 0), drop=True)
    array.encoding = {"preferred_chunks": chunks, "source": source or "the data"}
    if "depth" not in names:
        return array
    # A height of -10 m is a depth of 10 m.
    units = str(array["depth"].attrs.get("units", "")).strip().lower()
    values = array["depth"].values.astype(np.float64)
    if np.all(values <= 0):
        values = np.abs(values)
    if units not in {"", "m", "meter", "meters", "metre", "metres"} or not np.all(values >= 0):
        raise UserError(
            f"depth of {array.name!r} in {_source(array)} runs from {values[0]:g} to {values[-1]:g} with "
            f"units {units!r}; expected metres below the surface, or metres of height below zero"
        )
    return array.assign_coords(depth=("depth", values, {"units": "m", "positive": "down"}))


def _shape(array: xr.DataArray) -> str:
    return f"({', '.join(map(str, array.dims))})"


def _source(array: xr.DataArray) -> str:
    return str(array.encoding.get("source", "the data"))
