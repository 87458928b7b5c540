"""Samples of profiles one after another, padded to a rectangle block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 2_000_000  # samples, with padding, that are in memory at a time: 16 MB a variable


def blocks(profiles: int, samples: int) -> Iterator[slice]:
    """Profiles in blocks of about `BLOCK` samples, where each has at most `samples`."""
    size = max(1, BLOCK // max(samples, 1))
    for first in range(0, profiles, size):
        yield slice(first, min(first + size, profiles))


def pad(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Samples (M,) of n profiles with `lengths` (n,) as (n, width), with NaN behind the last of each; 0 where no float."""
    padded = np.zeros((len(lengths), width), values.dtype)
    if values.dtype.kind == "f":
        padded.fill(np.nan)
    padded[np.arange(width) < lengths[:, None]] = values
    return padded


def own_platforms(time: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """(N,) str, a name for the unknown platform of each profile: its time and place, which no other file repeats."""
    minutes = np.datetime_as_string(time.astype("datetime64[s]"), unit="m")
    return np.array(
        [
            f"{minute} {north:.3f} {east:.3f}"
            for minute, north, east in zip(minutes, latitude, longitude, strict=True)
        ],
        dtype=str,
    )
