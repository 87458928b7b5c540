"""Least-squares fit of a climatology to the training times."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from rich.progress import track
from scipy.ndimage import gaussian_filter

from depthdif import DAYS_PER_YEAR, UserError, check_integer
from depthdif.first_guess.climatology import Climatology, harmonics, spacing

if TYPE_CHECKING:
    from depthdif.data.patches import Selection

_YEARS = {"360_day": 360.0, "noleap": 365.0, "365_day": 365.0, "all_leap": 366.0, "366_day": 366.0}

# Times that are read, evenly spaced: more hardly change a seasonal cycle.
_MOST_TIMES = 1000
_BAND_BYTES = 64 * 2**20
_LONG_BYTES = 2**30
_MOST_BYTES = 4 * 2**30

# Smallest eigenvalue of the mean of outer products of the harmonics: 1/2 for times all round the year, 0.03 where a
# quarter of the year is never defined. Below it the coefficients are mostly noise.
_LEAST_EIGENVALUE = 0.02


@dataclasses.dataclass(frozen=True)
class ClimatologyFit:
    """How a climatology is measured.

    Args:
        harmonics: of the year; 2 is the annual and the semi-annual cycle, 0 the mean alone.
        resolution: cells are averaged to blocks of whole cells of at most so many degrees; None keeps the cells.
        smoothing: standard deviation in degrees of the Gaussian that smooths the harmonics, 0 for none. The mean is not
            smoothed: it has fronts of its own and less noise.

    Raises:
        UserError: a value out of range.
    """

    harmonics: int = 2
    resolution: float | None = None
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        check_integer("data.climatology.harmonics", self.harmonics, 0)
        if self.resolution is not None and not 0 < self.resolution < math.inf:
            raise UserError(
                f"data.climatology.resolution={self.resolution}; expected degrees above 0 or null, e.g. "
                "data.climatology.resolution=1"
            )
        if not 0 <= self.smoothing < math.inf:
            raise UserError(
                f"data.climatology.smoothing={self.smoothing}; expected degrees of at least 0, e.g. "
                "data.climatology.smoothing=1"
            )

    def __call__(self, arrays: Sequence[xr.DataArray], region: Selection, wraps: bool) -> Climatology:
        """Least squares in each block over the times of a region, at most 1,000 of them, evenly spaced.

        A block is undefined where its defined times do not determine the coefficients. The normal equations are accumulated time
        by time, so that memory does not grow with the times.

        Args:
            arrays: variables on one grid, (time, depth, latitude, longitude), or without depth for a single channel. One that
                occurs several times is measured once.
            region: the times and cells to measure.
            wraps: whether the last longitude is the western neighbour of the first.

        Raises:
            UserError: less than a year of times for harmonics, times that do not determine them, or too many blocks.
        """
        different = {id(array): array for array in arrays}
        measured = {key: self._measure(array, region, wraps) for key, array in different.items()}
        return Climatology.join([measured[id(array)] for array in arrays])

    def _measure(self, array: xr.DataArray, region: Selection, wraps: bool) -> Climatology:
        times = np.flatnonzero(region.times)
        times = times[
            np.unique(np.linspace(0, len(times) - 1, min(_MOST_TIMES, len(times))).round().astype(int))
        ]
        dates = array["time"].dt
        year = _YEARS.get(dates.calendar, DAYS_PER_YEAR)
        day_of_year = dates.dayofyear.values[times]
        self._check_times(dates.year.values[times] * year + day_of_year, day_of_year, year)
        latitude, longitude = (array[name].values.astype(np.float64) for name in ("latitude", "longitude"))
        rows, columns = (block_edges(axis, self.resolution) for axis in (latitude, longitude))
        terms = harmonics(day_of_year, self.harmonics, year)
        shape = (array.sizes.get("depth", 1), len(rows) - 1, len(columns) - 1)
        self._check_size(shape, terms.shape[1])
        pairs = np.triu_indices(terms.shape[1])
        gram, moment = np.zeros((len(pairs[0]), *shape)), np.zeros((terms.shape[1], *shape))
        for time, band, values, count in _block_sums(array, times, region.cells, rows, columns):
            for total, term in zip(moment, terms[time], strict=True):
                total[:, band] += term * values
            for total, term in zip(gram, terms[time][pairs[0]] * terms[time][pairs[1]], strict=True):
                total[:, band] += term * count
        coefficients = _solve(gram, moment, pairs)
        blocks = [
            np.add.reduceat(axis, edges[:-1]) / np.diff(edges)
            for axis, edges in ((latitude, rows), (longitude, columns))
        ]
        widths = [self.smoothing / spacing(axis) for axis in blocks]
        for coefficient in coefficients[1:] if self.smoothing else ():
            coefficient[:] = [smoothed(level, widths, wraps) for level in coefficient]
        period = longitude[-1] - longitude[0] + spacing(longitude) if wraps else 360.0
        return Climatology(coefficients.astype(np.float32), blocks[0], blocks[1], float(period), year)

    def _check_times(self, days: np.ndarray, day_of_year: np.ndarray, year: float) -> None:
        """`days` count through the years."""
        step = (days[-1] - days[0]) / max(len(days) - 1, 1)
        if self.harmonics and days[-1] - days[0] + 1.5 * step < year:
            raise UserError(
                f"data.climatology.harmonics={self.harmonics} with {len(days)} training times that cover "
                f"{days[-1] - days[0] + step:.0f} days; expected a year of {year:g} days at least: set "
                "data.climatology.harmonics=0, or train on more times"
            )
        terms = harmonics(day_of_year, self.harmonics, year)
        if np.linalg.eigvalsh(terms.T @ terms / len(terms))[0] < _LEAST_EIGENVALUE:
            raise UserError(
                f"data.climatology.harmonics={self.harmonics} with training times on {len(np.unique(day_of_year))} "
                f"days of the year; expected at least {terms.shape[1]}, spread over the year: set "
                "data.climatology.harmonics=0, or train on more times"
            )

    def _check_size(self, shape: tuple[int, int, int], terms: int) -> None:
        size = math.prod(shape) * (terms + terms * (terms + 1) // 2) * 8
        if size > _MOST_BYTES:
            coarser = max(1.0, 2 * (self.resolution or 0))
            raise UserError(
                f"a climatology of {shape[0]} levels in {shape[1]} x {shape[2]} blocks takes {size / 2**30:.0f} GiB to measure, "
                f"at most {_MOST_BYTES // 2**30} are expected: set data.climatology.resolution={coarser:g}"
            )


def block_edges(centres: np.ndarray, resolution: float | None) -> np.ndarray:
    """Index of the first cell of each block and, last, the number of cells; blocks differ by one cell at most."""
    cells = 1 if resolution is None else max(1, int(resolution / spacing(centres) + 1e-6))
    return np.linspace(0, len(centres), -(-len(centres) // cells) + 1).round().astype(int)


def smoothed(field: np.ndarray, widths: Sequence[float], wraps: bool) -> np.ndarray:
    """A field (h, w) convolved with a Gaussian over its defined cells; undefined cells (NaN) remain undefined.

    `widths` are the standard deviations along both axes in cells; the last column is the neighbour of the first where the
    field wraps.
    """
    defined = np.isfinite(field)
    # Outside of the field nothing is defined.
    total, weight = (
        gaussian_filter(values, widths, mode=("constant", "wrap" if wraps else "constant"))
        for values in (np.where(defined, field, 0.0), defined.astype(np.float64))
    )
    return np.where(defined, total / np.where(defined, weight, 1.0), np.nan)


def _block_sums(
    array: xr.DataArray, times: np.ndarray, cells: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[int, slice, np.ndarray, np.ndarray]]:
    """Number of the time, rows of blocks, and sums and counts of the defined cells in these blocks, (C, rows, w) float64."""
    step_bytes = array.sizes.get("depth", 1) * cells.size * 4
    # Bands are whole blocks and, where blocks are smaller, whole chunks, so that none is decompressed twice.
    chunk = int(array.encoding.get("preferred_chunks", {}).get("latitude", 1))
    height = max(1, chunk, _BAND_BYTES * len(cells) // step_bytes)
    starts = np.unique(np.searchsorted(rows, [*range(0, len(cells), height), len(cells)]))
    is_long = len(times) * step_bytes > _LONG_BYTES
    for number, time in enumerate(
        track(times, f"climatology of {array.name}", disable=not is_long, transient=True)
    ):
        for first, last in itertools.pairwise(starts):
            band = slice(rows[first], rows[last])
            values = array.variable[int(time), ..., band, :].values.reshape(
                -1, band.stop - band.start, cells.shape[1]
            )
            defined = np.isfinite(values) & cells[band]
            sums, counts = (
                np.add.reduceat(
                    np.add.reduceat(part, rows[first:last] - rows[first], axis=1), columns[:-1], axis=2
                )
                for part in (np.where(defined, values, 0.0).astype(np.float64), defined.astype(np.float64))
            )
            yield number, slice(first, last), sums, counts


def _solve(gram: np.ndarray, moment: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Coefficients (n, C, h, w) of normal equations; `gram` has the upper triangle, at `pairs`; NaN where undetermined."""
    terms = len(moment)
    seen = gram[0] > 0
    matrix = np.empty((np.count_nonzero(seen), terms, terms))
    matrix[:, pairs[0], pairs[1]] = matrix[:, pairs[1], pairs[0]] = (gram[:, seen] / gram[0, seen]).T
    determined = np.linalg.eigvalsh(matrix)[:, 0] >= _LEAST_EIGENVALUE
    seen[seen] = determined
    coefficients = np.full(moment.shape, np.nan)
    right = (moment[:, seen] / gram[0, seen]).T[..., None]
    coefficients[:, seen] = np.linalg.solve(matrix[determined], right)[..., 0].T
    return coefficients
