"""The conditions of a denoiser: what it sees of a patch in each cell, beside the noisy field."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from depthdif import DAYS_PER_YEAR, UserError

POSITION_AND_SEASON = ("cos longitude", "sin longitude", "latitude", "cos season", "sin season")


@dataclasses.dataclass(frozen=True)
class Domain:
    """Where a model is at home: what positions are measured by.

    Attributes:
        south, north: outermost latitudes of the training field, degrees.
        west: its first longitude, degrees.
        period: degrees of longitude after which positions repeat; twice the extent of a field that does not wrap.
    """

    south: float
    north: float
    west: float
    period: float


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Which parts of the data contract are conditions.

    Masks are conditions in any case, and beside a first guess its error, its leave-one-out misfit at the profiles, and the
    innovation of the surface fields (`Residual.conditions`). Without a first guess observations and surface fields are conditions
    whatever the options say.

    Args:
        absolute_values: also the anomalies of observations, first guess and surface fields from climatology or mean profile. With
            them a network learns the region of its training: better there at other times, worse than the first guess elsewhere.
        position_and_season: also position of the cell and day of the year.
        background: also the climatology of the cell.
        noised_mask: also where the network sees the noisy field, which an objective may limit to a part of the cells.
    """

    absolute_values: bool
    position_and_season: bool
    # With a default, because the config of a run that was trained without it lacks it.
    background: bool = False
    noised_mask: bool = False

    def names(self, first_guess: bool) -> tuple[list[str], list[str]]:
        """Keys of the batch with a channel for each depth, and those with a channel for each surface field."""
        depths, surface = ["observed_mask", "ocean_mask"], ["surface_mask"]
        if first_guess:
            depths += ["first_guess_error", "first_guess_misfit"]
            surface += ["surface_innovation"]
            if self.absolute_values:
                depths += ["first_guess_anomaly", "observation_anomaly"]
                surface += ["surface_anomaly"]
        else:
            depths += ["observations"]
            surface += ["surface"]
        depths += ["background"] * self.background + ["noised_mask"] * self.noised_mask
        return depths, surface

    def advice(self, new_region: bool) -> str:
        """A line where other conditions suit the validation better; `new_region`: it is a region without training data."""
        if self.absolute_values and new_region:
            return (
                "model/conditions=known_region, but the validation region is held out of training at all times: absolute values "
                "make a model worse than its first guess there; set model/conditions=transferable"
            )
        if not self.absolute_values and not new_region:
            return (
                "model/conditions=transferable, but the validation region is known from training at other times: absolute values "
                "make a model better there; set model/conditions=known_region"
            )
        return ""

    def channels(self, depths: int, surface_channels: int, first_guess: bool) -> int:
        """Channels of `image` for D `depths` and S `surface_channels`."""
        return len(self.channel_names([""] * depths, [""] * surface_channels, first_guess))

    def channel_names(self, depths: Sequence[str], surface: Sequence[str], first_guess: bool) -> list[str]:
        """Names of the channels of `image`, from those of depths and surface fields."""
        depth_names, surface_names = self.names(first_guess)
        return [
            *(f"{name} {depth}" for name in depth_names for depth in depths),
            *(f"{name} {field}" for name in surface_names for field in surface),
            *(POSITION_AND_SEASON if self.position_and_season else ()),
        ]

    def image(self, batch: Mapping[str, Tensor], domain: Domain) -> Tensor:
        """The conditions of each cell, stacked: (B, C, H, W) float32."""
        depth_names, surface_names = self.names("first_guess" in batch)
        if self.background and "background" not in batch:
            raise UserError(
                "model.conditions.background=true, but no climatology was measured; set data/climatology=seasonal, or "
                "model.conditions.background=false"
            )
        parts = [batch[name].float() for name in (*depth_names, *surface_names)]
        if self.position_and_season:
            parts.append(position_and_season(batch, domain))
        return torch.cat(parts, dim=1)


def position_and_season(batch: Mapping[str, Tensor], domain: Domain) -> Tensor:
    """Position and season of each cell, (B, 5, H, W) float32, without a seam where longitudes wrap and at new year.

    `latitude` (B, H) and `longitude` (B, W) are in degrees, `day_of_year` (B,) runs from 1 to 366. Latitude is scaled to run
    from -1 to 1 in the domain.
    """
    latitude, longitude, day = (batch[name].float() for name in ("latitude", "longitude", "day_of_year"))
    angle = (longitude - domain.west) * (2 * math.pi / domain.period)
    season = day * (2 * math.pi / DAYS_PER_YEAR)
    northward = (2 * latitude - domain.south - domain.north) / max(domain.north - domain.south, 1e-6)
    size = len(latitude), latitude.shape[1], longitude.shape[1]
    channels = [
        torch.cos(angle)[:, None, :],
        torch.sin(angle)[:, None, :],
        northward[:, :, None],
        torch.cos(season)[:, None, None],
        torch.sin(season)[:, None, None],
    ]
    return torch.stack([channel.expand(size) for channel in channels], dim=1)
