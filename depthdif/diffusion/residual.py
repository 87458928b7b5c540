"""The diffused quantity: the field itself, or its residual from a first guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# The error of an interpolation is 0 at an observed cell; this share of the standard deviation is the least that divides.
LEAST_ERROR = 0.05


class Residual(nn.Module):
    """Field to residual and back: (field - first guess) / error of the first guess, cell by cell; 0 outside the ocean.

    The residual has near unit variance in every cell, so that the network need not learn the error of the first guess (small
    near a profile, large far from all), and noise schedules suit any first guess. CorrDiff (Mardani et al. 2023,
    arXiv 2309.15214, section 3) diffuses the residual of a regression on one scale.

    The statistics are buffers, which follow the module to its device. They come with the data and are not part of the
    `state_dict`.

    Args:
        std: (C,) standard deviation of field minus first guess over the training set, standardised units; None when
            there is no first guess, and the residual is the field.
        surface_slope, surface_intercept, surface_std: (S, V), (S,) and (S,) of the regression of each surface field on the
            first guess of V variables at the shallowest depth (`ResidualStatistics`).
        anomaly_std, surface_anomaly_std: (C,) and (S,) of anomalies from the background (`ResidualStatistics`).

    Raises:
        ValueError: for a standard deviation that is not positive.
    """

    def __init__(
        self,
        std: Sequence[float] | None = None,
        surface_slope: Sequence[Sequence[float]] = (),
        surface_intercept: Sequence[float] = (),
        surface_std: Sequence[float] = (),
        anomaly_std: Sequence[float] = (),
        surface_anomaly_std: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if not all(value > 0 for value in (*(std or ()), *surface_std)):
            raise ValueError(
                f"standard deviations of the residual are {list(std or ())} and of the surface {list(surface_std)}: "
                "expected positive numbers, one a depth and one a surface field"
            )
        self.std: Tensor | None
        self.surface_slope: Tensor
        self.surface_intercept: Tensor
        self.surface_std: Tensor
        self.anomaly_std: Tensor
        self.surface_anomaly_std: Tensor
        statistics = {
            "std": std,
            "surface_slope": surface_slope,
            "surface_intercept": surface_intercept,
            "surface_std": surface_std,
            "anomaly_std": anomaly_std,
            "surface_anomaly_std": surface_anomaly_std,
        }
        for name, values in statistics.items():
            buffer = (
                None if values is None else torch.tensor(list(values), dtype=torch.float32)[..., None, None]
            )
            self.register_buffer(name, buffer, persistent=False)

    def conditions(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with the conditions that come from the first guess.

        `first_guess_error` and `first_guess_misfit` (B, D, H, W), the error of the first guess and its leave-one-out misfit at
        each observation, are scaled to units of the residual's standard deviation. `surface_innovation` (B, S, H, W), each
        surface field minus its regression on the first guess, is in standard deviations, 0 where one of the two is missing.
        `first_guess_anomaly`, `observation_anomaly` and `surface_anomaly` are departures from the background (the climatology,
        else the mean profile), in standard deviations.
        """
        if self.std is None:
            return dict(batch)
        scaled = {name: batch[name] / self.std for name in ("first_guess_error", "first_guess_misfit")}
        # The shallowest depth of each variable.
        variables = self.surface_slope.shape[1] if len(self.surface_slope) else 1
        shallowest = slice(None, None, batch["first_guess"].shape[1] // variables)
        both = batch["surface_mask"] & batch["ocean_mask"][:, shallowest].all(dim=1, keepdim=True)
        innovation = batch["surface"] - self.surface_intercept
        if len(self.surface_slope):
            innovation = innovation - (self.surface_slope * batch["first_guess"][:, None, shallowest]).sum(
                dim=2
            )
        scaled["surface_innovation"] = torch.where(both, innovation / self.surface_std, 0)
        background, surface_background = (batch.get(name) for name in ("background", "surface_background"))
        for name, part, mask, mean, std in (
            ("first_guess_anomaly", "first_guess", "ocean_mask", background, self.anomaly_std),
            ("observation_anomaly", "observations", "observed_mask", background, self.anomaly_std),
            ("surface_anomaly", "surface", "surface_mask", surface_background, self.surface_anomaly_std),
        ):
            anomaly = batch[part] if mean is None else batch[part] - mean
            scaled[name] = torch.where(batch[mask], anomaly / std, 0)
        return {**batch, **scaled}

    def scale(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, D, H, W) error of the first guess, standardised units, at least a share of its standard deviation."""
        assert self.std is not None
        error = batch["first_guess_error"]
        return torch.sqrt(error.square() + (LEAST_ERROR * self.std).square())

    def from_field(self, field: Tensor, batch: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """Residual of a standardised `field` (B, D, H, W) where `mask` holds, 0 elsewhere."""
        if self.std is None:
            return field
        return torch.where(mask, (field - batch["first_guess"]) / self.scale(batch), 0)

    def to_field(self, residual: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Standardised field of a `residual` (B, E, D, H, W) of E ensemble members, 0 outside the ocean."""
        if self.std is None:
            return residual
        restored = batch["first_guess"][:, None] + self.scale(batch)[:, None] * residual
        return torch.where(batch["ocean_mask"][:, None], restored, 0)
