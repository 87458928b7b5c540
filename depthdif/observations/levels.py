"""Profiles at the depths of a model: linear in depth between neighbouring samples, never beyond them."""

from __future__ import annotations

import numpy as np

from depthdif.observations.profiles import ProfileTable

GAP = 10.0  # metres between two samples that a depth between them may be interpolated from, at least
RELATIVE_GAP = 0.1  # the same as a share of that depth
ROUNDING = 1e-3  # metres; files hold depths as float32


def at_depths(table: ProfileTable, depths: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Values of N profiles at D depths, (N, D) float64; NaN where a profile has none.

    A value is interpolated linearly between the sample above and the sample below, where these two are not more than
    max(10 m, 10 % of the depth) apart; nothing is extrapolated above the first or below the last sample. Where this gives
    none, the nearest sample not more than `tolerance` metres away counts as being at the depth.

    Args:
        depths: (D,) metres below the surface, ascending.
        tolerance: metres; 0 takes samples exactly at a depth (to the rounding of float32, 1 mm). Profiles on standard
            pressures need about 1 % of the depth: 100 dbar is 99.2 m.
    """
    if not len(table.depth):
        return np.full((len(table), len(depths)), np.nan)
    first, last = table.start[:-1, None], table.start[1:, None] - 1
    below = first + _samples(table, depths, "right")
    above = first + _samples(table, depths, "left") - 1
    # Where a depth lies beyond a profile, its outermost sample is both neighbours, but interpolation is not allowed.
    inside = (above >= first) & (below <= last)
    empty = last < first
    above, below = (np.clip(index, first, np.maximum(last, first)) for index in (above, below))
    above, below = (np.minimum(index, len(table.depth) - 1) for index in (above, below))

    gap = table.depth[below] - table.depth[above]
    weight = np.divide(depths - table.depth[above], gap, out=np.zeros_like(gap), where=gap > 0)
    # Not (1 - w) a + w b, which is not exactly a where a equals b.
    values = table.value[above] + weight * (table.value[below] - table.value[above])
    allowed = inside & (gap <= np.maximum(GAP, RELATIVE_GAP * depths) + ROUNDING)

    to_above, to_below = np.abs(depths - table.depth[above]), np.abs(table.depth[below] - depths)
    nearest = np.where(to_above <= to_below, table.value[above], table.value[below])
    near = np.minimum(to_above, to_below) <= max(tolerance, ROUNDING)
    values = np.where(allowed, values, np.where(near, nearest, np.nan))
    return np.where(empty, np.nan, values)


def _samples(table: ProfileTable, depths: np.ndarray, side: str) -> np.ndarray:
    """(N, D) number of samples of each profile above each depth; those at the depth are counted on the side "left" only."""
    profile = np.repeat(np.arange(len(table)), np.diff(table.start))
    rank = np.searchsorted(depths, table.depth, side=side)  # type: ignore[call-overload]
    width = len(depths) + 1
    counts = np.bincount(profile * width + rank, minlength=len(table) * width).reshape(-1, width)
    return counts.cumsum(axis=1)[:, :-1]
