"""The panel of a validation: for each patch a row of maps for each depth, beside profiles against depth.

Positions are computed here in inches, and all maps share one set of axes: a layout engine and a hundred axes would take
seconds of every validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from depthdif.figures.case import (
    Case,
    Field,
    column_far_from_observations,
    format_position,
    most_complete_observed_column,
)
from depthdif.figures.level_maps import MAP_HEIGHT, draw_level, label_longitudes, width_of_maps
from depthdif.files import atomic_path
from depthdif.units import canonical_units

# Inches.
LEFT, RIGHT, TOP = 0.85, 0.15, 0.45
CASE_TITLE, ROW_TITLE, CASE_BOTTOM = 0.25, 0.24, 0.5
PROFILE_WIDTH, PROFILE_GAP, PROFILE_TITLE = 1.6, 0.55, 0.36
# Colour, style and width of the lines of a profile.
LINES = {
    "truth": ("black", "-", 1.4),
    "first guess": ("tab:blue", "--", 1.2),
    "one member": ("tab:orange", "-", 0.9),
    "ensemble mean": ("tab:red", "-", 1.2),
    "reconstruction": ("tab:red", "-", 1.2),
}


def nearest_levels(depths: Field, targets: Sequence[float]) -> list[int]:
    """Indices of the levels of `depths` (D,) nearest to the target depths, each once, in ascending order."""
    return sorted({int(np.abs(depths - target).argmin()) for target in targets})


def error_limits(errors: Sequence[Field], levels: Sequence[int]) -> list[float]:
    """Colour limit of each level, from the errors (D, H, W) of all variants, so that their panels compare."""
    limits = []
    for level in levels:
        values = np.abs(np.concatenate([error[level].ravel() for error in errors]))
        values = values[np.isfinite(values)]
        limits.append(float(np.percentile(values, 98)) if values.size else 1.0)
    return [limit if limit > 0 else 1.0 for limit in limits]


def reconstruction_figure(
    cases: Sequence[Case],
    depths: Field,
    levels: Sequence[int],
    limits: Sequence[Sequence[float]],
    units: str,
    title: str,
) -> Figure:
    """Observations, truth, estimates and error of each case at each level, with profiles beside them.

    `depths` (D,) are metres, `levels` the rows, `limits` the error limits of each case and level.
    """
    maps_width = max(width_of_maps(case) for case in cases)
    case_height = CASE_TITLE + len(levels) * (ROW_TITLE + MAP_HEIGHT) + CASE_BOTTOM
    width = LEFT + maps_width + 2 * (PROFILE_GAP + PROFILE_WIDTH) + RIGHT
    height = TOP + len(cases) * case_height
    figure = Figure(figsize=(width, height))
    canvas = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    canvas.set_axis_off()
    canvas.text(LEFT, TOP / 2, title, fontsize=12, weight="bold", va="center")
    for number, (case, case_limits) in enumerate(zip(cases, limits, strict=True)):
        top = TOP + number * case_height
        canvas.text(LEFT, top + CASE_TITLE / 2, case.title, fontsize=10, va="center")
        top += CASE_TITLE
        bottom_map = None
        for row, (level, limit) in enumerate(zip(levels, case_limits, strict=True)):
            row_top = top + row * (ROW_TITLE + MAP_HEIGHT) + ROW_TITLE
            draw_level(canvas, LEFT, row_top, case, level, limit, units)
            canvas.text(LEFT / 4, row_top + MAP_HEIGHT / 2, f"{depths[level]:.4g} m", rotation=90, ha="center",
                        va="center", fontsize=10, weight="bold")  # fmt: skip
            if np.isfinite(case.truth[level]).any():
                bottom_map = row_top
        if bottom_map is not None:
            label_longitudes(canvas, LEFT, bottom_map, case.longitude)
        profiles = draw_profiles(
            canvas, LEFT + maps_width, top + PROFILE_TITLE, row_top + MAP_HEIGHT, case, depths, units
        )
        # A legend is slow to draw: one for all.
        if number == 0 and profiles:
            profiles[0].legend(fontsize=6.5, loc="lower right", handlelength=1.5)
    return figure


def draw_profiles(
    canvas: Axes, left: float, top: float, bottom: float, case: Case, depths: Field, units: str
) -> list[Axes]:
    """Profiles of the longest observed column of a case, and of one far from all observations, beside its maps."""
    width, height = canvas.get_xlim()[1], canvas.get_ylim()[0]
    deepest = float(depths[-1])
    columns = {
        "at a profile": most_complete_observed_column(case),
        "far from profiles": column_far_from_observations(case),
    }
    drawn: list[Axes] = []
    for number, (name, place) in enumerate(columns.items()):
        if place is None:
            continue
        place_left = left + PROFILE_GAP + number * (PROFILE_GAP + PROFILE_WIDTH)
        axis = canvas.figure.add_axes(
            (place_left / width, 1 - bottom / height, PROFILE_WIDTH / width, (bottom - top) / height)
        )
        row, column = place
        for label, field in {"truth": case.truth, **case.estimates}.items():
            colour, style, thickness = LINES[label]
            axis.plot(field[:, row, column], depths, style, color=colour, linewidth=thickness, label=label)
        observed = case.observations[:, row, column]
        axis.plot(
            observed, depths, "o", markersize=3, markerfacecolor="none", color="black", label="observed"
        )
        axis.set_ylim(deepest * 1.03, -0.03 * deepest)
        position = format_position(case.latitude[row], case.longitude[column])
        axis.set_title(f"{name}\n{position}", fontsize=8)
        axis.set_xlabel(units, fontsize=7, labelpad=1)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.tick_params(labelsize=7)
        drawn.append(axis)
    if drawn:
        drawn[0].set_ylabel("depth (m)", fontsize=7, labelpad=1)
    return drawn


def display_units(units: str) -> str:
    """Degrees Celsius in one short form, however a file spells them; "" for "1", a pure number; other units as they are."""
    return {"degree_Celsius": "°C", "1": ""}.get(canonical_units(units), units)


def with_units(label: str, units: str) -> str:
    """Such as "RMSE (°C)"; of a pure number the label alone."""
    return f"{label} ({units})" if units else label


def save_figure(figure: Figure, path: Path, dpi: int = 100) -> Path:
    """Write a figure as PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi)
    return path
