"""The training objective: the target of the denoiser, and the weights of its error over the ocean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from depthdif.diffusion.cell_weights import CellWeights
from depthdif.diffusion.noise import generator_of

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from torch.nn import Module

    from depthdif.diffusion.sampler import Denoiser

PREDICTION_TYPES = ("sample", "epsilon", "v_prediction")


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weight of each sample's squared error, (B,): min(SNR, gamma) in x0 space (Hang et al. 2023, section 3.4 and its v form)."""
    clipped = snr.clamp(max=gamma)
    return {"sample": clipped, "epsilon": clipped / snr, "v_prediction": clipped / (snr + 1)}[prediction_type]


def prediction_target(
    noise_schedule: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Target of the denoiser for `clean` (B, D, H, W) and `noise` at `timesteps` (B,)."""
    prediction_type = noise_schedule.config.prediction_type
    if prediction_type == "sample":
        return clean
    if prediction_type == "epsilon":
        return noise
    return noise_schedule.get_velocity(clean, noise, timesteps)


def forward_draws(
    identities: Sequence[Sequence[int]], shape: torch.Size, steps: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Time steps (B,), uniform on 0 to `steps` - 1, and noise (B, *shape), normal: for each sample a function of its identity.

    The draws are made on `device`, and those of a CPU differ from those of a GPU.
    """
    generators = [generator_of(identity, device) for identity in identities]
    timesteps = [torch.randint(steps, (1,), generator=each, device=device) for each in generators]
    noise = torch.empty((len(generators), *shape), device=device)
    for sample, each in zip(noise, generators, strict=True):
        sample.normal_(generator=each)
    return torch.cat(timesteps), noise


class MaskedDiffusionObjective:
    """Squared error of the denoiser over the target mask alone; divided by the weight of the cells it is a mean.

    Args:
        latitude_weighting: the weight of a cell is the cosine of its latitude, which is its area on a regular grid.
        min_snr_gamma: clips the weight of a time step; None weighs all alike.
        cell_weights: further factors on the weight of a cell (`CellWeights`).

    Attributes:
        sampled_columns: share of the ocean columns without an observation at which the network sees the noisy field; None is all
            of the noisy field, everywhere (`AmbientObjective`).

    Raises:
        ValueError: for a `min_snr_gamma` that is not positive.
    """

    sampled_columns: float | None = None

    def __init__(
        self,
        latitude_weighting: bool = False,
        min_snr_gamma: float | None = None,
        cell_weights: CellWeights | None = None,
    ) -> None:
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise ValueError(
                f"min_snr_gamma is {min_snr_gamma}: expected a positive number or null, such as model.objective.min_snr_gamma=5"
            )
        self.latitude_weighting = latitude_weighting
        self.min_snr_gamma = min_snr_gamma
        self.cell_weights = cell_weights

    def conditions(
        self, batch: Mapping[str, Tensor], identities: Sequence[Sequence[int]]
    ) -> Mapping[str, Tensor]:
        """The batch with what this objective adds to the conditions of its samples, a function of their identities."""
        return batch

    def sampling_denoiser(self, denoiser: Denoiser, noise_schedule: DDPMScheduler) -> Denoiser:
        """What the reverse chain calls in place of the denoiser."""
        return denoiser

    def __call__(
        self,
        denoiser: Module,
        noise_schedule: DDPMScheduler,
        clean: Tensor,
        batch: Mapping[str, Tensor],
        timesteps: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of the squared errors of each sample, (B,), and sum of its weights, (B,).

        `clean` (B, D, H, W) is the diffused quantity, 0 outside the target mask, `batch` the data contract, `timesteps` (B,) and
        `noise` (B, D, H, W) those of the forward process.
        """
        prediction = denoiser(noise_schedule.add_noise(clean, noise, timesteps), timesteps, batch)
        squared_error = (prediction - prediction_target(noise_schedule, clean, noise, timesteps)).square()
        weight = self.step_weight(noise_schedule, timesteps)
        return self.sums(squared_error if weight is None else squared_error * weight, batch)

    def step_weight(self, noise_schedule: DDPMScheduler, timesteps: Tensor) -> Tensor | None:
        """Weight (B, 1, 1, 1) of the time steps (B,); None where all weigh alike."""
        if self.min_snr_gamma is None:
            return None
        # Hang et al. 2023, arXiv 2303.09556, section 3.1.
        alpha_bar = noise_schedule.alphas_cumprod.to(timesteps.device)[timesteps]
        snr = alpha_bar / (1 - alpha_bar)
        weight = min_snr_weight(snr, self.min_snr_gamma, noise_schedule.config.prediction_type)
        return weight[:, None, None, None]

    def sums(self, squared_error: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weighted sum of the squared errors (B, C, H, W) over the target mask, and sum of the weights, (B,) each."""
        weights = batch["target_mask"].float()
        if self.latitude_weighting:
            weights = weights * torch.cos(torch.deg2rad(batch["latitude"]))[:, None, :, None]
        if self.cell_weights is not None:
            weights = weights * self.cell_weights(batch)
        # The error may be NaN where the weight is 0.
        return torch.where(weights > 0, weights * squared_error, 0).sum((1, 2, 3)), weights.sum((1, 2, 3))
