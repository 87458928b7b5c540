"""The figure of a patch that is followed through consecutive times."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from depthdif.evaluation.result import Evaluation
from depthdif.figures.case import Case, Field
from depthdif.figures.level_maps import (
    BAR_ROOM,
    FIELD_COLOURS,
    MAP_GAP,
    MAP_HEIGHT,
    MAP_WIDTH,
    draw_colour_bar,
    draw_map,
    label_longitudes,
    share_of_patch,
)
from depthdif.figures.panel import nearest_levels
from depthdif.scores.score_names import variant_label

# Metres; the nearest level is shown.
DEPTH = 100.0
# Inches.
LEFT, TOP, ROW_TITLE, BOTTOM = 0.5, 0.75, 0.22, 0.3


def followed_figure(evaluation: Evaluation) -> Figure | None:
    """Truth, OI, one member and the ensemble mean in rows, consecutive times in columns; dots are profiles."""
    followed = evaluation.followed
    if followed is None:
        return None
    (level,) = nearest_levels(evaluation.depths, [DEPTH])
    cases = followed.cases
    fields = np.stack([case.truth[level] for case in cases])
    if not np.isfinite(fields).any():
        return None
    low, high = np.nanpercentile(fields, [1, 99])
    high = max(high, low + 1e-3)
    rows = ["truth", *cases[0].estimates]
    width = LEFT + len(cases) * (MAP_WIDTH + MAP_GAP) + BAR_ROOM
    height = TOP + len(rows) * (MAP_HEIGHT + ROW_TITLE) + BOTTOM
    figure = Figure(figsize=(width, height))
    canvas = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    canvas.set_axis_off()
    weights = variant_label(evaluation.chosen)
    title = f"{evaluation.depths[level]:.3g} m, {followed.place}, {weights} weights; dots: profiles"
    canvas.text(LEFT, TOP / 5, title, fontsize=9, va="center", weight="bold")
    flicker = ", ".join(f"{name} {value:.2f}" for name, value in followed.flicker.items())
    title = f"change from one time to the next over that of the truth, all depths: {flicker}"
    canvas.text(LEFT, TOP / 2.2, title, fontsize=8, va="center")
    for row, name in enumerate(rows):
        top = TOP + row * (MAP_HEIGHT + ROW_TITLE)
        label = "OI" if name == "first guess" else name
        canvas.text(LEFT / 2, top + MAP_HEIGHT / 2, label, rotation=90, fontsize=9, ha="center", va="center")
        for column, case in enumerate(cases):
            left = LEFT + column * (MAP_WIDTH + MAP_GAP)
            estimate = case.truth if name == "truth" else case.estimates[name]
            title = followed.dates[column] if name == "truth" else f"RMSE {case.rmse(estimate, level):.2f}"
            draw_map(canvas, left, top, estimate[level], FIELD_COLOURS, low, high, title)
            draw_profiles(canvas, left, top, case, level)
        draw_colour_bar(
            canvas, LEFT + len(cases) * (MAP_WIDTH + MAP_GAP), top, FIELD_COLOURS, low, high, evaluation.units
        )
    for column, case in enumerate(cases):
        label_longitudes(canvas, LEFT + column * (MAP_WIDTH + MAP_GAP), top, case.longitude)
    return figure


def draw_profiles(canvas: Axes, left: float, top: float, case: Case, level: int) -> None:
    """The observed columns of a level as small dots."""
    rows, columns = np.nonzero(np.isfinite(case.observations[level]))
    across: Field = left + MAP_WIDTH * share_of_patch(case.longitude, case.longitude[columns])
    down: Field = top + MAP_HEIGHT * (1 - share_of_patch(case.latitude, case.latitude[rows]))
    canvas.scatter(across, down, s=4, facecolors="white", edgecolors="black", linewidths=0.4)
