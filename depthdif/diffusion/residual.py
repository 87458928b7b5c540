"""What is diffused: the field itself, or what a first guess leaves of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# An interpolation knows no error at an observed cell; the residual there is counted in this share of its standard deviation.
LEAST_ERROR = 0.05


class Residual:
    """Field to residual and back: (field - first guess) / error of the first guess, cell by cell; 0 outside the ocean.

    Near unit variance in every cell: what a first guess knows of its own error (small near a profile, large in a sea without
    one) is not left for the network to learn, and noise schedules and networks work alike with any first guess. CorrDiff
    (Mardani et al. 2023, arXiv 2309.15214, section 3) diffuses the residual of a regression, on one scale.

    Args:
        std: (D,) standard deviation of field minus first guess over the training set, standardised units; None when
            there is no first guess, and the residual is the field.
        surface_slope, surface_intercept, surface_std: (S,) of the regression of each surface field on the shallowest depth
            of the first guess (`ResidualStatistics`).

    Raises:
        ValueError: for a standard deviation that is not positive.
    """

    def __init__(
        self,
        std: Sequence[float] | None = None,
        surface_slope: Sequence[float] = (),
        surface_intercept: Sequence[float] = (),
        surface_std: Sequence[float] = (),
    ) -> None:
        if not all(value > 0 for value in (*(std or ()), *surface_std)):
            raise ValueError(
                f"standard deviations of the residual are {list(std or ())} and of the surface {list(surface_std)}: "
                "expected positive numbers, one a depth and one a surface field"
            )
        self.std = None if std is None else _channels(std)
        self.surface_slope = _channels(surface_slope)
        self.surface_intercept = _channels(surface_intercept)
        self.surface_std = _channels(surface_std)

    def conditions(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with what the network sees of the first guess.

        `first_guess_error` and `first_guess_misfit` (B, D, H, W) come in units of the residual's standard deviation: how far it
        trusts itself, and by how much it misses each observation when that is left out. `surface_innovation`
        (B, S, H, W) is each surface field minus what the first guess says of it, in standard deviations, 0 where one of them
        is missing: innovations are what data assimilation calls an observation minus its forecast.
        """
        if self.std is None:
            return dict(batch)
        std = self.std.to(batch["first_guess"].device)
        scaled = {name: batch[name] / std for name in ("first_guess_error", "first_guess_misfit")}
        return {**batch, **scaled, "surface_innovation": self.surface_innovation(batch)}

    def surface_innovation(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, S, H, W), see `conditions`."""
        surface, guess = batch["surface"], batch["first_guess"][:, :1]
        slope, intercept, std = (
            row.to(surface.device) for row in (self.surface_slope, self.surface_intercept, self.surface_std)
        )
        both = batch["surface_mask"] & batch["ocean_mask"][:, :1]
        return torch.where(both, (surface - intercept - slope * guess) / std, 0)

    def scale(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, D, H, W) error of the first guess, standardised units, at least a share of its standard deviation."""
        assert self.std is not None
        error = batch["first_guess_error"]
        return torch.sqrt(error.square() + (LEAST_ERROR * self.std.to(error.device)).square())

    def of(self, field: Tensor, batch: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """Residual of a standardised `field` (B, D, H, W) where `mask` holds, 0 elsewhere."""
        if self.std is None:
            return field
        return torch.where(mask, (field - batch["first_guess"]) / self.scale(batch), 0)

    def field(self, residual: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Standardised field of a `residual` (B, E, D, H, W) of E ensemble members, 0 outside the ocean."""
        if self.std is None:
            return residual
        restored = batch["first_guess"][:, None] + self.scale(batch)[:, None] * residual
        return torch.where(batch["ocean_mask"][:, None], restored, 0)


def _channels(values: Sequence[float]) -> Tensor:
    """(C, 1, 1) float32."""
    return torch.tensor(list(values), dtype=torch.float32)[:, None, None]
