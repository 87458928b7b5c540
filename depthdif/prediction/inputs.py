"""What a prediction is made from, at each time: profiles at the depths of the model, surface fields, and the grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from depthdif import EARTH_RADIUS, UserError
from depthdif.data.dataset import Batch, Conditioner, collate
from depthdif.data.normalization import Standardization
from depthdif.data.variables import Variable, channels_of
from depthdif.observations.gridding import Superobservations, cells, in_window, superobservations
from depthdif.observations.levels import at_depths
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.grid import Grid
from depthdif.prediction.surface import SurfaceFields


@dataclasses.dataclass(frozen=True, eq=False)
class LevelProfiles:
    """Profiles of all variables with their values at the depths of the model.

    Attributes:
        profiles: N of them; of their samples only those of one variable are held.
        values: (N, C) float64, the depths of the first variable, then of the next; NaN where a profile has none.
    """

    profiles: ProfileTable
    values: np.ndarray

    @classmethod
    def from_tables(
        cls, tables: Sequence[ProfileTable], depths: np.ndarray, tolerance: float
    ) -> LevelProfiles:
        """Those of the table of each variable; rows of the same platform, time and place are one profile.

        Args:
            tolerance: as in `at_depths`.
        """
        joined = ProfileTable.join(tables)
        # Of which table each row of the join is.
        source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        source = source[np.argsort(np.concatenate([table.time for table in tables]), kind="stable")]
        columns = ("platform", "time", "latitude", "longitude")
        rows = pd.DataFrame({name: getattr(joined, name) for name in columns}).assign(source=source)
        # Rows of one table stay apart, whatever they have in common.
        rows["again"] = rows.groupby([*columns, "source"], sort=False).cumcount()
        number = rows.groupby([*columns, "again"], sort=False).ngroup().to_numpy()
        _, first = np.unique(number, return_index=True)
        levels = at_depths(joined, depths, tolerance)
        values = np.full((len(first), len(tables) * len(depths)), np.nan)
        for variable in range(len(tables)):
            (at,) = np.nonzero(source == variable)
            values[number[at], channels_of(variable, len(depths))] = levels[at]
        return cls(joined.take(first), values)

    def take(self, which: np.ndarray) -> LevelProfiles:
        """Some profiles, by a mask (N,) bool."""
        return LevelProfiles(self.profiles.take(which), self.values[which])

    def usable(self) -> LevelProfiles:
        """Those with a value at one of the depths at least."""
        return self.take(np.isfinite(self.values).any(axis=1))

    def __len__(self) -> int:
        return len(self.profiles)

    def within(self, time: np.datetime64, half_window: np.timedelta64) -> LevelProfiles:
        """Those of a window of time."""
        inside = in_window(self.profiles, time, 2 * half_window)
        return self.take(inside)


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionInputs:
    """Makes the batch of each time.

    Attributes:
        grid, times: (T,) datetime64 of the prediction.
        used, hidden: the profiles that it is made from, and those withheld.
        half_window: how far from a time its profiles may be.
        surface, conditioner: make surface fields and conditions.
        variables: of the model, with CF names.
    """

    grid: Grid
    times: np.ndarray
    used: LevelProfiles
    hidden: LevelProfiles
    half_window: np.timedelta64
    surface: SurfaceFields
    conditioner: Conditioner
    variables: tuple[Variable, ...]

    @property
    def standardization(self) -> Standardization:
        """Of the target."""
        return self.conditioner.standardization

    def used_at(self, number: int) -> LevelProfiles:
        """The profiles to predict from around time `number`."""
        return self.used.within(self.times[number], self.half_window)

    def hidden_at(self, number: int) -> LevelProfiles:
        """The hidden profiles around time `number`."""
        return self.hidden.within(self.times[number], self.half_window)

    def cells(self, profiles: ProfileTable) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each profile in the grid, -1 outside of it."""
        grid = self.grid
        return cells(profiles.latitude, profiles.longitude, grid.latitude, grid.longitude, grid.period)

    def observed_at(self, number: int) -> Superobservations:
        """The profiles to predict from around time `number`, on the grid."""
        nearby = self.used_at(number)
        return superobservations(
            nearby.values,
            nearby.profiles.latitude,
            nearby.profiles.longitude,
            self.grid.latitude,
            self.grid.longitude,
            self.grid.period,
            self.grid.ocean_mask,
        )

    def batch(self, number: int, observed: Superobservations) -> Batch:
        """The data contract (docs/data.md) for the whole region at time `number`, without first guess; B is 1."""
        day = self.times[number].astype("datetime64[D]")
        day_of_year = int((day - day.astype("datetime64[Y]")).astype(int)) + 1
        latitude, longitude = self.grid.coordinates
        surface, ocean = self.surface(self.times[number]), self.grid.ocean_mask
        sample: dict[str, Any] = self.conditioner(
            observed.mean, surface, ocean, latitude, longitude, day_of_year
        )
        return collate(
            [{**sample, "time": day.astype(np.int64), "index": np.int64(day.astype(np.int64) % 2**32)}]
        )

    def check_times(self) -> int:
        """How many values, over all times, lie in cells that are no ocean at their depth, and are left out.

        Raises:
            UserError: a time without any profile; the message names the nearest one.
        """
        on_land = 0
        for number, time in enumerate(self.times):
            observed = self.observed_at(number)
            on_land += observed.on_land
            if not (observed.count > 0).any():
                days = self.half_window / np.timedelta64(1, "D")
                raise UserError(
                    f"no profile in the region within {days:g} days of {time.astype('datetime64[D]')}; "
                    f"{nearest(self.used.profiles, self.grid, time)}; set window, every or times so that each time has one"
                )
        return on_land


def nearest(profiles: ProfileTable, grid: Grid, time: np.datetime64) -> str:
    """The profile nearest to a time and, among equals, to the region, in words."""
    if not len(profiles):
        return "there is none at any time"
    days = np.abs((profiles.time - time) / np.timedelta64(1, "D"))
    kilometres = distance_to_region(profiles, grid)
    number = int(np.lexsort([days, kilometres > 0])[0])
    place = (
        "in the region"
        if kilometres[number] == 0
        else f"{kilometres[number]:.0f} km from the nearest cell of the region"
    )
    date = np.datetime64(profiles.time[number], "D")
    return (
        f"the nearest is {days[number]:.1f} days away, on {date} at {profiles.latitude[number]:.2f} N "
        f"{profiles.longitude[number]:.2f} E, {place}"
    )


def distance_to_region(profiles: ProfileTable, grid: Grid) -> np.ndarray:
    """(N,) km from each profile to the nearest cell of the region, 0 within half a cell of it."""
    north = np.abs(profiles.latitude[:, None] - grid.latitude)
    east = np.abs(
        (profiles.longitude[:, None] - grid.longitude + grid.period / 2) % grid.period - grid.period / 2
    )
    rows, columns = north.argmin(axis=1), east.argmin(axis=1)
    north, east = north.min(axis=1), east.min(axis=1)
    north[north <= np.abs(np.gradient(grid.latitude))[rows] / 2 if len(grid.latitude) > 1 else north <= 1] = 0
    east[
        east <= np.abs(np.gradient(grid.longitude))[columns] / 2 if len(grid.longitude) > 1 else east <= 1
    ] = 0
    shrink = np.cos(np.deg2rad(profiles.latitude))
    return np.deg2rad(np.hypot(north, east * shrink)) * EARTH_RADIUS
