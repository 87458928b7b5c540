"""Radially averaged power spectra of ocean fields, from windows without land."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from depthdif import EARTH_RADIUS

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class WindowSpectra:
    """Spectra over square windows without land, half a patch wide; neighbours overlap by half (Welch 1967).

    A value on land would appear in the spectrum as a coast line: at each level, only windows that contain no land are used. In
    each a plane is removed and the rest multiplied by a Hann window.

    Args:
        window: cells of a side, n.
        row_spacing: km from row to row.
        column_degrees: degrees from column to column; their distance shrinks with the cosine of latitude.
    """

    window: int
    row_spacing: float
    column_degrees: float

    @classmethod
    def from_grid(
        cls, patch_size: tuple[int, int], latitude: Array, longitude: Array
    ) -> WindowSpectra | None:
        """For patches of a grid in degrees; None where half a patch is too small."""
        window = min(patch_size) // 2
        # Smaller windows resolve too few wavenumbers.
        if window < 8:
            return None
        kilometres = np.radians(np.median(np.abs(np.diff(latitude)))) * EARTH_RADIUS
        return cls(window, float(kilometres), float(np.median(np.diff(longitude))))

    @property
    def wavenumbers(self) -> Array:
        """(K,) cycles per km of the rings: 1 to n / 2 waves along a column of the window."""
        return np.arange(1, self.window // 2 + 1) / (self.window * self.row_spacing)

    def free_of_land(self, ocean_mask: Mask) -> Mask:
        """Windows (D, R, C) without land in a patch (D, H, W); their corners are half a window apart."""
        return np.all(self._windows(ocean_mask), axis=(-2, -1))

    def sums(self, fields: Array, chosen: Mask, latitude: Array) -> tuple[Array, Array]:
        """Power summed over the modes of each ring and the windows of each level, and the number of modes, both (D, K).

        Power is the two-dimensional spectral density, units² km², averaged over the E members of the fields (E, D, H, W), finite
        in the windows. `chosen` (D, R, C) are windows from `free_of_land`; latitude (H,) is in degrees north.
        """
        depths, rows, _ = np.nonzero(chosen)
        power, count = (np.zeros((len(chosen), len(self.wavenumbers))) for _ in range(2))
        density = self.density(self._windows(fields)[:, chosen]).mean(axis=0)
        centres = sliding_window_view(latitude, self.window)[:: self.window // 2].mean(axis=-1)
        for row in np.unique(rows):
            here = rows == row
            column_spacing = np.radians(self.column_degrees) * EARTH_RADIUS * np.cos(np.radians(centres[row]))
            rings = self.rings(column_spacing)
            summed = density[here].reshape(here.sum(), -1) * self.row_spacing * column_spacing
            np.add.at(power, depths[here], summed @ rings)
            np.add.at(count, depths[here], rings.sum(axis=0))
        return power, count

    def density(self, windows: Array) -> Array:
        """|FFT|² of (..., n, n) without plane and with the Hann window; its mean is the variance of white noise."""
        size = self.window
        step = np.arange(size) - (size - 1) / 2
        rest = windows - windows.mean(axis=(-2, -1), keepdims=True)
        for along in (step[:, None], step[None, :]):
            slope = (rest * along).sum(axis=(-2, -1), keepdims=True) / (size * (step**2).sum())
            rest = rest - slope * along
        # Periodic: with the symmetric window a mode leaks into more than its neighbours.
        hann = np.sin(np.pi * np.arange(size) / size) ** 2
        taper = hann[:, None] * hann[None, :]
        return np.abs(np.fft.fft2(rest * taper)) ** 2 / (taper**2).sum()

    def rings(self, column_spacing: float) -> Array:
        """(n², K), 1 for a mode within half a ring width of the wavenumber of a ring."""
        down = np.fft.fftfreq(self.window, self.row_spacing)[:, None]
        across = np.fft.fftfreq(self.window, column_spacing)[None, :]
        nearest = np.rint(np.hypot(down, across) * self.window * self.row_spacing).ravel()
        return (nearest[:, None] == np.arange(1, self.window // 2 + 1)).astype(np.float64)

    def _windows(self, cells: NDArray) -> NDArray:
        half = self.window // 2
        return sliding_window_view(cells, (self.window, self.window), axis=(-2, -1))[
            ..., ::half, ::half, :, :
        ]


def isotropic(power: Array, count: Array, wavenumbers: Array) -> Array:
    """Spectrum of variance over the size of the wavenumber, units² km: 2 pi k times the mean density; NaN without modes.

    Its integral over k is the variance. All shapes (..., K).
    """
    return 2 * np.pi * wavenumbers * power / np.where(count > 0, count, np.nan)


def effective_resolution(error_power: Array, truth_power: Array, wavenumbers: Array) -> Array:
    """Shortest wavelength, in km, above which the power of the error stays below half of that of the truth.

    From the longest wave downwards, the first crossing of the ratio with 0.5 (Ballarotta et al. 2019,
    doi 10.5194/os-15-1091-2019), interpolated linearly over the logarithm of the wavelength. Powers are (..., K), `wavenumbers`
    (K,) ascending in cycles per km; the result is (...). It is NaN where the ratio of the longest wave is at 0.5 or above, or
    not defined. Where the ratio stays below 0.5 throughout it is the shortest wavelength: the resolution is that or finer.
    """
    ratio = error_power / np.where(truth_power > 0, truth_power, np.nan)
    # Not `ratio >= 0.5`: a ring without power resolves nothing.
    unresolved = ~(ratio < 0.5)
    after = unresolved.argmax(axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(ratio, ring, axis=-1)[..., 0] for ring in (before, after))
    near, far = (-np.log(wavenumbers)[ring[..., 0]] for ring in (after, before))
    crosses = after[..., 0] > 0
    share = (0.5 - low) / np.where(crosses, high - low, np.nan)
    crossing = np.exp(far + share * (near - far))
    return np.where(unresolved.any(axis=-1), crossing, 1 / wavenumbers[-1])
