"""The variables of a field, and the channels that the depths of each of them have in a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

# Tensors of a batch whose second dimension are the channels.
CHANNEL_KEYS = (
    *("target", "target_mask", "observations", "observed_mask", "ocean_mask", "background"),
    *("first_guess", "first_guess_error", "first_guess_misfit", "surface_slopes"),
)


@dataclasses.dataclass(frozen=True)
class Variable:
    """A target variable: its name in the files, its units and its CF standard_name; "" where the files have none."""

    name: str
    units: str = ""
    standard_name: str = ""

    @classmethod
    def of(cls, array: xr.DataArray) -> Variable:
        """The variable of an array."""
        return cls(str(array.name), *(str(array.attrs.get(name, "")) for name in ("units", "standard_name")))


def deviation(std: np.ndarray) -> float:
    """The root mean square of the standard deviations (D,) of the depths of a variable: 1 in scores without units."""
    return float(np.sqrt(np.square(std).mean()))


def channels_of(number: int, depths: int) -> slice:
    """The channels of variable `number`, from 0: the `depths` of the first variable come first, then those of the next."""
    return slice(number * depths, (number + 1) * depths)


def part_of_batch(batch: Mapping[str, torch.Tensor], channels: slice) -> dict[str, torch.Tensor]:
    """A batch of the data contract with the `channels` of one variable alone."""
    part = {name: tensor[:, channels] if name in CHANNEL_KEYS else tensor for name, tensor in batch.items()}
    if "level_covariance" in part:
        part["level_covariance"] = part["level_covariance"][:, channels, channels]
    return part
