"""A prediction as `scripts/predict.py` writes it, with known values."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif.figures.globe import places_on_grid
from depthdif.observations.profiles import ProfileTable


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The comparison at withheld profiles."""

    time: np.ndarray
    platform: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    depth: np.ndarray
    observed: np.ndarray
    estimates: dict[str, np.ndarray]
    deviations: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
    """A prediction with its profiles and the arguments of what shows it."""

    dataset: xr.Dataset
    variants: tuple[str, ...]
    observations: list[ProfileTable]
    withheld: Rows

    @property
    def arguments(self) -> tuple[xr.Dataset, str, tuple[str, ...], list[ProfileTable]]:
        """The first arguments of `draw_prediction` and `write_page`."""
        return self.dataset, "temperature", self.variants, self.observations


def make_prediction(
    *variants: str, times: int = 3, profiles: int = 60, seed: int = 0, **region: Any
) -> Predicted:
    """Months of the WOA sample as the mean of each variant, with made-up first guess, spread and profiles."""
    region = region or {"longitude": slice(30, 110), "latitude": slice(-40, 25), "depth": slice(0, 600)}
    variants = variants or ("ema",)
    generator = np.random.default_rng(seed)
    path = str(files("depthdif.data") / "sample/woa/woa_monthly_2deg.nc")
    with xr.open_dataset(path) as sample:
        truth = sample["temperature"].isel(time=slice(times)).sel(region).astype("float32").load()
    noise = xr.zeros_like(truth) + generator.normal(size=truth.shape).astype("float32")
    smooth = noise.rolling(latitude=7, longitude=7, center=True, min_periods=1).mean()
    counts = xr.zeros_like(truth, dtype=np.int32)
    platform = np.array([f"29{number:05d}" for number in range(2 * profiles)])
    tables, hidden = [], []
    latitude, longitude = truth["latitude"].values, truth["longitude"].values
    for number, time in enumerate(truth["time"].values):
        ocean = np.argwhere(np.isfinite(truth[number, 5].values))
        cells = ocean[generator.choice(len(ocean), 2 * profiles, replace=False)]
        north = latitude[cells[:, 0]] + generator.uniform(-0.9, 0.9, len(cells))
        east = longitude[cells[:, 1]] + generator.uniform(-0.9, 0.9, len(cells))
        values = truth[number].values[:, cells[:, 0], cells[:, 1]].T + generator.normal(
            0, 0.3, (len(cells), truth.sizes["depth"])
        )
        good = np.isfinite(values)
        start = np.concatenate([[0], np.cumsum(good.sum(axis=1))])
        depth = np.broadcast_to(truth["depth"].values, values.shape)[good]
        table = ProfileTable(
            np.full(len(cells), time).astype("datetime64[us]"),
            north,
            east,
            platform,
            start,
            depth,
            values[good],
        )
        used = np.arange(len(cells)) < profiles
        tables.append(table.take(used))
        np.add.at(
            counts.values[number],
            (slice(None), cells[used, 0], cells[used, 1]),
            good[used].T.astype(np.int32),
        )
        hidden.append((number, table.take(np.flatnonzero(~used)[: profiles // 4])))
    dataset = xr.Dataset({"number_of_observations": counts})
    dataset["temperature_first_guess"] = truth + 1.5 * smooth
    for rank, variant in enumerate(variants):
        name = "temperature" if len(variants) == 1 else f"temperature_{variant}"
        dataset[name] = truth + (0.3 + 0.4 * rank) * smooth
        dataset[f"{name}_spread"] = 0.3 + (1 - 0.4 * rank) * np.abs(smooth) + 0.01 * np.abs(truth)
    for variable in dataset.data_vars:
        if variable != "number_of_observations":
            dataset[variable].attrs = {"units": "degree_Celsius", "standard_name": "sea_water_temperature"}
    dataset.attrs = {"Conventions": "CF-1.11", "title": "A prediction <b>for tests</b>", "source": "depthdif"}
    return Predicted(dataset, tuple(variants), tables, rows_of(dataset, variants, hidden))


def rows_of(dataset: xr.Dataset, variants: tuple[str, ...], hidden: list[tuple[int, ProfileTable]]) -> Rows:
    """The values of the prediction at hidden profiles."""
    grid = dataset["latitude"].values, dataset["longitude"].values
    parts: list[dict[str, np.ndarray]] = []
    for number, table in hidden:
        profile = np.repeat(np.arange(len(table)), np.diff(table.start))
        row, column = (
            at.astype(int)[profile] for at in places_on_grid(table.latitude, table.longitude, *grid)
        )
        level = np.abs(dataset["depth"].values[:, None] - table.depth).argmin(axis=0)
        part = {name: getattr(table, name)[profile] for name in ("time", "platform", "latitude", "longitude")}
        part |= {"depth": table.depth, "observed": table.value}
        for key, variable in names(variants).items():
            part[key] = dataset[variable].values[number, level, row, column].astype(float)
        parts.append(part)
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    known = ("time", "platform", "latitude", "longitude", "depth", "observed")
    return Rows(
        **{key: columns[key] for key in known},
        estimates={key: columns[key] for key in ("OI", *variants)},
        deviations={variant: columns[f"{variant} spread"] for variant in variants},
    )


def names(variants: tuple[str, ...]) -> dict[str, str]:
    """Variables by the column of the rows that holds them."""
    found = {"OI": "temperature_first_guess"}
    for variant in variants:
        found[variant] = "temperature" if len(variants) == 1 else f"temperature_{variant}"
        found[f"{variant} spread"] = f"{found[variant]}_spread"
    return found


@pytest.fixture(scope="session")
def predicted() -> Predicted:
    """The Indian Ocean at three times."""
    return make_prediction()


@pytest.fixture(scope="session")
def predicted_by_two() -> Predicted:
    """The same with standard and EMA weights."""
    return make_prediction("standard", "ema")
