"""An analytic stratified ocean with seasons, eddies, land and a sea floor: any size, no download."""

from __future__ import annotations

import numpy as np
import xarray as xr

from depthdif import DAYS_PER_YEAR, UserError
from depthdif.data.field import DIMENSIONS, SURFACE_DIMENSIONS, OceanField


def synthetic_field(
    times: int = 12,
    depths: int = 19,
    height: int = 90,
    width: int = 180,
    max_depth: float = 1000.0,
    longitude: tuple[float, float] = (-180.0, 180.0),
    latitude: tuple[float, float] = (-80.0, 80.0),
    eddies: int = 200,
    missing_surface: float = 0.15,
    seed: int = 0,
    salinity: bool = False,
) -> OceanField:
    """Temperature and an independent, incomplete SST on a global or regional grid, in memory.

    Temperature is a thermocline that shoals towards the poles, a seasonal cycle in the mixed layer (opposite
    in the hemispheres) and drifting Gaussian eddies that decay with depth and show in the SST. Continents
    and a sea floor are smooth random fields; where the floor is above a level, the level is missing. Times are
    monthly from 2000-01-15, levels go from 0 m to `max_depth`, denser near the surface, and the limits of the grid
    are in degrees: a longitude of (-180, 180) is global and wraps. `missing_surface` is the share of the ocean
    where the SST is missing, in contiguous gaps that change with time. With `salinity` there is a second variable,
    34.5 + 0.05 T + s (practical salinity), where T is the temperature and s are eddies of its own, 0.1 as strong, which makes the
    stratification stable nearly everywhere.

    Raises:
        UserError: a size below 1, or limits that do not ascend.
    """
    for name, value in {"times": times, "depths": depths, "height": height, "width": width}.items():
        if value < 1:
            raise UserError(f"data.field.{name}={value}; expected at least 1")
    if not (-90 <= latitude[0] < latitude[1] <= 90 and 0 < longitude[1] - longitude[0] <= 360):
        raise UserError(
            f"data.field.longitude={list(longitude)} and data.field.latitude={list(latitude)}; "
            "expected ascending limits within 360 degrees and -90 to 90"
        )
    generator = np.random.default_rng(seed)
    lat, lon = (
        low + (high - low) / count * (np.arange(count) + 0.5)
        for (low, high), count in ((latitude, height), (longitude, width))
    )
    z = max_depth * np.linspace(0, 1, depths) ** 2
    days = np.round(np.arange(times) * DAYS_PER_YEAR / 12).astype("timedelta64[D]")
    # Metres below the surface, negative on land (about 30 percent), with shelves around it.
    height_above = _smooth(lon, lat, 3, generator) + 0.3 * _smooth(lon, lat, 12, generator)
    floor = 1.5 * max_depth * (np.quantile(height_above, 0.7) - height_above)
    temperature = np.empty((times, depths, height, width), np.float32)
    for step, anomaly in enumerate(_eddies(lon, lat, times, eddies, generator)):
        background = _stratification(z, lat, season=np.cos(2 * np.pi * (step / 12 - 0.1)))
        temperature[step] = background[:, :, None] + np.exp(-z / 300)[:, None, None] * anomaly
    sst = temperature[:, 0].copy()
    for field in sst:
        field += 0.3 * _smooth(lon, lat, 8, generator)
        gaps = _smooth(lon, lat, 5, generator)
        field[gaps <= np.quantile(gaps, missing_surface)] = np.nan
    temperature[:, z[:, None, None] > floor] = np.nan
    sst[:, floor < 0] = np.nan
    variables = {"temperature": temperature}
    if salinity:
        # After all draws of the temperature, which is the same without it.
        own = _eddies(lon, lat, times, eddies, generator)
        decay = 0.1 * np.exp(-z / 300)[:, None, None]
        variables["salinity"] = (34.5 + 0.05 * temperature + decay * own[:, None]).astype(np.float32)
    axes = {"time": np.datetime64("2000-01-15", "ns") + days, "depth": z, "latitude": lat, "longitude": lon}
    return _as_field(variables, sst, axes)


def _as_field(variables: dict[str, np.ndarray], sst: np.ndarray, axes: dict[str, np.ndarray]) -> OceanField:
    """Target variables and SST with CF attributes."""
    attributes = {
        "temperature": ("sea_water_temperature", "degree_Celsius"),
        "salinity": ("sea_water_practical_salinity", "1"),
        "sst": ("sea_surface_temperature", "degree_Celsius"),
    }
    units = {"depth": "m", "latitude": "degrees_north", "longitude": "degrees_east"}
    dataset = xr.Dataset(
        {
            **{name: (DIMENSIONS, values) for name, values in variables.items()},
            "sst": (SURFACE_DIMENSIONS, sst),
        },
        {
            name: (name, values, {"units": units[name]} if name in units else {})
            for name, values in axes.items()
        },
    )
    for name in dataset.data_vars:
        dataset[name].attrs = dict(zip(("standard_name", "units"), attributes[str(name)], strict=True))
    dataset["depth"].attrs["positive"] = "down"
    target, *further = (dataset[name] for name in variables)
    return OceanField(target, (dataset["sst"],), further=tuple(further))


def _stratification(z: np.ndarray, lat: np.ndarray, season: float) -> np.ndarray:
    """(D, H) deg C: warm water over a thermocline, deepest in the subtropics; seasons in the mixed layer."""
    cosine = np.cos(np.radians(lat))
    surface = -1.5 + 29.5 * cosine**2
    deep = 2.0 * cosine
    thermocline = 120 + 250 * np.sin(np.radians(2 * np.clip(np.abs(lat), 0, 60))) ** 2
    mixed = np.exp(-((z[:, None] / 60) ** 2))
    # The northern summer (season -1) warms the north and cools the south.
    seasonal = -4.0 * season * np.sin(np.radians(2 * lat)) * mixed
    return deep + (surface - deep) * np.exp(-z[:, None] / thermocline) + seasonal


def _eddies(
    lon: np.ndarray, lat: np.ndarray, times: int, count: int, generator: np.random.Generator
) -> np.ndarray:
    """(T, H, W) deg C at the surface: Gaussian eddies that drift westwards, 2 degrees a month."""
    limits = (lon[0], lon[-1]), (lat[0], lat[-1]), (3.0, 9.0)
    x0, centre_y, radius = (generator.uniform(low, high, count) for low, high in limits)
    strength = generator.normal(0.0, 1.2, count)
    field = np.zeros((times, len(lat), len(lon)), np.float32)
    for step in range(times):
        for x, y, r, amplitude in zip(x0 - 2.0 * step, centre_y, radius, strength, strict=True):
            across = np.exp(-((((lon - x + 180) % 360 - 180) / r) ** 2))
            along = np.exp(-(((lat - y) / r) ** 2))
            field[step] += amplitude * along[:, None] * across[None, :]
    return field


def _smooth(lon: np.ndarray, lat: np.ndarray, waves: int, generator: np.random.Generator) -> np.ndarray:
    """(H, W) random field of unit variance, periodic in longitude, up to `waves` waves round the globe."""
    field = np.zeros((len(lat), len(lon)))
    for wave in range(1, waves + 1):
        for _ in range(3):
            phase, tilt, north = generator.uniform(0, 2 * np.pi, 3)
            along = np.sin(np.radians(lat) * wave + north)
            field += np.outer(along, np.cos(np.radians(lon) * wave + phase)) / np.sqrt(wave)
            field += np.outer(np.sin(np.radians(lat) * wave + tilt), np.ones(len(lon))) / (3 * np.sqrt(wave))
    return field / max(float(field.std()), 1e-12)
