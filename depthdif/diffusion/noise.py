"""The noise that a reverse chain starts from, as a pure function of what identifies a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Knots that are mixed at a time, and their distance in units of the e-folding time. With these the correlation differs by less
# than 0.004 from a Gaussian; fewer knots, or a larger distance, make it depend on where the two times lie between the knots.
KNOTS, KNOT_SPACING = 6, 0.6

# Rows and columns of the blocks of cells of a grid that have a generator each.
BLOCK = 16


def generator_of(identity: Sequence[int], device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on these non-negative numbers alone; on the CPU every device sees the same noise."""
    high, low = map(int, np.random.SeedSequence(list(identity)).generate_state(2, np.uint32))
    return torch.Generator(device).manual_seed(high << 32 | low)


def place_of(latitude: float, longitude: float) -> list[int]:
    """A position in thousandths of a degree, as non-negative numbers."""
    return [round((latitude + 90) * 1000), round(longitude * 1000) % 360_000]


def noise_of_cells(
    depths: int,
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    identity: Sequence[int],
    day: int,
    efolding: float | None = None,
) -> Tensor:
    """Standard normal noise (D, H, W) of cells of a grid, in which the noise of a cell does not depend on the other cells.

    So a region that is cut out of another one has the same noise. Blocks of cells have a generator each.

    Args:
        rows, columns: (H,) and (W,) numbers of rows and columns of the whole grid.
        identity: non-negative numbers, such as seed and member.
        day: whole days since 1970-01-01.
        efolding: of the correlation in time, days (`noise_correlated_in_time`); None is independent from day to day.
    """
    noise = torch.empty(depths, len(rows), len(columns))
    shape = depths, BLOCK, BLOCK
    for down in np.unique(rows // BLOCK):
        inside_rows = np.flatnonzero(rows // BLOCK == down)
        for across in np.unique(columns // BLOCK):
            inside = np.flatnonzero(columns // BLOCK == across)
            place = [*identity, int(down), int(across)]
            if efolding is None:
                block = torch.randn(shape, generator=generator_of([*place, day % 2**32]))
            else:
                block = noise_correlated_in_time(shape, place, day, efolding)
            cells = block[:, rows[inside_rows, None] % BLOCK, columns[inside] % BLOCK]
            noise[:, inside_rows[:, None], inside] = cells
    return noise


def knots_and_weights(day: int, efolding: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers (6,) of the knots nearest to a day, and their weights (6,), whose squares add up to 1."""
    position = day / (KNOT_SPACING * efolding)
    knots = int(np.floor(position)) + np.arange(1 - KNOTS // 2, 1 + KNOTS // 2)
    weights = np.exp(-2 * np.square(KNOT_SPACING * (position - knots)))
    return knots, weights / np.sqrt(np.sum(np.square(weights)))


def noise_correlated_in_time(
    shape: Sequence[int], identity: Sequence[int], day: int, efolding: float
) -> Tensor:
    """Standard normal noise of `shape` on a `day`, a stationary Gaussian process in time for each `identity`.

    White noise eps_j belongs to each of the equidistant knots t_j on the axis of time, and noise(t) = sum_j w_j(t) eps_j with
    w_j(t) proportional to exp(-2 ((t - t_j) / T)^2), where T is the `efolding` time in days. A moving average of white noise has
    the autocorrelation of its kernel (Higdon 2002, doi 10.1007/978-1-4471-0657-9_2): two days that are s apart are correlated
    by exp(-(s / T)^2) to within 0.004. Cells are independent of each other, and no state is carried from one day to another.

    Args:
        identity: non-negative numbers that identify the process, such as seed, place and member.
        day: whole days since 1970-01-01.
    """
    noise = torch.zeros(tuple(shape))
    for knot, weight in zip(*knots_and_weights(day, efolding), strict=True):
        # Modulo: seeds are not negative, knots before 1970 are.
        noise += float(weight) * torch.randn(shape, generator=generator_of([*identity, int(knot) % 2**32]))
    return noise
