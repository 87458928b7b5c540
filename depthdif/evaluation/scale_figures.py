"""Figures of the scales and fronts of the reconstructions: spectra and gradients, beside those of the truth."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from depthdif.evaluation.figure_style import style
from depthdif.evaluation.result import OI, Evaluation, Method
from depthdif.figures.axes import TRUTH_COLOUR, plain_ticks, subplots, titled

# Shares of the ocean that the distribution of gradients shows.
SHARES = (1e-4, 0.9)


def shown_methods(evaluation: Evaluation) -> list[Method]:
    """OI, and the model with the chosen variant."""
    chosen = evaluation.chosen
    return [method for method in evaluation.tallies if method == OI or (chosen and method.weights == chosen)]


def spectrum_figure(evaluation: Evaluation) -> Figure | None:
    """Spectra of truth, OI and model at a few depths, and below them the power of the errors over that of the truth."""
    truth, grid, units = evaluation.truth.structure.spectra(), evaluation.truth.grid.spectra, evaluation.units
    if truth is None or grid is None:
        return None
    truth_power = truth[0]
    levels = [level for level in evaluation.panel_levels if np.isfinite(truth_power[level]).any()]
    if not levels:
        return None
    figure, axes = subplots(2.5 * len(levels) + 0.5, 6.6, 3, len(levels), sharex=True, sharey="row")
    wavelength = 1 / grid.wavenumbers
    for (upper, middle, lower), level in zip(axes.T, levels, strict=True):
        upper.loglog(wavelength, truth_power[level], color=TRUTH_COLOUR, linewidth=1.6, label="truth")
        for method in shown_methods(evaluation):
            spectra = evaluation.tallies[method].structure.spectra()
            assert spectra is not None
            power, error_power = spectra
            upper.loglog(wavelength, power[level], linewidth=1.3, **style(method))
            middle.semilogx(wavelength, power[level] / truth_power[level], linewidth=1.3, **style(method))
            lower.loglog(wavelength, error_power[level] / truth_power[level], linewidth=1.3, **style(method))
        middle.axhline(1, color=TRUTH_COLOUR, linewidth=0.7, linestyle=":")
        lower.axhline(0.5, color=TRUTH_COLOUR, linewidth=0.7, linestyle=":")
        upper.set_title(f"{evaluation.depths[level]:.3g} m", fontsize=9)
        lower.set_xlabel("wavelength (km)", fontsize=9)
    # Long waves to the left.
    axes[1, 0].set_xlim(wavelength[0] * 1.1, wavelength[-1] / 1.1)
    plain_ticks(axes[1, 0].xaxis)
    axes[0, 0].set_ylabel(
        f"power ({f'({units})' if ' ' in units else units}{'²' if units else ''} km)", fontsize=9
    )
    axes[1, 0].set_ylabel("power over that\nof the truth", fontsize=9)
    axes[1, 0].set_ylim(0, 2)
    axes[2, 0].set_ylabel("power of the error\nover that of the truth", fontsize=9)
    windows = f"{grid.window} × {grid.window} cells"
    title = f"Spectra over land-free windows of {windows}; dotted: the power of the truth, for the error half of it"
    return titled(figure, title, legend=axes[0, 0])


def gradient_figure(evaluation: Evaluation) -> Figure | None:
    """Share of the ocean that is steeper than a gradient, against that gradient, at a few depths."""
    truth = evaluation.truth.structure
    thresholds, true_shares = truth.thresholds, truth.shares_above
    levels = [level for level in evaluation.panel_levels if np.isfinite(true_shares[level]).any()]
    if not levels:
        return None
    figure, (axes,) = subplots(2.5 * len(levels) + 0.5, 3.4, 1, len(levels), sharey=True)
    for axis, level in zip(axes, levels, strict=True):
        shown = np.where(true_shares[level] > 0, true_shares[level], np.nan)
        axis.loglog(thresholds, shown, color=TRUTH_COLOUR, linewidth=1.6, label="truth")
        for method in shown_methods(evaluation):
            shares = evaluation.tallies[method].structure.shares_above[level]
            axis.loglog(thresholds, np.where(shares > 0, shares, np.nan), linewidth=1.3, **style(method))
        seen = thresholds[(true_shares[level] > SHARES[0]) & (true_shares[level] < SHARES[1])]
        if seen.size:
            axis.set_xlim(seen[0] / 1.2, seen[-1] * 2)
        axis.set_title(f"{evaluation.depths[level]:.3g} m", fontsize=9)
        axis.set_xlabel(f"gradient ({evaluation.units} per 100 km)".replace("( ", "("), fontsize=9)
        plain_ticks(axis.xaxis)
    axes[0].set_ylim(SHARES[0], 1.2)
    axes[0].set_ylabel("share of the ocean that is steeper", fontsize=9)
    title = "Horizontal gradients, from cell to cell; fronts are to the right"
    return titled(figure, title, legend=axes[0])
