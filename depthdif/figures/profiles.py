"""Profiles against depth: truth, estimates and observations of one water column."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from depthdif.figures.case import Case, Field, format_position

# Colour, style and width.
LINES = {
    "truth": ("black", "-", 1.4),
    "first guess": ("tab:blue", "--", 1.2),
    "one member": ("tab:orange", "-", 0.9),
    "ensemble mean": ("tab:red", "-", 1.2),
    "reconstruction": ("tab:red", "-", 1.2),
}


def draw_profile(
    axis: Axes, case: Case, depths: Field, place: tuple[int, int], title: str, units: str
) -> None:
    """The column at `place` (row, column of the patch) against `depths` (D,) in metres, down to its sea floor."""
    row, column = place
    for name, field in {"truth": case.truth, **case.estimates}.items():
        colour, style, width = LINES[name]
        axis.plot(field[:, row, column], depths, color=colour, linestyle=style, linewidth=width, label=name)
    observed = case.observations[:, row, column]
    axis.plot(observed, depths, "o", markersize=3, markerfacecolor="none", color="black", label="observed")
    deepest = float(depths[-1])
    axis.set_ylim(deepest * 1.03, -0.03 * deepest)
    axis.set_title(f"{title}\n{format_position(case.latitude[row], case.longitude[column])}", fontsize=8)
    axis.set_xlabel(units, fontsize=7, labelpad=1)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(labelsize=7)
