"""Where the profiles of a prediction lie, at each of its times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from depthdif.figures.globe import Field, borders, eastward, places_on_grid
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.output_plan import COUNT
from depthdif.prediction.withheld import HiddenValues


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
    def used(
        cls, dataset: xr.Dataset, number: int, profiles: ProfileTable, counts: Sequence[str] = (COUNT,)
    ) -> Places:
        """The profiles that time `number` is predicted from; they count where their cell has an observation.

        Args:
            counts: names of the numbers of observations.
        """
        levels = np.zeros((len(profiles), dataset.sizes["depth"]), bool)
        every = cls._on_grid(dataset, profiles.latitude, profiles.longitude, profiles.platform, levels)
        cells = {
            name: xr.DataArray(np.minimum(at, dataset.sizes[name] - 1).astype(np.int64), dims="profile")
            for name, at in (("latitude", every.row), ("longitude", every.column))
        }
        for name in counts:
            count = dataset[name].isel(time=number).isel(cells)
            every.levels[:] |= count.transpose("profile", "depth").values > 0
        return every

    @classmethod
    def withheld(cls, dataset: xr.Dataset, number: int, hidden: HiddenValues | None) -> Places:
        """The profiles withheld from time `number`; they count at the depths of their values."""
        rows = profile_rows(hidden, dataset["time"].values[number]) if hidden else {}
        levels = np.zeros((len(rows), dataset.sizes["depth"]), bool)
        if hidden:
            for profile, values in enumerate(rows.values()):
                levels[profile, hidden.level[values]] = True
        platform, latitude, longitude = ([profile[column] for profile in rows] for column in range(3))
        place = np.array(latitude, float), np.array(longitude, float)
        return cls._on_grid(dataset, *place, np.array(platform, str), levels)


def profile_rows(
    hidden: HiddenValues, time: np.datetime64
) -> dict[tuple[str, float, float], NDArray[np.integer]]:
    """The numbers of the values of each profile hidden from a time, by its platform, latitude and longitude."""
    at = pd.Series(np.flatnonzero(hidden.time == time))
    keys = [column[at] for column in (hidden.platform, hidden.latitude, hidden.longitude)]
    return {profile: rows.to_numpy() for profile, rows in at.groupby(keys, sort=False)}
