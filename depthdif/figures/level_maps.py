"""The maps of one level side by side, on axes whose coordinates are inches from the upper left corner of the figure."""

from __future__ import annotations

import math

import cmocean
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from depthdif.figures.case import Case, Field

LAND = "0.72"
OPEN_OCEAN = "0.93"
FIELD_COLOURS = cmocean.cm.thermal.with_extremes(bad=LAND)
ERROR_COLOURS = cmocean.cm.balance.with_extremes(bad=LAND)

# Inches. A colour bar has its labels to the right of it.
MAP_WIDTH, MAP_HEIGHT, MAP_GAP = 1.8, 1.6, 0.12
BAR_WIDTH, BAR_ROOM = 0.1, 0.62
LABEL_GAP = 0.05


def width_of_maps(case: Case) -> float:
    """Inches from the first map to the last colour bar: observations, truth, estimates and error."""
    return (3 + len(case.estimates)) * (MAP_WIDTH + MAP_GAP) + 2 * BAR_ROOM


def draw_level(
    canvas: Axes, left: float, top: float, case: Case, level: int, limit: float, units: str
) -> None:
    """Observations, truth and estimates on one colour scale, and the error between -`limit` and `limit`."""
    truth = case.truth[level]
    if not np.isfinite(truth).any():
        middle = top + MAP_HEIGHT / 2
        canvas.text(left + LABEL_GAP, middle, "no ocean at this depth", fontsize=9, va="center", color="0.35")
        return
    low, high = np.nanpercentile(truth, [1, 99])
    high = max(high, low + 1e-3)
    draw_observations(canvas, left, top, case, level, low, high)
    for latitude in round_numbers(case.latitude, 4):
        place = top + MAP_HEIGHT * (1 - float(share_of_patch(case.latitude, latitude)))
        label = format_degrees(latitude, "NS")
        canvas.text(left - LABEL_GAP, place, label, fontsize=7, ha="right", va="center")
    fields = {"truth": truth}
    for name, estimate in case.estimates.items():
        rmse = case.rmse(estimate, level)
        fields[f"{name}, RMSE {format_number(rmse, 2 if rmse >= 0.1 else 3)}"] = estimate[level]
    for title, field in fields.items():
        left += MAP_WIDTH + MAP_GAP
        draw_map(canvas, left, top, field, FIELD_COLOURS, low, high, title)
    left += MAP_WIDTH + MAP_GAP
    draw_colour_bar(canvas, left, top, FIELD_COLOURS, low, high, units)
    left += BAR_ROOM
    title = "error" if case.member is None else "error of the mean"
    draw_map(canvas, left, top, case.error[level], ERROR_COLOURS, -limit, limit, title)
    draw_colour_bar(canvas, left + MAP_WIDTH + MAP_GAP, top, ERROR_COLOURS, -limit, limit, units)


def draw_map(
    canvas: Axes,
    left: float,
    top: float,
    field: Field,
    colours: Colormap,
    low: float,
    high: float,
    title: str,
) -> None:
    """One field (H, W), south at the bottom, land grey, with its title above it."""
    extent = (left, left + MAP_WIDTH, top + MAP_HEIGHT, top)
    canvas.imshow(
        np.ma.masked_invalid(field), origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high,
        interpolation="nearest", aspect="auto",
    )  # fmt: skip
    canvas.add_patch(Rectangle((left, top), MAP_WIDTH, MAP_HEIGHT, fill=False, linewidth=0.6))
    canvas.text(left + MAP_WIDTH / 2, top - LABEL_GAP, title, fontsize=8, ha="center", va="bottom")


def draw_observations(
    canvas: Axes, left: float, top: float, case: Case, level: int, low: float, high: float
) -> None:
    """The observed columns of one level as points over the bare ocean."""
    values = case.observations[level]
    rows, columns = np.nonzero(np.isfinite(values))
    ocean = np.where(np.isfinite(case.reconstruction[level]), 0.0, np.nan)
    bare = FIELD_COLOURS.with_extremes(under=OPEN_OCEAN, bad=LAND)
    draw_map(canvas, left, top, ocean, bare, 1.0, 2.0, f"observations ({len(rows)})")
    canvas.scatter(
        left + MAP_WIDTH * share_of_patch(case.longitude, case.longitude[columns]),
        top + MAP_HEIGHT * (1 - share_of_patch(case.latitude, case.latitude[rows])),
        c=values[rows, columns], cmap=FIELD_COLOURS, vmin=low, vmax=high, s=14, edgecolors="0.25", linewidths=0.4,
    )  # fmt: skip


def draw_colour_bar(
    canvas: Axes, left: float, top: float, colours: Colormap, low: float, high: float, units: str
) -> None:
    """A slim bar with its ends and its middle labelled, the units above it."""
    extent = (left, left + BAR_WIDTH, top + MAP_HEIGHT, top)
    canvas.imshow(np.linspace(0, 1, 64)[:, None], origin="lower", extent=extent, cmap=colours, aspect="auto")
    decimals = max(0, 1 - math.floor(math.log10(high - low)))
    for share, alignment in ((0.0, "bottom"), (0.5, "center"), (1.0, "top")):
        label = format_number(low + share * (high - low), decimals)
        place = top + MAP_HEIGHT * (1 - share)
        canvas.text(left + BAR_WIDTH + LABEL_GAP, place, label, fontsize=7, va=alignment)
    canvas.text(left, top - LABEL_GAP, units, fontsize=8, va="bottom")


def label_longitudes(canvas: Axes, left: float, top: float, longitudes: Field) -> None:
    """Round longitudes below a map."""
    for longitude in round_numbers(longitudes, 3):
        place = left + MAP_WIDTH * float(share_of_patch(longitudes, longitude))
        label = format_degrees(longitude, "EW")
        canvas.text(place, top + MAP_HEIGHT + LABEL_GAP, label, fontsize=7, ha="center", va="top")


def share_of_patch(centres: Field, at: Field) -> Field:
    """Where coordinates lie between the outer edges of the first (0) and of the last cell (1), from the (N,) centres."""
    half = (centres[1] - centres[0]) / 2
    return (at - centres[0] + half) / (centres[-1] - centres[0] + 2 * half)


def round_numbers(values: Field, most: int) -> Field:
    """Up to `most` round numbers within the range of `values`."""
    low, high = float(values[0]), float(values[-1])
    ticks = np.asarray(MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high))
    return ticks[(ticks >= low) & (ticks <= high)]


def format_degrees(degrees: float, letters: str) -> str:
    """Such as `12.5°S` for -12.5 and the letters "NS"; longitudes beyond the date line are folded back."""
    folded = round((float(degrees) + 180) % 360 - 180, 3)
    letter = letters[int(folded < 0)] if folded % 180 else ""
    return f"{abs(folded):g}°{letter}"


def format_number(value: float, decimals: int) -> str:
    """With fixed decimals, or three significant digits where that gets long."""
    fixed = f"{value:.{decimals}f}"
    return fixed if len(fixed) <= 7 else f"{value:.3g}"
