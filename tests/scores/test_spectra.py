from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif import EARTH_RADIUS
from depthdif.scores.spectra import WindowSpectra, effective_resolution, isotropic

DEGREE = np.radians(1) * EARTH_RADIUS
SPECTRA = WindowSpectra(window=16, row_spacing=DEGREE, column_degrees=1.0)
EQUATOR = np.zeros(32)


def spectrum(
    fields: np.ndarray, latitude: np.ndarray = EQUATOR, ocean: np.ndarray | None = None
) -> np.ndarray:
    """(D, K) of fields (E, D, H, W)."""
    chosen = SPECTRA.free_of_land(np.ones(fields.shape[1:], bool) if ocean is None else ocean)
    return isotropic(*SPECTRA.sums(fields, chosen, latitude), SPECTRA.wavenumbers)


def wave(across: float, down: float) -> np.ndarray:
    """A plane wave with so many cycles in 16 cells, (1, 1, 32, 32)."""
    rows, columns = np.mgrid[:32, :32]
    return np.cos(2 * np.pi * (across * columns + down * rows) / 16)[None, None]


@pytest.mark.parametrize(("across", "down", "ring"), [(3, 0, 3), (0, 5, 5), (3, 4, 5)])
def test_a_plane_wave_peaks_at_its_wavenumber_whatever_its_direction(
    across: int, down: int, ring: int
) -> None:
    power = spectrum(wave(across, down))[0]
    assert SPECTRA.wavenumbers[power.argmax()] == pytest.approx(ring / (16 * DEGREE))
    # Beyond the neighbours that a Hann window leaks into.
    assert power[np.abs(np.arange(1, 9) - ring) > 2].sum() < 0.01 * power.sum()


def test_a_wave_keeps_its_variance() -> None:
    windows = wave(3, 0)[0, :, :16, :16]
    assert SPECTRA.density(windows).mean() == pytest.approx(0.5, rel=0.02)


def test_the_wavelength_of_a_zonal_wave_shrinks_towards_the_pole() -> None:
    power = spectrum(wave(3, 0), latitude=np.full(32, 60.0))[0]
    assert power.argmax() + 1 == 6


def test_the_density_of_white_noise_is_flat_and_its_variance() -> None:
    noise = 2 * np.random.default_rng(0).normal(size=(300, 1, 32, 32))
    # The plane that is removed takes a little of the longest waves.
    expected = 2 * np.pi * SPECTRA.wavenumbers * 4 * DEGREE**2
    assert spectrum(noise)[0, 1:] == pytest.approx(expected[1:], rel=0.05)


def test_a_plane_has_no_spectrum() -> None:
    rows, columns = np.mgrid[:32, :32]
    assert spectrum((3.0 + 2 * rows - columns)[None, None])[0] == pytest.approx(0, abs=1e-12)


def test_land_never_enters_a_window() -> None:
    fields = np.random.default_rng(0).normal(size=(1, 1, 32, 32))
    ocean = np.ones((1, 32, 32), bool)
    ocean[0, 20:, 20:] = False
    wild = np.where(ocean, fields, np.nan)
    assert SPECTRA.free_of_land(ocean)[0].tolist() == [[True] * 3, [True, False, False], [True, False, False]]
    assert np.isfinite(spectrum(wild, ocean=ocean)).all()
    assert np.array_equal(spectrum(wild, ocean=ocean), spectrum(fields, ocean=ocean))


def test_a_level_without_a_free_window_has_no_spectrum() -> None:
    ocean = np.ones((2, 32, 32), bool)
    ocean[1, ::10] = False
    power = spectrum(np.random.default_rng(0).normal(size=(1, 2, 32, 32)), ocean=ocean)
    assert np.isfinite(power[0]).all()
    assert np.isnan(power[1]).all()


def test_windows_are_half_a_patch_and_small_patches_have_none() -> None:
    latitude, longitude = np.arange(-20, 20, 2.0), np.arange(0, 60, 2.0)
    made = WindowSpectra.from_grid((32, 40), latitude, longitude)
    assert made == WindowSpectra(16, pytest.approx(2 * DEGREE), 2.0)
    assert WindowSpectra.from_grid((14, 40), latitude, longitude) is None


WAVENUMBERS = np.arange(1, 9) / 400.0


@given(st.floats(55, 350))
def test_the_resolution_of_an_error_that_grows_with_the_logarithm_of_the_wavelength_is_where_it_is_half(
    resolved: float,
) -> None:
    truth = WAVENUMBERS**-3.0
    ratio = 0.5 + 0.1 * np.log(resolved * WAVENUMBERS)
    assert effective_resolution(ratio * truth, truth, WAVENUMBERS) == pytest.approx(resolved)


def test_the_resolution_is_the_first_crossing_from_the_longest_wave() -> None:
    ratio = np.array([0.1, 0.2, 0.3, 0.7, 0.2, 0.1, 0.1, 0.9])
    between = np.exp((np.log(400 / 3) + np.log(100)) / 2)
    assert effective_resolution(ratio, np.ones(8), WAVENUMBERS) == pytest.approx(between)


def test_the_resolution_is_undefined_where_the_longest_wave_is_not_resolved_and_bounded_by_the_grid() -> None:
    error = np.stack([np.full(8, 0.5), np.full(8, 2.0), np.full(8, np.nan), np.full(8, 0.4), np.zeros(8)])
    resolution = effective_resolution(error, np.ones((5, 8)), WAVENUMBERS)
    assert np.isnan(resolution[:3]).all()
    assert resolution[3:] == pytest.approx(400 / 8)
    assert np.isnan(effective_resolution(np.zeros(8), np.zeros(8), WAVENUMBERS))


def test_the_resolution_of_a_sharp_low_pass_filter_is_its_cut_off() -> None:
    """Noise of which an estimate has all waves longer than a cut-off and none that are shorter."""
    size, cut_off = 256, 5.5 / (16 * DEGREE)
    noise = np.random.default_rng(0).normal(size=(1, 1, size, size))
    frequency = np.fft.fftfreq(size, DEGREE)
    short = np.hypot(frequency[:, None], frequency[None, :]) > cut_off
    error = np.fft.ifft2(np.fft.fft2(noise) * short).real
    equator = np.zeros(size)
    powers = [isotropic(*SPECTRA.sums(fields, SPECTRA.free_of_land(np.ones(fields.shape[1:], bool)), equator),
                        SPECTRA.wavenumbers) for fields in (error, noise)]  # fmt: skip
    # A Hann window blurs by about one ring.
    assert effective_resolution(*powers, SPECTRA.wavenumbers)[0] == pytest.approx(1 / cut_off, rel=0.1)
