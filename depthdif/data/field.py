"""A dense ocean field on a regular grid, in memory or read on demand."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import cftime  # type: ignore[import-untyped]
import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.data.files import check_dates, join_in_time, open_files, select_variable
from depthdif.data.variables import Variable
from depthdif.first_guess.climatology import spacing

DIMENSIONS = ("time", "depth", "latitude", "longitude")
SURFACE_DIMENSIONS = ("time", "latitude", "longitude")

# Folder and file of each packaged sample, in depthdif/data/sample.
SAMPLES = {"woa": "woa_monthly_2deg.nc", "woa_annual": "woa_annual_1deg.nc", "eddies": "eddies_5day.nc"}


@dataclasses.dataclass(frozen=True, eq=False)
class OceanField:
    """Target variables on (time, depth, latitude, longitude) and surface variables on the same grid and times.

    `target` is the first target variable and `further` are the others, on the same depths. Their depths are the channels of the
    field, C of them: those of the first variable, then those of the next.

    `ocean` (C, H, W) bool says where the ocean is for a sparse field, which is defined where something was measured alone; of a
    dense field, with None, the ocean is where the target is defined.

    `surface_offsets` are the snapshots, counted from that of the target, from which surface fields are taken: (-1, 0, 1) adds
    those before and after, as a delayed-mode analysis has them. Beyond the first and last time they are missing.

    Depth is in metres below the surface, positive. Missing values are NaN: land, below the sea floor, or (surface) not
    observed. Latitude and depth that descend are reversed; longitudes that jump by 360 degrees are made to ascend.
    `periodic_longitude` is the width, in degrees, of a domain that repeats itself in longitude; None is 360 for a grid that
    closes the globe, and not periodic for any other.

    Raises:
        UserError: dimensions missing, coordinates duplicate or unordered, times that are no dates, variables not aligned, the
            same variable twice, or longitudes that do not fill the period.
    """

    target: xr.DataArray
    surface: tuple[xr.DataArray, ...] = ()
    surface_offsets: Sequence[int] = (0,)
    periodic_longitude: float | None = None
    further: tuple[xr.DataArray, ...] = ()
    ocean: np.ndarray | None = None

    def __post_init__(self) -> None:
        offsets = list(self.surface_offsets)
        if (
            not offsets
            or len(set(offsets)) < len(offsets)
            or not all(type(offset) is int for offset in offsets)
        ):
            raise UserError(
                f"data.surface_offsets={offsets}; expected different whole numbers of snapshots, e.g. "
                "data.surface_offsets=[-1,0,1], or [0] for the snapshot of the target alone"
            )
        target = _ordered(self.target, DIMENSIONS)
        further = tuple(_ordered(array, DIMENSIONS) for array in self.further)
        surface = tuple(_ordered(array, SURFACE_DIMENSIONS) for array in self.surface)
        for array in (*further, *surface):
            _check_aligned(array, target)
        for name, value in {"target": target, "further": further, "surface": surface}.items():
            object.__setattr__(self, name, value)
        names = [variable.name for variable in self.variables]
        if len(set(names)) < len(names):
            raise UserError(
                f"data.variable=[{','.join(names)}] names a variable twice; expected different variables"
            )
        if self.periodic_longitude is not None:
            _check_period(self.longitude, self.periodic_longitude, self.variable)

    @property
    def targets(self) -> tuple[xr.DataArray, ...]:
        """All target variables."""
        return self.target, *self.further

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Name, units and standard_name of each target variable, as in the file."""
        return tuple(Variable.of(array) for array in self.targets)

    @property
    def channels(self) -> int:
        """C, the depths of all target variables."""
        return len(self.targets) * len(self.depths)

    @property
    def variable(self) -> str:
        """Name of the first target variable."""
        return str(self.target.name)

    @property
    def units(self) -> str:
        """Units of the first target variable; empty where it has none."""
        return self.variables[0].units

    @property
    def is_sparse(self) -> bool:
        """Whether the field is defined at measured cells alone."""
        return self.ocean is not None

    @property
    def surface_names(self) -> tuple[str, ...]:
        """Names of the surface channels, such as sst and sst-1: the variables at the first offset, then at the next."""
        return tuple(
            f"{array.name}{offset:+d}" if offset else str(array.name)
            for offset in self.surface_offsets
            for array in self.surface
        )

    def surface_at(self, time: int, rows: slice, columns: slice) -> np.ndarray:
        """(S, h, w) float32 surface channels of the target's snapshot number `time`, units of the file, NaN where missing."""
        shape = len(self.latitude[rows]), len(self.longitude[columns])
        layers = np.full((len(self.surface_names), *shape), np.nan, np.float32)
        channel = 0
        for offset in self.surface_offsets:
            for array in self.surface:
                if 0 <= time + offset < len(self.times):
                    layers[channel] = array.variable[time + offset, rows, columns].values
                channel += 1
        return layers

    @functools.cached_property
    def depths(self) -> np.ndarray:
        """(D,) float64, metres below the surface, ascending."""
        return self.target["depth"].values.astype(np.float64)

    @functools.cached_property
    def latitude(self) -> np.ndarray:
        """(H,) float64, degrees north, ascending."""
        return self.target["latitude"].values.astype(np.float64)

    @functools.cached_property
    def longitude(self) -> np.ndarray:
        """(W,) float64, degrees east, ascending."""
        return self.target["longitude"].values.astype(np.float64)

    @functools.cached_property
    def times(self) -> np.ndarray:
        """(T,) datetime64, or cftime dates where the calendar is not the standard one."""
        return self.target["time"].values

    @property
    def days(self) -> np.ndarray:
        """(T,) int64, whole days since 1970-01-01 in the calendar of the file."""
        if np.issubdtype(self.times.dtype, np.datetime64):
            return self.times.astype("datetime64[D]").astype(np.int64)
        return np.floor(cftime.date2num(self.times, "days since 1970-01-01")).astype(np.int64)

    @property
    def time_step(self) -> float:
        """Days from one snapshot to the next, the median; infinite for a single one."""
        return spacing(self.days)

    @property
    def day_of_year(self) -> np.ndarray:
        """(T,) float32, 1 to 366."""
        return self.target["time"].dt.dayofyear.values.astype(np.float32)

    @property
    def period(self) -> float:
        """Degrees of longitude after which a place is the same place."""
        return 360.0 if self.periodic_longitude is None else float(self.periodic_longitude)

    @property
    def wraps(self) -> bool:
        """Whether the last longitude is the western neighbour of the first."""
        if self.periodic_longitude is not None:
            return True
        longitude = self.longitude
        if len(longitude) < 2:
            return False
        step = float(np.median(np.diff(longitude)))
        return abs(longitude[-1] - longitude[0] + step - 360) < 0.5 * step

    def domain(self) -> dict[str, float]:
        """Outermost latitudes, first longitude, and the period of longitudes: twice the extent where they do not wrap."""
        west, east = self.longitude[[0, -1]]
        period = self.period if self.wraps else 2 * max(east - west, 1.0)
        return {
            "south": float(self.latitude[0]),
            "north": float(self.latitude[-1]),
            "west": float(west),
            "period": float(period),
        }

    @functools.cached_property
    def surface_ocean_mask(self) -> np.ndarray:
        """(H, W) bool: the ocean at the shallowest level, of a dense field where that is defined at the first time."""
        if self.ocean is not None:
            return self.ocean[0]
        return np.isfinite(self.target.variable[0, 0].values)

    def load(self) -> OceanField:
        """The same field in memory, float32."""
        arrays = {
            name: tuple(
                array.copy(data=np.ascontiguousarray(array.values, dtype=np.float32)) for array in arrays
            )
            for name, arrays in (("targets", self.targets), ("surface", self.surface))
        }
        target, *further = arrays["targets"]
        return dataclasses.replace(self, target=target, further=tuple(further), surface=arrays["surface"])


def open_field(
    path: str | Path | Sequence[str | Path],
    variable: str | Sequence[str] | None = None,
    surface: str | Sequence[str] = (),
    coordinates: Mapping[str, str] | None = None,
    max_depth: float | None = None,
    surface_offsets: Sequence[int] = (0,),
    periodic_longitude: float | None = None,
) -> OceanField:
    """Open an ocean field lazily from CF files.

    Args:
        path: a NetCDF file, a glob of files, a Zarr store (a directory or a URL), or a list of these. A
            variable is taken from every file that holds it, joined along time.
        surface_offsets: see `OceanField`.
        variable: name or CF standard_name of the target, or a list of several; by default the only variable with a depth axis.
        surface, max_depth: names or standard_names of the surface variables; deepest level to keep, metres.
        coordinates: names of time, depth, latitude or longitude, where standard_name, axis and units do not tell them.
        periodic_longitude: see `OceanField`.

    Raises:
        FileNotFoundError: no such file.
        UserError: variable or coordinates missing or ambiguous, or not a field on a regular grid.
    """
    names = dict(coordinates or {})
    if unknown := set(names) - set(DIMENSIONS):
        raise UserError(
            f"data.coordinates has {sorted(unknown)}; expected keys among {list(DIMENSIONS)}, "
            "e.g. data.coordinates={depth: lev}"
        )
    datasets = open_files(path)
    variables = [variable] if variable is None or isinstance(variable, str) else list(variable)
    if not variables:
        raise UserError("data.variable=[]; expected a variable or several, e.g. data.variable=temperature")
    target, *further = (
        _shallower(
            join_in_time(datasets, select_variable(datasets, each, names), DIMENSIONS, names), max_depth
        )
        for each in variables
    )
    surface = [surface] if isinstance(surface, str) else surface
    layers = [select_variable(datasets, layer, names, option="data.surface") for layer in surface]
    fields = tuple(join_in_time(datasets, layer, SURFACE_DIMENSIONS, names) for layer in layers)
    return OceanField(target, fields, tuple(surface_offsets), periodic_longitude, tuple(further))


def _shallower(target: xr.DataArray, max_depth: float | None) -> xr.DataArray:
    """The levels down to `max_depth` metres, or all."""
    if max_depth is None:
        return target
    kept = np.flatnonzero(target["depth"].values <= max_depth)
    if not len(kept):
        shallowest = target["depth"].values.min()
        raise UserError(f"data.max_depth={max_depth} is above the first level, {shallowest:g} m")
    return target.isel(depth=slice(int(kept.min()), int(kept.max()) + 1))


def sample_path(name: str = "woa") -> str:
    """Path of a packaged sample, described in the README.md beside it.

    `woa` is monthly World Ocean Atlas temperature and COADS SST on a 2 degree grid; `woa_annual` is annual World Ocean Atlas
    temperature and salinity on a 1 degree grid; `eddies` is a simulated eddying ocean,
    every 5 days for six years on a 0.25 degree grid.

    Raises:
        UserError: no sample of this name.
    """
    if name not in SAMPLES:
        raise UserError(
            f"data.path.name={name}; expected a packaged sample, data.path.name={' or '.join(SAMPLES)}"
        )
    return str(resources.files("depthdif.data").joinpath("sample", name, SAMPLES[name]))


def _ordered(array: xr.DataArray, dimensions: tuple[str, ...]) -> xr.DataArray:
    """Check the coordinates, reverse descending latitude and depth, and unwrap longitude."""
    if array.dims != dimensions:
        raise UserError(f"{array.name!r} has dimensions {array.dims}; expected {dimensions}")
    if missing := [dimension for dimension in dimensions if dimension not in array.coords]:
        raise UserError(f"{array.name!r} has no coordinate values for {', '.join(missing)}")
    check_dates(array)
    for dimension in dimensions:
        values = array[dimension].values
        unique, counts = np.unique(values, return_counts=True)
        if len(unique) != len(values):
            advice = (
                ": leave one of the files or records that hold it out of data.path"
                if dimension == "time"
                else ""
            )
            raise UserError(
                f"{dimension} of {array.name!r} holds a value twice ({unique[counts > 1][0]}); expected each value once{advice}"
            )
        if dimension in ("latitude", "depth") and len(values) > 1 and values[0] > values[-1]:
            array = array.isel({dimension: slice(None, None, -1)})
    longitude = _unwrapped(array["longitude"].values.astype(np.float64), array.name)
    array = array.assign_coords(longitude=("longitude", longitude, array["longitude"].attrs))
    for dimension in dimensions:
        values = array[dimension].values
        if not np.all(values[1:] > values[:-1]):
            raise UserError(f"{dimension} of {array.name!r} is not sorted; expected ascending values")
    if not np.all(np.abs(array["latitude"].values) <= 90):
        raise UserError(f"latitude of {array.name!r} is beyond -90 to 90; expected degrees, not a projection")
    return array


def _unwrapped(longitude: np.ndarray, name: object) -> np.ndarray:
    """Longitudes made to ascend across a jump of 360 degrees (179, -179 becomes 179, 181)."""
    steps = np.diff(longitude)
    if len(steps) and np.median(steps) < 0:
        raise UserError(
            f"longitude of {name!r} descends ({longitude[0]:g} to {longitude[-1]:g}); expected ascending: "
            "sort the file by longitude first, e.g. cdo or xarray sortby('longitude')"
        )
    unwrapped = longitude[0] + np.concatenate([[0.0], np.cumsum(steps % 360)])
    if np.any(steps % 360 == 0) or unwrapped[-1] - unwrapped[0] >= 360 - 1e-6:
        raise UserError(
            f"longitude of {name!r} ({longitude[0]:g} to {longitude[-1]:g}) is duplicate or unordered "
            "modulo 360; expected ascending, each meridian once"
        )
    return unwrapped


def _check_period(longitude: np.ndarray, period: float, name: str) -> None:
    """Refuse a period that is no width of the globe, or that the columns do not fill to within half a cell."""
    if not (isinstance(period, int | float) and 0 < period <= 360):
        raise UserError(
            f"data.periodic_longitude={period}; expected degrees above 0 and at most 360, or null where the domain is "
            "not periodic"
        )
    # From each column to its eastern neighbour; that of the last column is the first.
    steps = np.diff(longitude, append=longitude[0] + period)
    cell = float(np.median(steps))
    worst = int(np.abs(steps - cell).argmax())
    if abs(steps[worst] - cell) < 0.5 * cell:
        return
    extent, gap = longitude[-1] - longitude[0] + cell, steps[worst] - cell
    advice = "fill the missing columns"
    if worst == len(steps) - 1:
        advice = f"set data.periodic_longitude={extent:g} if that is the period"
    raise UserError(
        f"data.periodic_longitude={period:g}, but {name!r} covers {extent:g} degrees (longitude {longitude[0]:g} to "
        f"{longitude[-1]:g} in cells of {cell:g}): a periodic domain with {'a gap' if gap > 0 else 'an overlap'} of "
        f"{abs(gap):g} degrees east of {longitude[worst]:g}; {advice}, or set data.periodic_longitude=null where the "
        "domain is not periodic"
    )


def _check_aligned(array: xr.DataArray, target: xr.DataArray) -> None:
    """Refuse a surface variable, or another target variable, that lies on another grid or other times than the target."""
    kind = "variable" if "depth" in array.dims else "surface variable"
    for dimension in (*array.dims[1:], "time"):
        pair = array[dimension].values, target[dimension].values
        if pair[0].shape == pair[1].shape and (
            np.all(pair[0] == pair[1]) if dimension == "time" else np.allclose(*pair, rtol=0, atol=1e-4)
        ):
            continue
        ours, expected = (f"{values[0]} to {values[-1]}, {len(values)} values" for values in pair)
        if dimension == "time":
            raise UserError(
                f"times of {kind} {array.name!r} ({ours}) are not those of {target.name!r} "
                f"({expected}); expected the same times, so select them first"
            )
        raise UserError(
            f"{kind} {array.name!r} lies on another grid than {target.name!r}: {dimension} "
            f"{ours} against {expected}; interpolate it to the grid of the target first"
        )
