"""Profiles as they come out of files, and the one table of profiles that everything else works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class RawProfiles:
    """N profiles as a reader found them, padded to L samples; their quality is already decided.

    What was refused is NaN here, and counted in the `Refusals` of the reader.

    Attributes:
        time: (N,) datetime64; NaT for a refused profile, which has no samples and only says that lower ranks of its identity are
            not to be used either.
        latitude, longitude: (N,) float64, degrees north and east.
        platform: (N,) str, that of an instrument, such as the number of a float; unique to the profile where it is not known.
        vertical: (N, L) float64 depth in metres, positive downwards, or pressure in dbar; NaN where there is no good sample.
        is_pressure: whether `vertical` is pressure.
        values: (N, L) float64 by CF standard name (temperatures in degree_Celsius, practical salinity in 1), NaN where there is
            no good value.
        identity: (N,) str, what a profile is known by in several files, such as float, cycle and direction; "" where nothing is
            known. None for all unknown.
        rank: (N,) int; of profiles with the same identity the one with the largest counts. None for all 0.
    """

    time: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    platform: np.ndarray
    vertical: np.ndarray
    is_pressure: bool
    values: Mapping[str, np.ndarray]
    identity: np.ndarray | None = None
    rank: np.ndarray | None = None

    def identities(self) -> np.ndarray:
        """`identity`, "" where it is not known."""
        return np.full(len(self.time), "") if self.identity is None else self.identity

    def ranks(self) -> np.ndarray:
        """`rank`, 0 where it is not known."""
        return np.zeros(len(self.time), int) if self.rank is None else self.rank

    def take(self, which: np.ndarray) -> RawProfiles:
        """Some profiles, by a mask (N,) bool or by their numbers."""
        return RawProfiles(
            self.time[which],
            self.latitude[which],
            self.longitude[which],
            self.platform[which],
            self.vertical[which],
            self.is_pressure,
            {name: values[which] for name, values in self.values.items()},
            self.identities()[which],
            self.ranks()[which],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ProfileTable:
    """N profiles of one variable, with M samples in all, in the order of time.

    Attributes:
        time: (N,) datetime64[us].
        latitude, longitude: (N,) float64, degrees north and east.
        platform: (N,) str.
        start: (N + 1,) int64; the samples of profile n are start[n] to start[n + 1].
        depth: (M,) float64 metres below the surface, ascending within a profile.
        value: (M,) float64 in units of the variable; never NaN.
    """

    time: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    platform: np.ndarray
    start: np.ndarray
    depth: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def empty(cls) -> ProfileTable:
        """No profile."""
        none = np.empty(0)
        return cls(
            none.astype("datetime64[us]"), none, none, none.astype(str), np.zeros(1, np.int64), none, none
        )

    def take(self, which: np.ndarray) -> ProfileTable:
        """Some profiles, by a mask (N,) bool or by their numbers (n,)."""
        numbers = np.arange(len(self))[which]
        lengths = self.start[numbers + 1] - self.start[numbers]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        samples = np.repeat(self.start[numbers] - start[:-1], lengths) + np.arange(start[-1])
        return ProfileTable(
            self.time[numbers],
            self.latitude[numbers],
            self.longitude[numbers],
            self.platform[numbers],
            start,
            self.depth[samples],
            self.value[samples],
        )

    @classmethod
    def join(cls, parts: Sequence[ProfileTable]) -> ProfileTable:
        """All profiles of some tables, in the order of time."""
        if not parts:
            return cls.empty()
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(cls)
            if field.name != "start"
        }
        lengths = np.concatenate([np.diff(part.start) for part in parts])
        joined = cls(**columns, start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return joined.take(np.argsort(joined.time, kind="stable"))
