"""The denoiser: a `diffusers` U-Net of the noisy field and the conditions of the patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from depthdif.diffusion.conditions import Conditions, Domain


class UNetDenoiser(nn.Module):
    """`diffusers.UNet2DModel`, conditioned by channels.

    Patches whose sides the U-Net cannot halve often enough are padded with zeros and the padding is cut off again.

    Args, besides those explained in conf/model/denoiser:
        depths, surface_channels: depth levels D of the field, dense surface fields S.
        conditions: what the network sees beside the noisy field.
        domain: what positions are measured by.
        first_guess: whether batches hold a first guess.

    Raises:
        ValueError: for a count below 1, channels that the groups do not divide, an unknown level or a probability outside [0, 1).
    """

    def __init__(
        self,
        depths: int,
        surface_channels: int,
        conditions: Conditions,
        domain: Domain,
        block_out_channels: Sequence[int] = (32, 64, 144),
        layers_per_block: int = 1,
        attention_levels: Sequence[int] = (),
        bottom_attention: bool = True,
        dropout: float = 0.0,
        norm_groups: int = 8,
        first_guess: bool = False,
        cell_block: int = 1,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        multiples = all(channels >= 1 and channels % norm_groups == 0 for channels in block_out_channels)
        known_levels = set(attention_levels) <= set(range(levels))
        for holds, name, value, expected, example in (
            (levels > 0 and multiples, "block_out_channels", list(block_out_channels),
             f"multiples of norm_groups={norm_groups}", "[32,64,128]"),
            (cell_block >= 1, "cell_block", cell_block, "at least 1", 2),
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
        self.conditions, self.domain = conditions, domain
        self.cell_block = cell_block
        self.smallest_multiple = cell_block * 2 ** (levels - 1)
        channels = depths + conditions.channels(depths, surface_channels, first_guess)
        self.unet = UNet2DModel(
            in_channels=channels * cell_block**2,
            out_channels=depths * cell_block**2,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
            up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
            add_attention=bottom_attention,
            norm_num_groups=norm_groups,
            dropout=dropout,
        )
        # The first prediction is 0: for a residual, the first guess itself.
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, noisy: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Predict x0, the noise or the velocity, by the `prediction_type` of the noise schedule: (B, D, H, W) float32.

        `noisy` is (B, D, H, W), `timesteps` (B,) or a scalar, `batch` the data contract. Cells outside the ocean are set to
        zero first, in training and in sampling, so that no noise enters from there.
        """
        height, width = noisy.shape[-2:]
        conditions = self.conditions.image(batch, self.domain)
        image = torch.cat([noisy * batch["ocean_mask"], conditions], dim=1)
        padding = (0, -width % self.smallest_multiple, 0, -height % self.smallest_multiple)
        blocks = functional.pixel_unshuffle(functional.pad(image, padding), self.cell_block)
        prediction = functional.pixel_shuffle(self.unet(blocks, timesteps).sample, self.cell_block)
        return prediction[..., :height, :width].float()
