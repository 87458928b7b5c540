"""Standardisation per depth (or surface channel) with the statistics of the training region."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr
from rich.progress import track

from depthdif import UserError
from depthdif.data.patches import Selection

Array = TypeVar("Array", np.ndarray, torch.Tensor)

# No ocean variable comes near this in any unit; a fill value that the file does not declare does (1e20,
# 9.97e36).
_LARGEST_PLAUSIBLE = 1e10
_BAND_BYTES = 64 * 2**20
_LONG_BYTES = 2**30


@dataclasses.dataclass(frozen=True, eq=False)
class Standardization:
    """Mean, standard deviation, minimum, maximum of C channels (depths or surface variables), (C,) float64.

    A channel that does not vary (standard deviation 0) is divided by 1.
    """

    mean: np.ndarray
    std: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray

    def standardize(self, values: Array) -> Array:
        """(value - mean) / std of (..., C, H, W), NumPy or torch, at least float32."""
        return (values - _like(self.mean, values)) / _like(self._divisor, values)

    def restore(self, values: Array) -> Array:
        """Back to physical units: value * std + mean of (..., C, H, W), NumPy or torch, at least float32."""
        return values * _like(self._divisor, values) + _like(self.mean, values)

    @property
    def _divisor(self) -> np.ndarray:
        return np.where(self.std > 0, self.std, 1.0)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Plain float64 tensors, safe for torch.load(weights_only=True)."""
        return {field.name: torch.from_numpy(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Standardization:
        """The inverse of state_dict."""
        return cls(**{name: state[name].cpu().numpy().astype(np.float64) for name in state})

    @classmethod
    def join(cls, parts: Sequence[Standardization]) -> Standardization:
        """The channels of all parts, in order; no part gives no channel."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(
            **{name: np.concatenate([np.empty(0), *(getattr(p, name) for p in parts)]) for name in names}
        )


def measure(array: xr.DataArray, region: Selection, max_times: int) -> Standardization:
    """Statistics of one variable over a region, missing cells left out, accumulated in float64.

    Counts, means and squared deviations of bands of rows are merged pairwise (Chan, Golub & LeVeque 1983),
    so that a field larger than memory can be measured.

    Args:
        array: dims (time, depth, latitude, longitude), or (time, latitude, longitude) for a single channel.
        region: times and cells to measure.
        max_times: at most this many times are read, evenly spaced.

    Raises:
        UserError: a channel without any value in the region, or values that look like an undeclared fill
            value.
    """
    steps = np.flatnonzero(region.times)
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(max_times, len(steps))).round().astype(int))]
    channels = array.sizes.get("depth", 1)
    moments = _Moments(str(array.name), channels)
    bands = list(_bands(array, region.cells))
    is_long = len(steps) * channels * region.cells.size * 4 > _LONG_BYTES
    for step in track(steps, f"statistics of {array.name}", disable=not is_long, transient=True):
        for rows in bands:
            values = array.variable[int(step), ..., rows, :].values
            cells = region.cells[rows]
            moments.add(values.reshape(channels, *cells.shape)[:, cells])
    _check_defined(moments.count, array)
    std = np.sqrt(moments.squares / moments.count)
    return Standardization(moments.mean, std, moments.minimum, moments.maximum)


@dataclasses.dataclass(frozen=True)
class ResidualStatistics:
    """The residual of a first guess, and the regression of the surface fields on it, over training samples.

    Attributes:
        std: (D,) root mean square of target minus first guess over the ocean, standardised units; 1 at a depth never seen.
        surface_slope, surface_intercept: (S,) linear regression of each surface field on the first guess at the shallowest depth.
        surface_std: (S,) deviation from that regression; 1 for a field that is never defined where the first guess is.
    """

    std: list[float]
    surface_slope: list[float]
    surface_intercept: list[float]
    surface_std: list[float]


def residual_statistics(samples: Iterable[Mapping[str, np.ndarray]]) -> ResidualStatistics:
    """Measured on some samples of the data contract, in float64."""
    squares, count, moments = np.zeros(1), np.zeros(1), np.zeros((0, 3, 3))
    for sample in samples:
        residual = np.where(sample["ocean_mask"], sample["target"] - sample["first_guess"], 0.0)
        squares = squares + np.square(residual, dtype=np.float64).sum(axis=(1, 2))
        count = count + sample["ocean_mask"].sum(axis=(1, 2))
        both = sample["surface_mask"] & sample["ocean_mask"][0]
        guess = np.broadcast_to(sample["first_guess"][0], both.shape)
        terms = np.stack([np.ones_like(guess), guess, sample["surface"]]).astype(np.float64)
        # Sums of products of (1, first guess, surface) for each surface field.
        products = np.einsum("ashw,bshw,shw->sab", terms, terms, both)
        moments = moments + products if len(moments) else products
    deviation = np.sqrt(squares / np.maximum(count, 1))
    regressions = [_regression(products) for products in moments]
    return ResidualStatistics(
        std=[float(value) for value in np.where(deviation > 0, deviation, 1.0)],
        surface_slope=[slope for slope, _, _ in regressions],
        surface_intercept=[intercept for _, intercept, _ in regressions],
        surface_std=[std for _, _, std in regressions],
    )


def _regression(moments: np.ndarray) -> tuple[float, float, float]:
    """Slope, intercept and deviation of y on x from sums of products (3, 3) of (1, x, y)."""
    count = moments[0, 0]
    if count == 0:
        return 0.0, 0.0, 1.0
    x, y = moments[0, 1:] / count
    xx, xy, yy = (moments[i, j] / count - (x, y)[i - 1] * (x, y)[j - 1] for i, j in ((1, 1), (1, 2), (2, 2)))
    slope = xy / xx if xx > 0 else 0.0
    variance = yy - slope * xy
    return float(slope), float(y - slope * x), float(np.sqrt(variance)) if variance > 0 else 1.0


class _Moments:
    """Running count, mean, sum of squared deviations and extremes of C channels."""

    def __init__(self, name: str, channels: int) -> None:
        self._name = name
        self.count = np.zeros(channels)
        self.mean = np.zeros(channels)
        self.squares = np.zeros(channels)
        self.minimum = np.full(channels, np.inf)
        self.maximum = np.full(channels, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Merge values (C, N), NaN where missing."""
        for channel, row in enumerate(values):
            defined = row[~np.isnan(row)].astype(np.float64)
            if not defined.size:
                continue
            lowest, highest = defined.min(), defined.max()
            if max(-lowest, highest) > _LARGEST_PLAUSIBLE:
                raise UserError(
                    f"{self._name!r} holds {max(-lowest, highest):g}, which looks like a fill value that the "
                    "file does not declare; expected missing cells as NaN or _FillValue"
                )
            mean, total = defined.mean(), self.count[channel] + defined.size
            difference = mean - self.mean[channel]
            self.squares[channel] += np.square(defined - mean).sum()
            self.squares[channel] += difference**2 * self.count[channel] * defined.size / total
            self.mean[channel] += difference * defined.size / total
            self.count[channel] = total
            self.minimum[channel] = min(self.minimum[channel], lowest)
            self.maximum[channel] = max(self.maximum[channel], highest)


def _check_defined(count: np.ndarray, array: xr.DataArray) -> None:
    """Raise UserError where a channel holds no value at all."""
    empty = np.flatnonzero(count == 0)
    if not len(empty):
        return
    if "depth" not in array.dims:
        raise UserError(f"{array.name!r} is never defined in the training region; drop it from data.surface")
    depths = array["depth"].values
    shallower = (
        f"leave out the deeper levels with data.max_depth={depths[empty[0] - 1]:g}, or " if empty[0] else ""
    )
    raise UserError(
        f"{array.name!r} is never defined at {depths[empty[0]]:g} m in the training region; "
        f"{shallower}choose other regions"
    )


def _bands(array: xr.DataArray, cells: np.ndarray) -> Iterator[slice]:
    """Bands of rows that hold cells, about _BAND_BYTES each, in whole chunks (none is decompressed twice)."""
    chunk = max(1, int(array.encoding.get("preferred_chunks", {}).get("latitude", 1)))
    row_bytes = array.sizes.get("depth", 1) * cells.shape[1] * 4
    height = max(1, _BAND_BYTES // (row_bytes * chunk)) * chunk
    for start in range(0, cells.shape[0], height):
        if cells[start : start + height].any():
            yield slice(start, start + height)


def _like(channels: np.ndarray, values: Array) -> Array:
    """Channels as (C, 1, 1), of the kind, device and precision of the values, at least float32."""
    column = channels[:, None, None]
    if isinstance(values, torch.Tensor):
        return torch.as_tensor(
            column, dtype=torch.promote_types(values.dtype, torch.float32), device=values.device
        )
    return column.astype(np.result_type(values, np.float32))
