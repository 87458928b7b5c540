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
        """The inverse of state_dict, from tensors or lists."""
        return cls(**{name: np.asarray(values, np.float64) for name, values in state.items()})

    def part(self, channels: slice) -> Standardization:
        """Some of the channels."""
        return Standardization(*(getattr(self, field.name)[channels] for field in dataclasses.fields(self)))

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
    so that a field larger than memory can be measured. An array without the dimension depth has a single channel.
    At most `max_times` times of the region are read, evenly spaced.

    Raises:
        UserError: a channel without any value in the region, or values that look like an undeclared fill value.
    """
    channels = array.sizes.get("depth", 1)
    count, mean, squares = np.zeros((3, channels))
    minimum, maximum = np.full(channels, np.inf), np.full(channels, -np.inf)
    for channel, values in _values_by_channel(array, region, max_times):
        lowest, highest = values.min(), values.max()
        # Beyond any ocean variable in any unit, and below the usual fill values (1e20, 9.97e36).
        if max(-lowest, highest) > 1e10:
            raise UserError(
                f"{array.name!r} holds {max(-lowest, highest):g}, which looks like a fill value that the "
                "file does not declare; expected missing cells as NaN or _FillValue"
            )
        total = count[channel] + values.size
        difference = values.mean() - mean[channel]
        squares[channel] += np.square(values - values.mean()).sum()
        squares[channel] += difference**2 * count[channel] * values.size / total
        mean[channel] += difference * values.size / total
        count[channel] = total
        minimum[channel] = min(minimum[channel], lowest)
        maximum[channel] = max(maximum[channel], highest)
    if not count.all():
        if "depth" not in array.dims:
            raise UserError(
                f"{array.name!r} is never defined in the training region; drop it from data.surface"
            )
        depths, first = array["depth"].values, int(np.argmin(count > 0))
        advice = (
            f"leave out the deeper levels with data.max_depth={depths[first - 1]:g}, or " if first else ""
        )
        raise UserError(
            f"{array.name!r} is never defined at {depths[first]:g} m in the training region; {advice}choose other regions"
        )
    return Standardization(mean, np.sqrt(squares / count), minimum, maximum)


def _values_by_channel(
    array: xr.DataArray, region: Selection, max_times: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Channels and their defined values (N,) float64, by times and bands of rows."""
    times = np.flatnonzero(region.times)
    times = times[np.unique(np.linspace(0, len(times) - 1, min(max_times, len(times))).round().astype(int))]
    step_bytes = array.sizes.get("depth", 1) * region.cells.size * 4
    # Bands are whole chunks, so that none is decompressed twice.
    chunk = max(1, int(array.encoding.get("preferred_chunks", {}).get("latitude", 1)))
    height = max(1, _BAND_BYTES * len(region.cells) // (step_bytes * chunk)) * chunk
    is_long = len(times) * step_bytes > _LONG_BYTES
    for time in track(times, f"statistics of {array.name}", disable=not is_long, transient=True):
        for start in range(0, len(region.cells), height):
            cells = region.cells[start : start + height]
            if cells.any():
                band = array.variable[int(time), ..., start : start + height, :].values
                for channel, row in enumerate(band.reshape(-1, *cells.shape)[:, cells]):
                    defined = row[~np.isnan(row)].astype(np.float64)
                    if defined.size:
                        yield channel, defined


@dataclasses.dataclass(frozen=True)
class ResidualStatistics:
    """The residual of a first guess, the regression of the surface fields on it, and anomalies, over training samples.

    Attributes:
        std: (C,) root mean square of target minus first guess, standardised units; 1 of a channel never seen.
        surface_slope, surface_intercept: (S, V) and (S,) linear regression of each surface field on the first guess of the V
            variables at the shallowest depth.
        surface_std: (S,) deviation from that regression; 1 for a field that is never defined where the first guess is.
        anomaly_std: (C,) root mean square of first guess minus background over the ocean.
        surface_anomaly_std: (S,) root mean square of surface field minus background.
    """

    std: list[float]
    surface_slope: list[list[float]]
    surface_intercept: list[float]
    surface_std: list[float]
    anomaly_std: list[float]
    surface_anomaly_std: list[float]


def residual_statistics(
    batches: Iterable[Mapping[str, torch.Tensor]], variables: int = 1, unobserved: bool = False
) -> ResidualStatistics:
    """Statistics of some batches of the data contract, with so many variables, in float64.

    With `unobserved` the residual is that of the cells that are not observed: of sparse targets most others are.
    """
    squares, count, products, anomalies, oceans, surface_squares = (np.zeros(1) for _ in range(6))
    for tensors in batches:
        batch = {name: tensor.numpy() for name, tensor in tensors.items()}
        ocean, guess, surface, defined = (
            batch[name] for name in ("ocean_mask", "first_guess", "surface", "surface_mask")
        )
        known = batch["target_mask"] & ~batch["observed_mask"] if unobserved else batch["target_mask"]
        squares = squares + _sum_of_squares(batch["target"] - guess, known)
        count = count + known.sum(axis=(0, 2, 3))
        anomalies = anomalies + _sum_of_squares(guess - batch.get("background", 0.0), ocean)
        oceans = oceans + ocean.sum(axis=(0, 2, 3))
        surface_squares = surface_squares + np.stack(
            [
                _sum_of_squares(surface - batch.get("surface_background", 0.0), defined),
                defined.sum(axis=(0, 2, 3)),
            ]
        )
        shallowest = slice(None, None, guess.shape[1] // variables)
        both = defined & ocean[:, shallowest].all(axis=1, keepdims=True)
        predictors = [
            np.broadcast_to(level[:, None], both.shape) for level in guess[:, shallowest].swapaxes(0, 1)
        ]
        terms = np.stack([np.ones(both.shape), *predictors, surface]).astype(np.float64)
        # Sums of products of (1, first guesses, surface) for each surface field.
        products = products + np.einsum("anshw,bnshw,nshw->sab", terms, terms, both)
    moments = products / np.maximum(products[:, :1, :1], 1)
    means = moments[:, 0, 1:]
    covariance = moments[:, 1:, 1:] - means[:, :, None] * means[:, None]
    # By the pseudo-inverse: a first guess that does not vary has the slope 0.
    slope = (np.linalg.pinv(covariance[:, :-1, :-1], hermitian=True) @ covariance[:, :-1, -1:])[..., 0]
    remainder = covariance[:, -1, -1] - (slope * covariance[:, :-1, -1]).sum(axis=1)
    std, surface_std, anomaly_std, surface_anomaly_std = (
        np.where(variance > 0, np.sqrt(np.maximum(variance, 0.0)), 1.0).tolist()
        for variance in (
            squares / np.maximum(count, 1),
            remainder,
            anomalies / np.maximum(oceans, 1),
            surface_squares[0] / np.maximum(surface_squares[1], 1),
        )
    )
    intercept = (means[:, -1] - (slope * means[:, :-1]).sum(axis=1)).tolist()
    return ResidualStatistics(std, slope.tolist(), intercept, surface_std, anomaly_std, surface_anomaly_std)


def _sum_of_squares(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(C,) float64 of values (B, C, H, W) where a mask holds."""
    return np.square(np.where(mask, values, 0.0), dtype=np.float64).sum(axis=(0, 2, 3))


def _like(channels: np.ndarray, values: Array) -> Array:
    """Channels as (C, 1, 1), of the kind, device and precision of the values, at least float32."""
    column = channels[:, None, None]
    if isinstance(values, torch.Tensor):
        return torch.as_tensor(
            column, dtype=torch.promote_types(values.dtype, torch.float32), device=values.device
        )
    return column.astype(np.result_type(values, np.float32))
