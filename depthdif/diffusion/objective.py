"""The training objective: the target of the denoiser, and the weights of its error over the ocean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from torch.nn import Module

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


class MaskedDiffusionObjective:
    """Mean squared error of the denoiser over the ocean mask alone, normalised by the mask's size.

    With `latitude_weighting` the weight of a cell is the cosine of its latitude, which is its area on a regular grid.

    Raises:
        ValueError: for a `min_snr_gamma` that is not positive.
    """

    def __init__(self, latitude_weighting: bool = False, min_snr_gamma: float | None = None) -> None:
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise ValueError(
                f"min_snr_gamma is {min_snr_gamma}: expected a positive number or null, such as model.objective.min_snr_gamma=5"
            )
        self.latitude_weighting = latitude_weighting
        self.min_snr_gamma = min_snr_gamma

    def __call__(
        self,
        denoiser: Module,
        noise_schedule: DDPMScheduler,
        clean: Tensor,
        batch: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss, a scalar, at uniformly drawn time steps.

        `clean` (B, D, H, W) is the diffused quantity, 0 outside the ocean, and `batch` the data contract.
        `generator` (on the CPU) fixes the draws of time steps and noise; None takes the global stream of the batch's device.
        """
        device = clean.device if generator is None else torch.device("cpu")
        steps = noise_schedule.config.num_train_timesteps
        timesteps = torch.randint(steps, clean.shape[:1], generator=generator, device=device).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator, device=device).to(clean.device)
        prediction = denoiser(noise_schedule.add_noise(clean, noise, timesteps), timesteps, batch)
        squared_error = (prediction - prediction_target(noise_schedule, clean, noise, timesteps)).square()
        if self.min_snr_gamma is not None:
            # Hang et al. 2023, arXiv 2303.09556, section 3.1.
            alpha_bar = noise_schedule.alphas_cumprod.to(timesteps.device)[timesteps]
            snr = alpha_bar / (1 - alpha_bar)
            weight = min_snr_weight(snr, self.min_snr_gamma, noise_schedule.config.prediction_type)
            squared_error = squared_error * weight[:, None, None, None]
        weights = batch["ocean_mask"].float()
        if self.latitude_weighting:
            weights = weights * torch.cos(torch.deg2rad(batch["latitude"]))[:, None, :, None]
        # The error may be NaN where the weight is 0.
        return torch.where(weights > 0, weights * squared_error, 0).sum() / weights.sum()
