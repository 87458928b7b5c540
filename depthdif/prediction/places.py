"""Where the profiles of a prediction lie, at each of its times."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from depthdif.figures.globe import Field, borders, eastward, places_on_grid
from depthdif.observations.profiles import ProfileTable


class WithheldRows(Protocol):
    """The comparison at withheld profiles: R rows, one for each profile and depth.

    Attributes:
        time, platform: (R,) datetime64 and str.
        latitude, longitude, depth, observed: (R,) float.
        estimates: (R,) of each method; a variant of the weights is one, by its name.
        deviations: (R,) standard deviations of the methods that have one.
    """

    time: NDArray[np.datetime64]
    platform: NDArray[np.str_]
    latitude: Field
    longitude: Field
    depth: Field
    observed: Field
    estimates: Mapping[str, Field]
    deviations: Mapping[str, Field]


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """N profiles on the grid of a prediction, at one of its times.

    Attributes:
        latitude, longitude: (N,) degrees; longitudes within those of the grid.
        row, column: (N,) in cells from the south-western corner of the grid.
        platform: (N,) str.
        levels: (N, D) bool, the depths at which they count.
    """

    latitude: Field
    longitude: Field
    row: Field
    column: Field
    platform: NDArray[np.str_]
    levels: NDArray[np.bool_]

    def at(self, level: int) -> Places:
        """Those that count at one depth."""
        return self._take(self.levels[:, level])

    def _take(self, which: NDArray[np.bool_]) -> Places:
        return Places(**{field.name: getattr(self, field.name)[which] for field in dataclasses.fields(self)})

    @classmethod
    def _on_grid(
        cls,
        dataset: xr.Dataset,
        latitude: Field,
        longitude: Field,
        platform: NDArray[np.str_],
        levels: NDArray[np.bool_],
    ) -> Places:
        grid = dataset["latitude"].values, dataset["longitude"].values
        east = eastward(longitude, borders(grid[1])[0])
        every = cls(latitude, east, *places_on_grid(latitude, longitude, *grid), platform, levels)
        return every._take(np.isfinite(every.row))

    @classmethod
    def used(cls, dataset: xr.Dataset, number: int, profiles: ProfileTable) -> Places:
        """The profiles that time `number` is predicted from; they count where their cell has an observation."""
        levels = np.zeros((len(profiles), dataset.sizes["depth"]), bool)
        every = cls._on_grid(dataset, profiles.latitude, profiles.longitude, profiles.platform, levels)
        cells = {
            name: xr.DataArray(np.minimum(at, dataset.sizes[name] - 1).astype(np.int64), dims="profile")
            for name, at in (("latitude", every.row), ("longitude", every.column))
        }
        counts = dataset["number_of_observations"].isel(time=number).isel(cells)
        return dataclasses.replace(every, levels=counts.transpose("profile", "depth").values > 0)

    @classmethod
    def withheld(cls, dataset: xr.Dataset, number: int, rows: WithheldRows | None) -> Places:
        """The profiles withheld from time `number`, which is the one nearest to them; they count where they have a row."""
        table = table_of(dataset, rows)
        depths = dataset["depth"].values
        profiles = [profile for _, profile in table[table["number"] == number].groupby(PROFILE, sort=False)]
        levels = [
            np.isclose(depths[:, None], profile["depth"].to_numpy(), rtol=1e-4).any(axis=1)
            for profile in profiles
        ]
        first = [profile.iloc[0] for profile in profiles]
        return cls._on_grid(
            dataset,
            np.array([one["latitude"] for one in first], float),
            np.array([one["longitude"] for one in first], float),
            np.array([one["platform"] for one in first], str),
            np.array(levels, bool).reshape(len(first), len(depths)),
        )


PROFILE = ["number", "platform", "time", "latitude", "longitude"]


def table_of(dataset: xr.Dataset, rows: WithheldRows | None) -> pd.DataFrame:
    """The rows as a table, with the `number` of the nearest time of the prediction; PROFILE tells profiles apart."""
    if rows is None:
        return pd.DataFrame({name: [] for name in (*PROFILE, "depth", "observed")})
    times = dataset["time"].values
    distance = np.abs(rows.time.astype(times.dtype)[:, None] - times)
    columns = ("time", "platform", "latitude", "longitude", "depth", "observed")
    return pd.DataFrame(
        {"number": distance.argmin(axis=1), **{name: getattr(rows, name) for name in columns}}
    )
