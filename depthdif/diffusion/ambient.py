"""The ambient objective: learning to reconstruct from profiles alone, without a dense field of any time.

Daras et al. 2023 (arXiv 2305.19256) train a diffusion model on corrupted samples A x0 by hiding a further random part of what was
measured from the network, and by taking the loss over all that was measured. The network cannot tell what was hidden for training
from what was never measured, so that its minimiser is the conditional mean of the whole field (theorem 4.1 there).

Here A are the measured cells of a patch. The conditions, first guess included, are made of a random part of its profiles (the
`ProfileSampler` of the data; these draws do not depend on values). The noisy field is shown on a random part N of the columns
that are left, and the loss is over A. At each time step the minimiser is E[x0 | noisy field on N, N, conditions], in every cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from depthdif.diffusion.cell_weights import CellWeights
from depthdif.diffusion.noise import generator_of
from depthdif.diffusion.objective import MaskedDiffusionObjective, prediction_target

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from torch.nn import Module

    from depthdif.diffusion.sampler import Denoiser

# Keeps the draws of the noised columns apart from those of noise and time step, which have the identity itself.
_COLUMNS = 1


class AmbientObjective(MaskedDiffusionObjective):
    """Squared error over all measured cells of a network that sees a part of them.

    In the cells where the network sees the noisy field its target is that of the `prediction_type`, elsewhere the clean residual
    itself, so that the error is bounded at every noise level. `min_snr_gamma` weighs the first alone: in the others there is no
    signal, and so no signal-to-noise ratio.

    Args, besides those of `MaskedDiffusionObjective`:
        sampled_columns: share, from 0 to 1, of the unobserved ocean columns at which the reverse chain shows the network the
            noisy field. A member draws its columns once; its other cells are the conditional mean given these. 0 is the
            conditional mean given the observations, without spread.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        sampled_columns: float,
        latitude_weighting: bool = False,
        min_snr_gamma: float | None = None,
        cell_weights: CellWeights | None = None,
    ) -> None:
        super().__init__(latitude_weighting, min_snr_gamma, cell_weights)
        if not 0 <= sampled_columns <= 1:
            raise ValueError(
                f"sampled_columns is {sampled_columns}: expected a share from 0 to 1, such as "
                "model.objective.sampled_columns=0.05"
            )
        self.sampled_columns = sampled_columns

    def conditions(
        self, batch: Mapping[str, Tensor], identities: Sequence[Sequence[int]]
    ) -> Mapping[str, Tensor]:
        """The batch with `noised_mask` (B, C, H, W): the hidden cells of a share of the columns, uniform on 0 to 1."""
        hidden = batch["target_mask"] & ~batch["observed_mask"]
        shape = hidden.shape[2:]
        chosen = []
        for identity in identities:
            generator = generator_of([*identity, _COLUMNS])
            share = torch.rand(1, generator=generator)
            chosen.append(torch.rand(shape, generator=generator) < share)
        return {**batch, "noised_mask": hidden & torch.stack(chosen)[:, None].to(hidden.device)}

    def sampling_denoiser(self, denoiser: Denoiser, noise_schedule: DDPMScheduler) -> Denoiser:
        """An `AmbientDenoiser`."""
        return AmbientDenoiser(denoiser, noise_schedule)

    def __call__(
        self,
        denoiser: Module,
        noise_schedule: DDPMScheduler,
        clean: Tensor,
        batch: Mapping[str, Tensor],
        timesteps: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `MaskedDiffusionObjective`; `batch` holds the `noised_mask` of `conditions`."""
        noised = batch["noised_mask"]
        seen = torch.where(noised, noise_schedule.add_noise(clean, noise, timesteps), 0)
        target = torch.where(noised, prediction_target(noise_schedule, clean, noise, timesteps), clean)
        squared_error = (denoiser(seen, timesteps, batch) - target).square()
        weight = self.step_weight(noise_schedule, timesteps)
        if weight is not None:
            squared_error = torch.where(noised, squared_error * weight, squared_error)
        return self.sums(squared_error, batch)


class AmbientDenoiser:
    """The network of an ambient objective in a reverse chain that moves the whole field.

    It is shown the noisy field in `noised_mask` alone (B, C, H, W, a key of the batch that the sampler adds), and its estimate of
    the clean field elsewhere is converted to the `prediction_type` of the noise schedule: the fixed-mask sampler of Daras et al.
    2023, section 4.2.
    """

    def __init__(self, denoiser: Denoiser, noise_schedule: DDPMScheduler) -> None:
        self._denoiser = denoiser
        self._prediction_type = noise_schedule.config.prediction_type
        alpha_bar = noise_schedule.alphas_cumprod
        self._ratios = ((1 - alpha_bar) / alpha_bar).sqrt()

    def __call__(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Prediction (B, C, H, W) for a `noisy` field of unit variance at a time step."""
        noised = batch["noised_mask"]
        output = self._denoiser(torch.where(noised, noisy, 0), timestep, batch)
        if self._prediction_type == "sample":
            return output
        alpha, sigma = self.signal_and_noise(timestep)
        if self._prediction_type == "epsilon":
            return torch.where(noised, output, (noisy - alpha * output) / sigma)
        return torch.where(noised, output, (alpha * noisy - output) / sigma)

    def signal_and_noise(self, timestep: Tensor) -> tuple[float, float]:
        """Factors of signal and noise at a time step; between the steps of the schedule as schedulers interpolate them."""
        position = float(timestep.reshape(-1)[0])
        below = min(int(position), len(self._ratios) - 1)
        above = min(below + 1, len(self._ratios) - 1)
        ratio = float(torch.lerp(self._ratios[below], self._ratios[above], position - below))
        alpha = (1 + ratio**2) ** -0.5
        return alpha, alpha * ratio
