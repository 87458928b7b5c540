"""Which scales a method gets right: power spectra beside that of the truth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthdif.evaluation.figure_style import TRUTH_COLOUR, plain_ticks, squared, style, titled
from depthdif.evaluation.result import OI, Evaluation

Array = NDArray[np.floating]


def spectrum_figure(found: Evaluation) -> Figure | None:
    """Spectra of truth, OI and model at a few depths, and below them the share of the truth's power that their errors have."""
    of_truth, grid = found.truth.spectrum(), found.truth.grid.spectra
    if of_truth is None or grid is None:
        return None
    levels = [level for level in found.panel_levels if np.isfinite(of_truth[level]).any()]
    if not levels:
        return None
    mine = [method for method in found.tallies if method.weights == found.chosen and found.chosen]
    shown = {method: found.tallies[method] for method in [OI, *mine] if method in found.tallies}
    figure = Figure(figsize=(2.5 * len(levels) + 0.5, 4.9), layout="constrained")
    axes = figure.subplots(2, len(levels), sharex=True, sharey="row", squeeze=False)
    wavelength = 1 / grid.wavenumbers
    for (upper, lower), level in zip(axes.T, levels, strict=True):
        upper.loglog(wavelength, of_truth[level], color=TRUTH_COLOUR, linewidth=1.6, label="truth")
        for method, tally in shown.items():
            power, error = tally.spectrum(), tally.spectrum(of_error=True)
            assert power is not None
            assert error is not None
            upper.loglog(wavelength, power[level], linewidth=1.3, **style(method))
            lower.loglog(wavelength, error[level] / of_truth[level], linewidth=1.3, **style(method))
        lower.axhline(0.5, color=TRUTH_COLOUR, linewidth=0.7, linestyle=":")
        upper.set_title(f"{found.depths[level]:.3g} m", fontsize=9)
        lower.set_xlabel("wavelength (km)", fontsize=9)
        for axis in (upper, lower):
            axis.grid(alpha=0.3, which="both", linewidth=0.4)
            axis.tick_params(labelsize=7, which="both")
    wavelength_axis(axes[1, 0], wavelength)
    axes[0, 0].set_ylabel(f"power ({squared(found.units)} km)", fontsize=9)
    axes[1, 0].set_ylabel("power of the error\nover that of the truth", fontsize=9)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return titled(
        figure,
        f"Spectra over land-free windows of {grid.window} × {grid.window} cells; dotted: half the power of the truth",
    )


def wavelength_axis(axis: Axes, wavelength: Array) -> None:
    """Long waves to the left, plain kilometres."""
    axis.set_xlim(wavelength[0] * 1.1, wavelength[-1] / 1.1)
    plain_ticks(axis.xaxis)
