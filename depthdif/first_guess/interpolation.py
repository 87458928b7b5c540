"""A first guess that interpolates the anomalies of profiles from a background, whatever grid they lie on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from depthdif import UserError
from depthdif.first_guess.columns import Profiles
from depthdif.first_guess.covariance import Cells
from depthdif.first_guess.protocol import FirstGuessResult, PatchData

BACKGROUNDS = ("mean_profile", "climatology")

# Pairs of a profile and a cell that are computed at a time: what the cache of a CPU holds, and 128 MiB elsewhere.
_CPU_PAIRS, _DEVICE_PAIRS = 2**18, 2**24


class Sources(NamedTuple):
    """N profiles of each of B sets of them, in the order of `ObservedColumns`.

    Attributes:
        cells: N x 1, where they lie.
        profiles: anomalies, as `Interpolation.prepared` returns them.
        incomplete, late: the most of a set, see `ObservedColumns`.
        surface_slopes: (B, D, S) of `Regressions`; None where they are not used.
    """

    cells: Cells
    profiles: Profiles
    incomplete: int
    late: int
    surface_slopes: Tensor | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolation:
    """A first guess that interpolates the anomalies of the observations from a background.

    Args:
        background: "mean_profile", the training mean of each level, or "climatology", the `background` of a patch; the surface
            fields are then anomalies as well.

    Raises:
        UserError: another background, or (when called) patches without climatology.
    """

    background: str = "mean_profile"

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise UserError(
                f"model.first_guess.background={self.background}; expected {' or '.join(BACKGROUNDS)}, e.g. "
                "model.first_guess.background=mean_profile"
            )

    def __call__(self, patches: PatchData) -> FirstGuessResult:
        """See `FirstGuess`."""
        *_, height, width = patches.shape
        result = FirstGuessResult(
            *_in_parts(self._interpolate, self.about_background(patches), height * width)
        )
        if self.background == "mean_profile" or patches.background is None:
            return result
        return result._replace(
            estimate=result.estimate + torch.where(patches.ocean_mask, patches.background, 0)
        )

    def leave_one_out(self, patches: PatchData) -> tuple[Tensor, Tensor]:
        """See `FirstGuess`."""
        profiles = max(patches.columns.count)
        misfit, variance = _in_parts(self._cross_validate, self.about_background(patches), profiles)
        return misfit, variance

    def about_background(self, patches: PatchData) -> PatchData:
        """Patches whose values are anomalies from the background."""
        return patches if self.background == "mean_profile" else patches.anomalies()

    def _interpolate(self, patches: PatchData) -> FirstGuessResult:
        cells = self.cells(patches)
        *fields, misfit, misfit_variance = self.estimate(
            self._sources(patches, cells), cells, patches.columns.index
        )
        estimate, variance = (
            torch.where(patches.ocean_mask, field.view(patches.shape), 0).float() for field in fields
        )
        return FirstGuessResult(estimate, variance, patches.on_grid(misfit), patches.on_grid(misfit_variance))

    def _cross_validate(self, patches: PatchData) -> tuple[Tensor, Tensor]:
        misfit, variance = self.cross_validate(self._sources(patches, self.cells(patches)))
        return patches.on_grid(misfit), patches.on_grid(variance)

    def _sources(self, patches: PatchData, cells: Cells) -> Sources:
        columns = patches.columns
        sources = cells.take(columns.index)
        return Sources(
            sources,
            self.prepared(patches, sources),
            max(columns.incomplete),
            max(columns.late),
            patches.surface_slopes,
        )

    def cells(self, patches: PatchData, *, wraps: bool = False) -> Cells:
        """The cells of patches, with what is used of their surface; for `wraps` see `fill_surface`."""
        return Cells.on_grid(
            patches.latitude, patches.longitude, patches.surface, patches.surface_mask, wraps=wraps
        )

    def prepared(self, patches: PatchData, sources: Cells) -> Profiles:
        """The profiles of patches as they are interpolated; `sources` are their N x 1 cells."""
        return patches.profiles()

    def scales(self) -> tuple[float, float]:
        """Distances north to south and along a parallel, km, over which profiles have the same weight."""
        return 1.0, 1.0

    def estimate(
        self, sources: Sources, targets: Cells, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Interpolate profiles to h x w cells, about a background of 0.

        `place` (B, N) is the number of the cell of each profile among the targets, any other where it is none.

        Returns:
            Estimate and error variance (B, D, h w), misfit and its variance (B, D, N), float64; see `FirstGuessResult`.
        """
        raise NotImplementedError

    def cross_validate(self, sources: Sources) -> tuple[Tensor, Tensor]:
        """Misfit and its variance (B, D, N), float64; see `FirstGuessResult`."""
        raise NotImplementedError


def pairs_at_once(device: torch.device) -> int:
    """How many pairs of a profile and a cell should be computed at a time, which bounds the memory."""
    return _CPU_PAIRS if device.type == "cpu" else _DEVICE_PAIRS


def _in_parts(
    function: Callable[[PatchData], Sequence[Tensor]], patches: PatchData, partners: int
) -> list[Tensor]:
    """`function` of patches with similar numbers of profiles together, so that little is padded; in the order of the patches.

    `partners` is the number of cells that each profile is paired with.
    """
    count = patches.columns.count
    order = sorted(range(len(count)), key=count.__getitem__, reverse=True)
    results, start = [], 0
    while start < len(order):
        pairs = max(1, count[order[start]] * partners)
        part = order[start : start + max(1, pairs_at_once(patches.observations.device) // pairs)]
        results.append(function(patches.take(part)))
        start += len(part)
    place = patches.index(sorted(range(len(order)), key=order.__getitem__))
    return [torch.cat(fields)[place] for fields in zip(*results, strict=True)]
