"""The denoiser: a `diffusers` U-Net of the noisy field and the conditions of the patch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from depthdif import DAYS_PER_YEAR

# Channels of the condition, in order: of depths and of surface fields. Beside a first guess they hold its error and the
# innovations of the surface, but no absolute value: a network that sees absolute values learns the region of its training,
# and is worse than the first guess in another ocean (docs/results.md).
PLAIN_CONDITIONS = (("observations", "observed_mask", "ocean_mask"), ("surface", "surface_mask"))
RESIDUAL_CONDITIONS = (
    ("first_guess_error", "first_guess_misfit", "observed_mask", "ocean_mask"),
    ("surface_innovation", "surface_mask"),
)


def condition_channels(depths: int, surface_channels: int, first_guess: bool = False) -> int:
    """Channels of `condition_image` for D `depths` and S `surface_channels`."""
    depth_names, surface_names = RESIDUAL_CONDITIONS if first_guess else PLAIN_CONDITIONS
    return len(depth_names) * depths + len(surface_names) * surface_channels


def condition_image(batch: Mapping[str, Tensor]) -> Tensor:
    """The conditions of each cell, stacked: (B, C, H, W) float32 with the C channels of `condition_channels`."""
    depth_names, surface_names = RESIDUAL_CONDITIONS if "first_guess" in batch else PLAIN_CONDITIONS
    return torch.cat([batch[name].float() for name in (*depth_names, *surface_names)], dim=1)


def position_and_season(coordinates: Tensor, day_of_year: Tensor) -> Tensor:
    """Features of position and day of year without a seam at the date line or at new year.

    `coordinates` (B, 2) are latitude and longitude in degrees, `day_of_year` (B,) runs from 1 to 366. Returns (B, 5): the
    unit vector of the position on the sphere, then cosine and sine of the season.
    """
    latitude, longitude = torch.deg2rad(coordinates).unbind(dim=1)
    season = 2 * math.pi * day_of_year / DAYS_PER_YEAR
    return torch.stack(
        [
            torch.cos(latitude) * torch.cos(longitude),
            torch.cos(latitude) * torch.sin(longitude),
            torch.sin(latitude),
            torch.cos(season),
            torch.sin(season),
        ],
        dim=1,
    )


class UNetDenoiser(nn.Module):
    """`diffusers.UNet2DModel`, conditioned by channels and by an embedding of position and season.

    The embedding is added to that of the time step (`class_embed_type="identity"`). Patches whose sides the U-Net cannot
    halve often enough are padded with zeros and the padding is cut off again.

    Args, besides those explained in conf/model/denoiser:
        depths, surface_channels: depth levels D of the field, dense surface fields S.
        first_guess: whether batches hold a first guess.
        position_and_season: whether position and season of a patch are conditions; of use in the region of the training alone.

    Raises:
        ValueError: for a count below 1, channels that the groups do not divide, an unknown level or a probability outside [0, 1).
    """

    def __init__(
        self,
        depths: int,
        surface_channels: int,
        block_out_channels: Sequence[int] = (32, 64, 144),
        layers_per_block: int = 1,
        attention_levels: Sequence[int] = (),
        dropout: float = 0.0,
        norm_groups: int = 8,
        first_guess: bool = False,
        position_and_season: bool = False,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        multiples = all(channels >= 1 and channels % norm_groups == 0 for channels in block_out_channels)
        known_levels = set(attention_levels) <= set(range(levels))
        for holds, name, value, expected, example in (
            (levels > 0 and multiples, "block_out_channels", list(block_out_channels),
             f"multiples of norm_groups={norm_groups}", "[32,64,128]"),
            (layers_per_block >= 1, "layers_per_block", layers_per_block, "at least 1", 2),
            (known_levels, "attention_levels", list(attention_levels), f"levels out of 0-{levels - 1}", f"[{levels - 1}]"),
            (0 <= dropout < 1, "dropout", dropout, "0 <= dropout < 1", 0.1),
        ):  # fmt: skip
            if not holds:
                raise ValueError(
                    f"{name} is {value}: expected {expected}, such as model.denoiser.{name}={example}"
                )
        attends = [level in attention_levels for level in range(levels)]
        self.depths, self.surface_channels = depths, surface_channels
        self.smallest_multiple = 2 ** (levels - 1)
        self.unet = UNet2DModel(
            in_channels=depths + condition_channels(depths, surface_channels, first_guess),
            out_channels=depths,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
            up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
            class_embed_type="identity" if position_and_season else None,
            norm_num_groups=norm_groups,
            dropout=dropout,
        )
        # The first prediction is 0: for a residual, the first guess itself.
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        self.position_and_season: nn.Sequential | None = None
        if position_and_season:
            channels = 4 * block_out_channels[0]
            self.position_and_season = nn.Sequential(
                nn.Linear(5, channels), nn.SiLU(), nn.Linear(channels, channels)
            )

    def forward(self, noisy: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Predict x0, the noise or the velocity, by the `prediction_type` of the noise schedule: (B, D, H, W) float32.

        `noisy` is (B, D, H, W), `timesteps` (B,) or a scalar, `batch` the data contract. Cells outside the ocean are set to
        zero first, in training and in sampling, so that no noise enters from there.
        """
        height, width = noisy.shape[-2:]
        image = torch.cat([noisy * batch["ocean_mask"], condition_image(batch)], dim=1)
        padding = (0, -width % self.smallest_multiple, 0, -height % self.smallest_multiple)
        place = None
        if self.position_and_season is not None:
            place = self.position_and_season(position_and_season(batch["coordinates"], batch["day_of_year"]))
        prediction = self.unet(functional.pad(image, padding), timesteps, class_labels=place).sample
        return prediction[..., :height, :width].float()
