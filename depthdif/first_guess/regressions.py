"""What the surface fields and the levels of a profile say of the other levels, by regression over the training region."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthdif import UserError
from depthdif.first_guess.columns import Profiles
from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.protocol import PatchData

# A level of which the others explain a smaller share of variance is not estimated from them.
_LEAST_SHARE = 0.1

# Covariances between levels, of all profiles together, that are computed at a time.
_AT_ONCE = 2**22


@dataclasses.dataclass(frozen=True, eq=False)
class Regressions:
    """Of the standardised anomalies from the background of a first guess.

    Attributes:
        surface_slopes: (D, S) float32, multiple linear regression of each level on the surface fields.
        level_covariance: (D, D) float32, covariance between levels of the remainder of that regression.
        surface_products: (D, S, S) float32, mean products of the surface fields over the cells of each level.
    """

    surface_slopes: np.ndarray
    level_covariance: np.ndarray
    surface_products: np.ndarray

    def given(self, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slopes (D, S) and level covariance (D, D), float32, of the regression on the surface fields `present` (S,) bool alone.

        With the products P of a level, and slopes b on all fields, the normal equations of the fields s that are left are
        P_ss b_s = P_s b. What they explain less is added to the covariance, as if all levels had the products of the shallowest.
        """
        if present.all():
            return self.surface_slopes, self.level_covariance
        products, slopes = self.surface_products.astype(np.float64), self.surface_slopes.astype(np.float64)
        fewer = np.zeros_like(slopes)
        # The products are rounded to float32.
        inverse = np.linalg.pinv(products[:, present][:, :, present], rcond=1e-6, hermitian=True)
        fewer[:, present] = np.einsum("dst,dtu,du->ds", inverse, products[:, present], slopes)
        lost = slopes - fewer
        covariance = self.level_covariance + lost @ products[0] @ lost.T
        return fewer.astype(np.float32), covariance.astype(np.float32)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Regressions:
        """From its attributes by name, as tensors or lists; UserError where some are missing."""
        if missing := {field.name for field in dataclasses.fields(cls)} - state.keys():
            raise UserError(
                f"the checkpoint was trained by another version of depthdif: its regressions lack {', '.join(sorted(missing))}; "
                "train again with this version, or open it with that one"
            )
        return cls(**{name: np.asarray(state[name], np.float32) for name in state})


def measure_regressions(
    batches: Callable[[], Iterable[Mapping[str, Any]]], background: str, apart: int = 1
) -> Regressions:
    """Regressions over all cells with a target of some batches of the data contract, which are passed through twice.

    `background` is that of the first guess. As in its use, missing surface cells are interpolated. Channels of `apart` equal
    parts, such as variables, have no covariance with those of the other parts.
    """
    products, moments = torch.zeros(()), torch.zeros(())
    for anomaly, ocean, surface in _cells(batches(), background):
        pairs = (surface[:, None] * surface).flatten(0, 1)
        products = products + ocean @ pairs.mT
        moments = moments + anomaly @ surface.mT
    surfaces = moments.shape[1]
    products = products.unflatten(1, (surfaces, surfaces))
    slopes = (torch.linalg.pinv(products, hermitian=True) @ moments[..., None])[..., 0]
    squares, count = torch.zeros(()), torch.zeros(())
    for anomaly, ocean, surface in _cells(batches(), background):
        remainder = anomaly - ocean * (slopes @ surface)
        squares = squares + remainder @ remainder.mT
        count = count + ocean @ ocean.mT
    # Levels of different depths have different cells, so that the covariance may be slightly indefinite.
    covariance = squares / count.clamp(min=1)
    levels = len(covariance) // apart
    covariance = torch.block_diag(
        *(
            covariance[start : start + levels, start : start + levels]
            for start in range(0, len(covariance), levels)
        )
    )
    values, vectors = torch.linalg.eigh(covariance)
    covariance = (vectors * values.clamp(min=0)) @ vectors.mT
    means = products / count.diagonal().clamp(min=1)[:, None, None]
    return Regressions(*(part.float().numpy() for part in (slopes, covariance, means)))


def _cells(batches: Iterable[Mapping[str, Any]], background: str) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """Anomalies (D, N), 0 without a target, target mask (D, N) and surface (S, N) of the cells of each batch, float64."""
    for batch in batches:
        patches, anomaly = PatchData.from_batch(batch), batch["target"].double()
        if background == "climatology":
            patches, anomaly = patches.anomalies(), anomaly - patches.background
        ocean, surface = batch["target_mask"], fill_surface(patches.surface, patches.surface_mask)
        parts = (torch.where(ocean, anomaly, 0), ocean.double(), surface)
        anomaly, ocean, surface = (part.transpose(0, 1).flatten(1) for part in parts)
        yield anomaly, ocean, surface


def completed(
    profiles: Profiles, ocean: Tensor, covariance: Tensor, nugget: float, incomplete: int
) -> Profiles:
    """Profiles with the ocean levels that they miss estimated from those that they have.

    With variance c of a level, of which the observed levels explain a share p, their regression x is the posterior mean of
    a prior N(0, c). It is that of an observation x / p with noise c (1 / p - 1), which is returned: the prior is left to the
    interpolation.

    Args:
        profiles: anomalies from background and regression on the surface.
        ocean: (B, D, N) bool, the levels above the sea floor.
        covariance: (B, D, D) between levels.
        nugget: noise of the observations, relative to the variance of their level.
        incomplete: all columns but the last so many are observed at all levels.
    """
    batch, depths, columns = ocean.shape
    covariance = covariance.double()[:, None]
    parts = [part.clone() for part in profiles]
    step = max(1, _AT_ONCE // max(1, batch * depths**2))
    for start in range(columns - incomplete, columns, step):
        some = slice(start, start + step)
        known = Profiles(*(part[..., some] for part in profiles))
        added, *filled = _estimated(known, ocean[..., some], covariance, nugget)
        for part, values in zip(parts, filled, strict=True):
            part[..., some] = torch.where(added, values, part[..., some].mT).mT
    return Profiles(*parts)


def _estimated(
    profiles: Profiles, ocean: Tensor, covariance: Tensor, nugget: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The levels that are estimated of each profile, their values, that they are observed and their noise, (B, N, D)."""
    seen, variance = profiles.observed.mT, covariance.diagonal(dim1=2, dim2=3)
    across = covariance * seen[..., None]
    # Levels without observation have a row of the identity: one stack of systems solves all profiles.
    matrix = across * seen[..., None, :]
    matrix.diagonal(dim1=2, dim2=3).add_(torch.where(seen, (nugget + 1e-6) * variance + 1e-30, 1))
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky_ex(matrix).L,
        torch.cat([across, profiles.values.mT[..., None]], dim=3),
        upper=False,
    )
    across, values = whitened[..., :-1], whitened[..., -1:]
    estimate, explained = (across.mT @ values)[..., 0], across.square().sum(dim=2)
    share = (explained / torch.where(variance > 0, variance, 1)).clamp(max=1)
    added = ocean.mT & seen.any(dim=2, keepdim=True) & ~seen & (share > _LEAST_SHARE)
    safe = torch.where(added, share, 1)
    return added, estimate / safe, torch.ones_like(added), 1 / safe - 1
