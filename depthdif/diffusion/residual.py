"""What is diffused: the field itself, or what a first guess leaves of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Residual:
    """Field to residual and back: (field - first guess) / standard deviation, per depth; 0 outside the ocean.

    Small where the first guess is good, of unit variance over the training set, so that noise schedules and networks work
    alike with any first guess (CorrDiff, Mardani et al. 2023, arXiv 2309.15214, section 3, has the same split).

    Args:
        std: (D,) standard deviation of field minus first guess over the training set, standardised units; None when
            there is no first guess, and the residual is the field.

    Raises:
        ValueError: for a standard deviation that is not positive.
    """

    def __init__(self, std: Sequence[float] | None = None) -> None:
        if std is not None and not all(value > 0 for value in std):
            raise ValueError(
                f"the standard deviation of the residual is {list(std)}: expected positive numbers, one a depth"
            )
        self.std = None if std is None else torch.as_tensor(std, dtype=torch.float32)

    def conditions(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with the error of the first guess in units of the residual, where a network sees it best."""
        if self.std is None:
            return dict(batch)
        scale = self.std.to(batch["first_guess_error"].device)[:, None, None]
        return {**batch, "first_guess_error": batch["first_guess_error"] / scale}

    def of(self, field: Tensor, batch: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """Residual of a standardised `field` (B, D, H, W) where `mask` holds, 0 elsewhere."""
        if self.std is None:
            return field
        scale = self.std.to(field.device)[:, None, None]
        return torch.where(mask, (field - batch["first_guess"]) / scale, 0)

    def field(self, residual: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Standardised field of a `residual` (B, E, D, H, W) of E ensemble members, 0 outside the ocean."""
        if self.std is None:
            return residual
        scale = self.std.to(residual.device)[:, None, None]
        restored = batch["first_guess"][:, None] + scale * residual
        return torch.where(batch["ocean_mask"][:, None], restored, 0)
