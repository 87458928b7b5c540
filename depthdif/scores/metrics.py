"""Scores of a reconstruction against the truth, over ocean cells only.

All functions take fields of shape (B, D, H, W) in physical units (deg C for temperature) and a boolean `ocean_mask` of the same
shape; what the fields hold outside the mask never matters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.regression import mean_squared_error

SSIM_WINDOW = 7


def ocean_mse(reconstruction: Tensor, truth: Tensor, ocean_mask: Tensor) -> float:
    """Mean squared error in squared units of the field."""
    return float(mean_squared_error(reconstruction[ocean_mask], truth[ocean_mask]))


def ocean_psnr(reconstruction: Tensor, truth: Tensor, ocean_mask: Tensor, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE).

    `data_range` is one fixed number in units of the field, so that scores of different patches, epochs and runs compare.
    """
    return float(
        peak_signal_noise_ratio(reconstruction[ocean_mask], truth[ocean_mask], data_range=float(data_range))
    )


def windows_free_of_land(ocean_mask: Tensor, window: int = SSIM_WINDOW) -> Tensor:
    """Centres of the `window` x `window` cells that are ocean throughout and lie within the patch: (B, D, H, W) bool."""
    land = 1 - ocean_mask.float()
    margin = window // 2
    # A cell beyond the edge counts as land: the patch does not know what lies there.
    touched = functional.max_pool2d(functional.pad(land, [margin] * 4, value=1.0), window, stride=1)
    return touched == 0


def ocean_ssim(
    reconstruction: Tensor,
    truth: Tensor,
    ocean_mask: Tensor,
    minimum: Tensor,
    maximum: Tensor,
    window: int = SSIM_WINDOW,
) -> float | None:
    """Structural similarity (Wang et al. 2004), averaged over windows free of land.

    `minimum` and `maximum` (D,) are the range of each depth in the training statistics: each depth is scaled by its own, else the
    warm surface would set the contrast that counts at 1000 m. A depth whose training values are all the same has no contrast to
    compare; it is left out of the mean. None when no window is left.
    """
    low, high = (bound.to(truth)[:, None, None] for bound in (minimum, maximum))
    varies = high > low
    inner = windows_free_of_land(ocean_mask, window) & varies
    if not inner.any():
        return None
    contrast = torch.where(varies, high - low, 1.0)
    # One constant over land in both: it only enters windows that are not counted.
    images = [torch.where(ocean_mask, (field - low) / contrast, 0.5) for field in (reconstruction, truth)]
    _, similarity = structural_similarity_index_measure(
        *images,
        gaussian_kernel=False,
        kernel_size=window,
        data_range=1.0,
        return_full_image=True,
        reduction="none",
    )
    return float(similarity[inner].mean())


def reconstruction_metrics(
    reconstruction: Tensor, truth: Tensor, ocean_mask: Tensor, minimum: Tensor, maximum: Tensor
) -> dict[str, float]:
    """`mse`, `psnr` and `ssim` of a batch; a score that cannot be computed is left out.

    `minimum` and `maximum` (D,) are the training range of each depth; the data range of the PSNR spans all depths.
    """
    scores: dict[str, float | None] = {
        "mse": ocean_mse(reconstruction, truth, ocean_mask),
        "psnr": ocean_psnr(reconstruction, truth, ocean_mask, float(maximum.max() - minimum.min())),
        "ssim": ocean_ssim(reconstruction, truth, ocean_mask, minimum, maximum),
    }
    return {name: score for name, score in scores.items() if score is not None}
