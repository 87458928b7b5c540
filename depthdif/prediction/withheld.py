"""Profiles that are hidden from a prediction, and how well it estimates them: the score where no dense truth exists."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthdif import UserError
from depthdif.data.variables import channels_of
from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.result import MODEL, Method, compare
from depthdif.evaluation.tally import GaussianForecast
from depthdif.files import atomic_path
from depthdif.observations.profiles import ProfileTable
from depthdif.scores.score import Scores, Sums, over_depths, resample_counts

Array = NDArray[np.floating]
Forecast = GaussianForecast | Ensemble

# In the names of the arrays of a file, between what an array is and its method.
_OF = " of "


def hidden_by_platform(platform: np.ndarray, share: float, seed: int) -> NDArray[np.bool_]:
    """Which profiles (N,) to hide, about a `share` of them, from the platform (N,) of each.

    Whole platforms are hidden, because a float's own neighbours would tell on it. A platform has a random number of the seed and
    its name, and those of the least numbers are hidden, so that further platforms hardly change which ones.

    Raises:
        UserError: a share that is not between 0 and 1, or fewer than two platforms.
    """
    if not 0 < share < 1:
        raise UserError(
            f"withhold={share}; expected a share of the profiles between 0 and 1, such as withhold=0.2"
        )
    platforms, number, counts = np.unique(platform, return_inverse=True, return_counts=True)
    if len(platforms) < 2:
        raise UserError(
            f"withhold={share}, but the number of platforms is {len(platforms)}, and whole platforms are hidden; set withhold=0, "
            "or observations of more platforms"
        )
    draws = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in platforms]
    order = np.array(sorted(range(len(draws)), key=draws.__getitem__))
    total = np.cumsum(counts[order])
    # As near to the share as possible, with a platform on each side at least.
    hidden = int(np.abs(total[:-1] - share * len(platform)).argmin()) + 1
    return np.isin(number, order[:hidden])


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenValues:
    """R observed values that were hidden, and what each method says there.

    Attributes:
        time: (R,) datetime64 of the prediction.
        profile_time: (R,) datetime64 of the profile; where windows overlap, a profile counts at several times.
        latitude, longitude: (R,) degrees, of the profile.
        level: (R,) number of the channel: of the depth, where there is one variable.
        platform: (R,) str.
        observed: (R,) in units of the field.
        forecasts: of each method; fields of (1, 1, 1, R), members of (1, E, 1, 1, R).
    """

    time: np.ndarray
    profile_time: np.ndarray
    latitude: Array
    longitude: Array
    level: NDArray[np.integer]
    platform: np.ndarray
    observed: Array
    forecasts: Mapping[Method, Forecast]

    def save(self, path: Path) -> None:
        """Write a .npz file atomically."""
        arrays = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "forecasts"
        }
        for method, forecast in self.forecasts.items():
            if isinstance(forecast, Ensemble):
                arrays[f"members{_OF}{method.weights}"] = forecast.members
            else:
                arrays[f"mean{_OF}{method.name}"] = forecast.mean
                if forecast.deviation is not None:
                    arrays[f"deviation{_OF}{method.name}"] = forecast.deviation
        with atomic_path(path) as unfinished:
            np.savez(unfinished, **arrays)

    @classmethod
    def load(cls, paths: Sequence[Path], antithetic: bool, inflation: float) -> HiddenValues:
        """Those of all times; the last two arguments are those of the sampler that made the members."""
        files = []
        for path in paths:
            with np.load(path) as arrays:
                files.append(dict(arrays))
        joined = {name: np.concatenate([file[name] for file in files], axis=-1) for name in files[0]}
        forecasts: dict[Method, Forecast] = {}
        for name in [name for name in joined if _OF in name]:
            kind, _, of = name.partition(_OF)
            if kind == "members":
                ensemble = Ensemble(joined.pop(name), antithetic, inflation)
                forecasts[Method(MODEL, of, ensemble.members.shape[1])] = ensemble
            elif kind == "mean":
                forecasts[Method(of)] = GaussianForecast(joined[name], joined.get(f"deviation{_OF}{of}"))
        return cls(**{name: array for name, array in joined.items() if _OF not in name}, forecasts=forecasts)

    def __len__(self) -> int:
        return len(self.observed)

    def of_variable(self, number: int, depths: int) -> HiddenValues:
        """The values of variable `number`, whose level is that of one of so many `depths`."""
        channels = channels_of(number, depths)
        (kept,) = np.nonzero((self.level >= channels.start) & (self.level < channels.stop))
        arrays = {
            field.name: getattr(self, field.name)[kept]
            for field in dataclasses.fields(self)
            if field.name != "forecasts"
        }
        arrays["level"] = arrays["level"] - channels.start
        return HiddenValues(
            **arrays, forecasts={method: _at(each, kept) for method, each in self.forecasts.items()}
        )

    @property
    def platforms(self) -> int:
        """Number of platforms."""
        return len(np.unique(self.platform))

    @property
    def profiles(self) -> NDArray[np.integer]:
        """(R,) number of the profile of each value, from 0."""
        keys = {name: getattr(self, name) for name in ("platform", "profile_time", "latitude", "longitude")}
        return pd.DataFrame(keys).groupby(list(keys), sort=False).ngroup().to_numpy()

    def sums(self, depths: int) -> dict[Method, Sums]:
        """Sums (P, D) over the values of each platform and depth, as `scores_from_sums` takes them.

        Before the mean of an ensemble come its single members: each is scored as the only one, and the sums are means over them.
        A single member is a draw from a distribution, of which no CRPS can be computed.
        """
        platform = np.unique(self.platform, return_inverse=True)[1]
        shape = self.platforms, depths
        place = platform * depths + self.level

        def summed(values: Array) -> NDArray[Any]:
            return np.bincount(place, values, np.prod(shape)).reshape(shape)

        def error_sums(estimates: Array) -> dict[str, Array]:
            errors = estimates.reshape(-1, len(self)) - self.observed
            return {
                "count": summed(np.ones(len(self))),
                "error": summed(errors.mean(axis=0)),
                "square": summed(np.square(errors).mean(axis=0)),
                "absolute": summed(np.abs(errors).mean(axis=0)),
            }

        truth, sums = self.observed.reshape(1, 1, 1, -1), dict[Method, Sums]()
        for method, forecast in self.forecasts.items():
            if method.members > 1 and isinstance(forecast, Ensemble):
                single = error_sums(forecast.members)
                sums[Method(MODEL, method.weights)] = {**single, "crps": np.full(shape, np.nan)}
            best = {**error_sums(forecast.mean), "crps": summed(forecast.crps(truth).ravel())}
            if forecast.has_spread:
                best["variance"] = summed(forecast.variance().ravel())
            sums[method] = best
        return sums


def hidden_values(
    profiles: ProfileTable,
    values: Array,
    cells: tuple[NDArray[np.integer], NDArray[np.integer]],
    ocean_mask: NDArray[np.bool_],
    time: np.datetime64,
    forecasts: Mapping[Method, Forecast],
) -> HiddenValues:
    """The hidden values of one time, each beside the forecasts for its cell.

    Args:
        profiles: N that were hidden, with their `values` (N, C) at the depths of the model.
        cells: row and column (N,) of each in the grid, -1 outside of it.
        ocean_mask: (C, H, W); values elsewhere are left out.
        forecasts: of the whole grid, (1, C, H, W) and (1, E, C, H, W).
    """
    row, column = cells
    profile, level = np.nonzero(np.isfinite(values) & (row >= 0)[:, None])
    kept = ocean_mask[level, row[profile], column[profile]]
    profile, level = profile[kept], level[kept]

    def at(field: Array) -> Array:
        return field[..., level, row[profile], column[profile]][..., None, None, :]

    return HiddenValues(
        np.full(len(profile), time),
        profiles.time[profile],
        profiles.latitude[profile],
        profiles.longitude[profile],
        level,
        profiles.platform[profile],
        values[profile, level],
        {method: _changed(forecast, at) for method, forecast in forecasts.items()},
    )


def _at(forecast: Forecast, kept: NDArray[np.integer]) -> Forecast:
    """A forecast of some values."""
    return _changed(forecast, lambda field: field[..., kept])


def _changed(forecast: Forecast, change: Callable[[Array], Array]) -> Forecast:
    """A forecast all of whose fields are changed in one way."""
    if isinstance(forecast, Ensemble):
        return dataclasses.replace(forecast, members=change(forecast.members))
    deviation = None if forecast.deviation is None else change(forecast.deviation)
    return GaussianForecast(change(forecast.mean), deviation)


@dataclasses.dataclass(frozen=True, eq=False)
class WithheldScores:
    """Scores at the hidden values, with 95 % intervals over platforms.

    Attributes:
        overall: of each method, over all values, each with the same weight.
        by_depth: of each method at each depth, empty where nothing was hidden.
        counts: `values`, `profiles` and `platforms` at each depth, (D,).
        values, profiles, platforms: their numbers over all depths.
    """

    overall: Mapping[Method, Scores]
    by_depth: Mapping[Method, Sequence[Scores]]
    counts: Mapping[str, NDArray[np.integer]]
    values: int
    profiles: int
    platforms: int

    @classmethod
    def of(cls, hidden: HiddenValues, depths: int, samples: int, seed: int) -> WithheldScores:
        """Resample the platforms `samples` times: the values of a float are not independent of each other."""
        sums = hidden.sums(depths)
        counts = resample_counts(hidden.platforms, samples, seed)
        overall = compare({method: over_depths(each) for method, each in sums.items()}, counts)
        profiles = hidden.profiles
        at_level = pd.DataFrame({"profiles": profiles, "platforms": hidden.platform}).groupby(hidden.level)
        different = at_level.nunique().reindex(range(depths), fill_value=0)
        return cls(
            overall={method: scores for method, (scores,) in overall.items()},
            by_depth=compare(sums, counts),
            counts={
                "values": np.bincount(hidden.level, minlength=depths),
                **{str(name): column.to_numpy() for name, column in different.items()},
            },
            values=len(hidden),
            profiles=len(np.unique(profiles)),
            platforms=hidden.platforms,
        )


def rows_of(hidden: HiddenValues, depths: Array) -> list[dict[str, Any]]:
    """A row for each hidden value: what was observed, and the mean and the standard deviation of each method."""
    columns: dict[str, Any] = {
        "time": np.datetime_as_string(hidden.time, unit="s"),
        "profile_time": np.datetime_as_string(hidden.profile_time, unit="s"),
        "latitude": hidden.latitude,
        "longitude": hidden.longitude,
        "depth_m": depths[hidden.level],
        "platform": hidden.platform,
        "observed": hidden.observed,
    }
    for method, forecast in hidden.forecasts.items():
        columns[method.label] = forecast.mean.ravel()
        if forecast.has_spread:
            columns[f"{method.label}, deviation"] = np.sqrt(forecast.variance()).ravel()
    lists = {name: np.asarray(values).tolist() for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
