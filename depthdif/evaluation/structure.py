"""Scales and fronts of the fields of a method: spectra and gradients over whole patches, observed cells too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from depthdif.scores.gradients import gradient_magnitude, gradient_mask
from depthdif.scores.spectra import WindowSpectra, effective_resolution, isotropic

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Thresholds of the distribution of gradients per 100 km, in units of the largest standard deviation of the field.
GRADIENT_EDGES = np.geomspace(1e-3, 10, 41)


@dataclass(eq=False)
class Structure:
    """Running sums over patches of D depths.

    Args:
        windows: of the spectra; None where the patches are too small for them.
        scale: largest standard deviation of the field over its depths, physical units.

    Attributes:
        power, error_power, modes: (D, K) of each patch, see `WindowSpectra.sums`; empty without windows.
        steepness: (D, G + 1) count of gradients between two of the G `thresholds`, below and above all.
    """

    windows: WindowSpectra | None
    scale: float
    power: list[Array] = field(default_factory=list)
    error_power: list[Array] = field(default_factory=list)
    modes: list[Array] = field(default_factory=list)
    steepness: Array = field(default_factory=lambda: np.zeros(()))

    @property
    def thresholds(self) -> Array:
        """(G,) gradients, units of the field per 100 km."""
        return self.scale * GRADIENT_EDGES

    @property
    def shares_above(self) -> Array:
        """(D, G) share of the gradients above each of the `thresholds`; NaN where a level has no gradient."""
        total = self.steepness.sum(axis=1, keepdims=True)
        above = self.steepness[:, ::-1].cumsum(axis=1)[:, -2::-1]
        return above / np.where(total > 0, total, np.nan)

    def add_spectra(self, members: Array, truth: Array, ocean: Mask, latitude: Array) -> None:
        """Spectra of the members (E, D, H, W) of a patch and of their errors."""
        if self.windows is None:
            return
        chosen = self.windows.free_of_land(ocean)
        power, modes = self.windows.sums(members, chosen, latitude)
        error_power, _ = self.windows.sums(members - truth, chosen, latitude)
        self.power.append(power)
        self.error_power.append(error_power)
        self.modes.append(modes)

    def add_gradients(self, members: Array, ocean: Mask, latitude: Array, longitude: Array) -> None:
        """Gradients of the members (E, D, H, W) of a patch."""
        cells = np.broadcast_to(
            gradient_mask(ocean), (*members.shape[:2], *(size - 1 for size in ocean.shape[1:]))
        )
        steepness = gradient_magnitude(members, latitude, longitude)[cells]
        level = np.nonzero(cells)[1]
        bins = len(GRADIENT_EDGES) + 1
        place = level * bins + np.searchsorted(self.thresholds, steepness)
        self.steepness = self.steepness + np.bincount(place, minlength=len(ocean) * bins).reshape(-1, bins)

    def spectra(self) -> tuple[Array, Array] | None:
        """(D, K) isotropic spectra and those of the error, NaN where no window is free of land; None without any."""
        modes = np.sum(self.modes, axis=0)
        if self.windows is None or not modes.any():
            return None
        power, error_power = (
            isotropic(np.sum(parts, axis=0), modes, self.windows.wavenumbers)
            for parts in (self.power, self.error_power)
        )
        return power, error_power

    def scale_scores(self, truth: Structure, weights: Array) -> dict[str, Array]:
        """Scores (S, D) of the scales, with the P patches weighted by each row of `weights` (S, P); empty without windows.

        `resolution`, see `effective_resolution`, and `small_scale_power`: the variance at wavelengths shorter than four cells
        over that of the `truth`. NaN where they are not defined.
        """
        if self.windows is None:
            return {}
        power, error_power, truth_power = (
            np.tensordot(weights, np.stack(parts), axes=1)
            for parts in (self.power, self.error_power, truth.power)
        )
        wavenumbers = self.windows.wavenumbers
        modes = np.tensordot(weights, np.stack(self.modes), axes=1)
        short = np.arange(1, len(wavenumbers) + 1) > self.windows.window / 4
        small, true_small = (
            isotropic(sums, modes, wavenumbers)[..., short].sum(axis=-1) for sums in (power, truth_power)
        )
        return {
            "resolution": effective_resolution(error_power, truth_power, wavenumbers),
            "small_scale_power": small / np.where(true_small > 0, true_small, np.nan),
        }
