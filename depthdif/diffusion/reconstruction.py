"""Reconstruction of a batch: its checks before a reverse chain runs, the chain in units of the field, its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from depthdif import UserError
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.precision import autocast
from depthdif.scores.metrics import reconstruction_metrics
from depthdif.scores.probabilistic import gaussian_crps

if TYPE_CHECKING:
    from depthdif.data.normalization import Standardization
    from depthdif.diffusion.module import DiffusionModule
    from depthdif.diffusion.tiles import TiledRegion

# Dimensions of the conditions of a denoiser: batch, depths, surface fields, height, width.
SHAPES = {
    "observations": "BDHW",
    "observed_mask": "BDHW",
    "ocean_mask": "BDHW",
    "surface": "BSHW",
    "surface_mask": "BSHW",
    "latitude": "BH",
    "longitude": "BW",
    "coordinates": "B2",
    "day_of_year": "B",
    "index": "B",
}
FIRST_GUESS_SHAPES = dict.fromkeys(("first_guess", "first_guess_error", "first_guess_misfit"), "BDHW")
MASKS = ("observed_mask", "ocean_mask", "surface_mask")


def check_batch(batch: Mapping[str, Tensor], denoiser: Module, first_guess: bool, time: bool = False) -> None:
    """Check a batch of the data contract (docs/data.md); `target` is not needed.

    `depths` and `surface_channels` of the denoiser, where it has them, are compared with the batch; `first_guess` says whether
    the model diffuses the residual of one, `time` whether the noise depends on the time.

    Raises:
        UserError: a tensor is missing or has another shape than the others or than the denoiser, a mask is not bool,
            an observation lies outside the ocean, a value is not finite or not 0 where its mask is false.
    """
    if ("first_guess" in batch) != first_guess:
        raise UserError(
            f"the batch holds {'no' if first_guess else 'a'} first_guess, but the model was trained "
            f"{'with one' if first_guess else 'without'}; make its samples with the model/first_guess of the training"
        )
    shapes = SHAPES | (FIRST_GUESS_SHAPES if first_guess else {}) | ({"time": "B"} if time else {})
    # Known where a climatology was measured.
    shapes = shapes | {"background": "BDHW"} if "background" in batch else shapes
    missing = sorted(shapes.keys() - batch.keys())
    if missing:
        raise UserError(f"the batch lacks {', '.join(missing)}; expected {', '.join(shapes)} (docs/data.md)")
    check_shapes(batch, shapes, denoiser)
    for name in MASKS:
        if batch[name].dtype != torch.bool:
            raise UserError(f"{name} is {batch[name].dtype}: expected torch.bool, such as {name}.bool()")
    counts = {
        "observed cells lie outside the ocean: expected observed_mask to be a subset of ocean_mask": (
            batch["observed_mask"] & ~batch["ocean_mask"]
        ).sum()
    }
    for name in shapes:
        counts[f"values of {name} are NaN or infinite: expected finite ones, and 0 where a mask is false"] = (
            ~batch[name].isfinite()
        ).sum()
    for name, mask in (("observations", "observed_mask"), ("surface", "surface_mask")):
        counts[f"values of {name} are not 0 where {mask} is false: expected 0 there"] = (
            batch[name].ne(0) & ~batch[mask]
        ).sum()
    # One transfer from the device for all of them.
    for fault, count in zip(counts, torch.stack(list(counts.values())).tolist(), strict=True):
        if count:
            raise UserError(f"{count} {fault}")


def check_shapes(batch: Mapping[str, Tensor], shapes: Mapping[str, str], denoiser: Module) -> None:
    """Raise UserError where a shape does not match the observations, the surface or the denoiser."""
    observations, surface = tuple(batch["observations"].shape), tuple(batch["surface"].shape)
    if len(observations) != 4 or len(surface) != 4:
        raise UserError(
            f"observations are {observations} and surface {surface}: expected (batch, depths, height, width) and "
            "(batch, surface fields, height, width)"
        )
    sizes = dict(zip("BDHWS2", (*observations, surface[1], 2), strict=True))
    for name, letters in shapes.items():
        expected = tuple(sizes[letter] for letter in letters)
        if tuple(batch[name].shape) != expected:
            raise UserError(
                f"{name} is {tuple(batch[name].shape)}: expected {expected} beside observations of {observations}"
            )
    for attribute, what, letter in (("depths", "depths", "D"), ("surface_channels", "surface fields", "S")):
        count = sizes[letter]
        trained = getattr(denoiser, attribute, count)
        if trained != count:
            raise UserError(
                f"the batch has {count} {what}, but the model was trained on {trained}; expected the same"
            )


def reconstruct(
    module: DiffusionModule,
    batch: Mapping[str, Tensor],
    standardization: Standardization,
    precision: str = "32-true",
    region: TiledRegion | None = None,
) -> Ensemble:
    """Run the reverse chain of `module` on a batch of the data contract and restore it to units of the field.

    The batch is moved to the device of the module and needs no `target`; `precision` is that of the network (`autocast`), and
    `region` says how to sample a whole region (`DiffusionModule.reconstruct`).

    Raises:
        UserError: a batch that the model cannot reconstruct (`check_batch`), or an unknown precision.
    """
    on_device = {name: tensor.to(module.device) for name, tensor in batch.items()}
    # Not inference mode: weights that FSDP gathers under it could not be trained afterwards.
    with torch.no_grad(), autocast(precision, module.device):
        samples = module.reconstruct(on_device, region)
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
    """`mse`, `psnr` and `ssim` of an estimate (B, D, H, W) of one variable in units of the field, over the target mask."""
    return reconstruction_metrics(
        torch.from_numpy(estimate),
        torch.from_numpy(physical_truth(batch, standardization)),
        batch["target_mask"].cpu(),
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
        scores["crps"] = float(crps[batch["target_mask"].cpu().numpy()].mean())
    return scores


def score_first_guess(batch: Mapping[str, Tensor], standardization: Standardization) -> dict[str, float]:
    """`mse`, `psnr` and `ssim` of the first guess, and the `crps` of a Gaussian about it with its own error."""
    known = batch["target_mask"].cpu().numpy()
    guess = standardization.restore(batch["first_guess"].float().cpu().numpy())
    scores = score_estimate(guess, batch, standardization)
    deviation = batch["first_guess_error"].float().cpu().numpy() * standardization.std[:, None, None]
    error = guess - physical_truth(batch, standardization)
    return {**scores, "crps": float(gaussian_crps(error[known], deviation[known]).mean())}
