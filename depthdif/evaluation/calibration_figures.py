"""Whether a forecast knows its own error: spread against error, and rank histograms."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from depthdif.evaluation.figure_style import TRUTH_COLOUR, plain_ticks, style, titled
from depthdif.evaluation.result import IDW, MODEL, Evaluation, Method
from depthdif.evaluation.tally import Tally


def with_spread(found: Evaluation) -> dict[Method, Tally]:
    """The methods that say how far to trust them; IDW, of which nobody expects it, stays in the files."""
    return {method: tally for method, tally in found.tallies.items() if tally.has_spread and method != IDW}


def spread_figure(found: Evaluation) -> Figure | None:
    """RMSE in bins of the spread that was forecast; a reliable forecast lies on the diagonal."""
    held = with_spread(found)
    if not held:
        return None
    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axis = figure.subplots()
    seen = []
    for (method, tally), marker in zip(held.items(), "sodv^<>P*X", strict=False):
        spread, error = tally.spread_and_error()
        axis.plot(spread, error, marker=marker, markersize=4, linewidth=1.2, **style(method))
        seen += [*spread[spread > 0], *error[error > 0]]
    ends = [min(seen) * 0.8, max(seen) * 1.25]
    axis.plot(ends, ends, color=TRUTH_COLOUR, linewidth=0.8, linestyle=":", label="reliable")
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for one in (axis.xaxis, axis.yaxis):
        plain_ticks(one)
    axis.set_xlabel(f"spread: RMSE that is expected ({found.units})", fontsize=9)
    axis.set_ylabel(f"RMSE that is found ({found.units})", fontsize=9)
    axis.tick_params(labelsize=8, which="both")
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.legend(fontsize=8, frameon=False)
    return titled(figure, "Spread and error, 12 bins of as many cells")


def rank_figure(found: Evaluation) -> Figure | None:
    """Rank histograms side by side, with what is uniform."""
    held = with_spread(found)
    if not held:
        return None
    figure = Figure(figsize=(2.3 * len(held) + 0.5, 2.9), layout="constrained")
    axes = figure.subplots(1, len(held), sharey=True, squeeze=False)[0]
    for axis, (method, tally) in zip(axes, held.items(), strict=True):
        share, low, high = tally.rank_shares(found.counts)
        ranks = np.arange(len(share))
        whiskers = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
        axis.bar(ranks, share, width=0.9, color=style(method)["color"], alpha=0.75)
        axis.errorbar(ranks, share, whiskers, fmt="none", ecolor="0.2", elinewidth=0.8, capsize=1.5)
        axis.axhline(1 / len(share), color=TRUTH_COLOUR, linewidth=0.8, linestyle=":")
        axis.set_title(method.label, fontsize=9)
        axis.set_xlabel(
            "rank of the truth" if method.name == MODEL else "where the truth falls (PIT)", fontsize=8
        )
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("share of cells", fontsize=9)
    return titled(figure, "Rank histograms; dotted: reliable; whiskers: 95 % over patches")
