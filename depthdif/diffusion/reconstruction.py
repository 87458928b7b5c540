"""Reconstruction of a batch in units of the field, and its scores against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.precision import autocast
from depthdif.scores.metrics import reconstruction_metrics
from depthdif.scores.probabilistic import gaussian_crps

if TYPE_CHECKING:
    from depthdif.data.normalization import Standardization
    from depthdif.diffusion.module import DiffusionModule


def reconstruct(
    module: DiffusionModule,
    batch: Mapping[str, Tensor],
    standardization: Standardization,
    precision: str = "32-true",
) -> Ensemble:
    """Run the reverse chain of `module` on a batch of the data contract and restore it to units of the field.

    The batch is moved to the device of the module and needs no `target`; `precision` is that of the network (`autocast`).

    Raises:
        UserError: a batch that the model cannot reconstruct (`check_batch`), or an unknown precision.
    """
    on_device = {name: tensor.to(module.device) for name, tensor in batch.items()}
    # Not inference mode: weights that FSDP gathers under it could not be trained afterwards.
    with torch.no_grad(), autocast(precision, module.device):
        samples = module.reconstruct(on_device)
    members = standardization.restore(samples.float().cpu().numpy())
    ocean = batch["ocean_mask"].cpu().numpy()[:, None]
    sampler = module.sampler
    return Ensemble(np.where(ocean, members, np.float32(np.nan)), sampler.antithetic, sampler.inflation)


def physical_truth(batch: Mapping[str, Tensor], standardization: Standardization) -> np.ndarray:
    """(B, D, H, W) target of a batch in units of the field."""
    return standardization.restore(batch["target"].float().cpu().numpy())


def score_estimate(
    estimate: np.ndarray, batch: Mapping[str, Tensor], standardization: Standardization
) -> dict[str, float]:
    """`mse`, `psnr` and `ssim` of an estimate (B, D, H, W) in units of the field, over the ocean of its batch."""
    return reconstruction_metrics(
        torch.from_numpy(estimate),
        torch.from_numpy(physical_truth(batch, standardization)),
        batch["ocean_mask"].cpu(),
        torch.as_tensor(standardization.minimum),
        torch.as_tensor(standardization.maximum),
    )


def score_ensemble(
    ensemble: Ensemble, batch: Mapping[str, Tensor], standardization: Standardization
) -> dict[str, float]:
    """`mse`, `psnr` and `ssim` of the mean, and the fair `crps` where there are two independent members."""
    scores = score_estimate(ensemble.mean, batch, standardization)
    if ensemble.has_spread:
        crps = ensemble.crps(physical_truth(batch, standardization))
        scores["crps"] = float(crps[batch["ocean_mask"].cpu().numpy()].mean())
    return scores


def score_first_guess(batch: Mapping[str, Tensor], standardization: Standardization) -> dict[str, float]:
    """`mse`, `psnr` and `ssim` of the first guess, and the `crps` of a Gaussian about it with its own error."""
    ocean = batch["ocean_mask"].cpu().numpy()
    guess = standardization.restore(batch["first_guess"].float().cpu().numpy())
    scores = score_estimate(guess, batch, standardization)
    deviation = batch["first_guess_error"].float().cpu().numpy() * standardization.std[:, None, None]
    error = guess - physical_truth(batch, standardization)
    return {**scores, "crps": float(gaussian_crps(error[ocean], deviation[ocean]).mean())}
