"""Samples of profiles one after another, padded to a rectangle block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 2_000_000  # samples, with padding, that are in memory at a time: 16 MB a variable


def blocks(lengths: np.ndarray, first: int = 0) -> Iterator[slice]:
    """Cut profiles with `lengths` (N,) into blocks of at most `BLOCK` samples, padded to the longest of the block."""
    count = len(lengths)
    if count < 2 or count * int(lengths.max()) <= BLOCK:
        yield slice(first, first + count)
    else:
        yield from blocks(lengths[: count // 2], first)
        yield from blocks(lengths[count // 2 :], first + count // 2)


def pad(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Samples (M,) of n profiles with `lengths` (n,) as (n, longest), with NaN behind the last of each; 0 where no float."""
    width = int(lengths.max(initial=0))
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
