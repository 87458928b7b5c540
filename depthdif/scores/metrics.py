"""Scores of a reconstruction against the truth, over ocean cells only.

All functions take fields of shape (B, D, H, W) in physical units and a boolean `ocean_mask` of the same shape; values outside
the mask have no effect.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.regression import mean_squared_error

SSIM_WINDOW = 7


def windows_free_of_land(ocean_mask: Tensor, window: int = SSIM_WINDOW) -> Tensor:
    """(B, D, H, W) bool: centres of the windows of `window` x `window` cells that contain only ocean and lie in the patch."""
    land = 1 - ocean_mask.float()
    margin = window // 2
    # A cell beyond the edge counts as land, because it may be land.
    touched = functional.max_pool2d(functional.pad(land, [margin] * 4, value=1.0), window, stride=1)
    return touched == 0


def ocean_ssim(
    reconstruction: Tensor, truth: Tensor, ocean_mask: Tensor, minimum: Tensor, maximum: Tensor
) -> float | None:
    """Structural similarity (Wang et al. 2004), averaged over windows free of land.

    Each depth is scaled by its own training range, `minimum` to `maximum` (D,), because the range of the surface is much larger
    than that at 1000 m. A depth with a constant training value is left out of the mean. None without any window.
    """
    low, high = (bound.to(truth)[:, None, None] for bound in (minimum, maximum))
    varies = high > low
    inner = windows_free_of_land(ocean_mask) & varies
    if not inner.any():
        return None
    contrast = torch.where(varies, high - low, 1.0)
    # The constant over land enters only windows that are not counted.
    images = [torch.where(ocean_mask, (field - low) / contrast, 0.5) for field in (reconstruction, truth)]
    _, similarity = structural_similarity_index_measure(
        *images,
        gaussian_kernel=False,
        kernel_size=SSIM_WINDOW,
        data_range=1.0,
        return_full_image=True,
        reduction="none",
    )
    return float(similarity[inner].mean())


def reconstruction_metrics(
    reconstruction: Tensor, truth: Tensor, ocean_mask: Tensor, minimum: Tensor, maximum: Tensor
) -> dict[str, float]:
    """`mse` (squared units of the field), `psnr` (dB) and `ssim` of a batch; a score that cannot be computed is left out.

    `minimum` and `maximum` (D,) are the training range of each depth. The data range of the PSNR, 10 log10(range^2 / MSE), spans
    all depths; it is fixed, so that scores of different patches, epochs and runs compare.
    """
    cells = reconstruction[ocean_mask], truth[ocean_mask]
    scores = {
        "mse": float(mean_squared_error(*cells)),
        "psnr": float(peak_signal_noise_ratio(*cells, data_range=float(maximum.max() - minimum.min()))),
    }
    ssim = ocean_ssim(reconstruction, truth, ocean_mask, minimum, maximum)
    return scores if ssim is None else scores | {"ssim": ssim}
