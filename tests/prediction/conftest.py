"""A prediction as `scripts/predict.py` writes it, with known values."""

from __future__ import annotations

import dataclasses
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.result import MODEL, OI, Method
from depthdif.evaluation.tally import GaussianForecast
from depthdif.figures.globe import places_on_grid
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.withheld import HiddenValues, hidden_values


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
    """A prediction with its profiles and the arguments of what shows it."""

    dataset: xr.Dataset
    variants: tuple[str, ...]
    observations: list[ProfileTable]
    withheld: HiddenValues

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
    return Predicted(
        dataset, tuple(variants), tables, joined([hidden_at(dataset, variants, *one) for one in hidden])
    )


def hidden_at(
    dataset: xr.Dataset, variants: tuple[str, ...], number: int, table: ProfileTable
) -> HiddenValues:
    """What the prediction of one time says at hidden profiles, whose samples are at its depths."""
    depths = dataset["depth"].values
    values = np.full((len(table), len(depths)), np.nan)
    profile = np.repeat(np.arange(len(table)), np.diff(table.start))
    values[profile, np.abs(depths[:, None] - table.depth).argmin(axis=0)] = table.value
    grid = dataset["latitude"].values, dataset["longitude"].values
    row, column = (at.astype(int) for at in places_on_grid(table.latitude, table.longitude, *grid))

    def field(name: str) -> np.ndarray:
        return dataset[name].values[number][None]

    forecasts: dict[Method, GaussianForecast | Ensemble] = {
        OI: GaussianForecast(field("temperature_first_guess"))
    }
    for variant in variants:
        name = "temperature" if len(variants) == 1 else f"temperature_{variant}"
        # Two members, of which mean and spread are those of the output.
        mean, offset = field(name), field(f"{name}_spread") / np.sqrt(2)
        forecasts[Method(MODEL, variant, 2)] = Ensemble(np.stack([mean - offset, mean + offset], axis=1))
    ocean = np.isfinite(field("temperature_first_guess")[0])
    return hidden_values(table, values, (row, column), ocean, dataset["time"].values[number], forecasts)


def joined(parts: list[HiddenValues]) -> HiddenValues:
    """Those of all times, by way of files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.npz" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            part.save(path)
        return HiddenValues.load(paths, antithetic=False, inflation=1.0)


@pytest.fixture(scope="session")
def predicted() -> Predicted:
    """The Indian Ocean at three times."""
    return make_prediction()


@pytest.fixture(scope="session")
def predicted_by_two() -> Predicted:
    """The same with standard and EMA weights."""
    return make_prediction("standard", "ema")
