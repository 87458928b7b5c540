"""Line charts as SVG, for the page and for the picture; they need no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from depthdif.figures.page_templates import page_templates

WIDTH, HEIGHT = 640.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 74.0, WIDTH - 24.0, 14.0, HEIGHT - 46.0
# From short memory to long, of middling lightness: legible on white and on black.
COLOURS = ((47, 126, 216), (123, 97, 214), (189, 75, 176), (217, 83, 106), (217, 122, 31))
STANDARD_COLOUR = "#7d7d7d"
LOG_SPAN = 20.0
TEMPLATES = page_templates("depthdif.comparison")


class Point(NamedTuple):
    """A point of a line, with a name where it differs from the label of the line."""

    x: float
    y: float
    name: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: in the legend; the same for the same weights in every chart.
        points: ascending in x; those that are not finite are left out.
        colour: as in CSS.
        marked: the point to mark as best.
        is_dashed: drawn in dashes.
    """

    label: str
    points: Sequence[Point]
    colour: str
    marked: Point | None = None
    is_dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Maps the numbers from `low` to `high` to positions from `start` to `stop`, on a logarithmic scale if `is_log`."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool

    def __call__(self, value: float) -> float:
        """Position of a number."""
        low, high, at = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            digits = (1, 2, 5) if high - low < 3 else (1,)
            every = max(1, round((high - low) / 7))
            decades = [d for d in range(math.floor(low), math.ceil(high) + 1) if d % every == 0]
            values = [digit * 10.0**decade for decade in decades for digit in digits]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) > 1:
                return inside
        rough = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        size *= next(factor for factor in (1, 2, 5, 10) if factor * size >= rough)
        first, last = math.ceil(self.low / size), math.floor(self.high / size)
        return [round(index * size, 12) for index in range(first, last + 1)]


def axis(values: Sequence[float], start: float, stop: float, is_log: bool) -> Axis:
    """An axis that contains `values`, with a margin on both sides."""
    low, high = min(values), max(values)
    if is_log:
        margin = max((high / low) ** 0.04, 1.05)
        return Axis(low / margin, high * margin, start, stop, True)
    margin = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return Axis(low - margin, high + margin, start, stop, False)


def chart(title: str, x_label: str, y_label: str, lines: Sequence[Line], log_x: bool = False) -> Markup:
    """An SVG with axes, lines and points; each point shows its numbers as a tooltip.

    The y axis is logarithmic where all values are positive and span more than a factor of 20.
    """
    drawn = []
    for line in lines:
        points = [
            p for p in line.points if math.isfinite(p.x) and math.isfinite(p.y) and (p.x > 0 or not log_x)
        ]
        if points:
            drawn.append((line, points))
    if not drawn:
        return Markup('<p class="empty">{}: no values yet.</p>').format(title)
    xs = [point.x for _, points in drawn for point in points]
    ys = [point.y for _, points in drawn for point in points]
    svg = TEMPLATES.get_template("chart.svg.jinja").render(
        title=title,
        x_label=x_label,
        y_label=y_label,
        lines=drawn,
        lowest=min(ys),
        highest=max(ys),
        x=axis(xs, LEFT, RIGHT, log_x),
        y=axis(ys, BOTTOM, TOP, min(ys) > 0 and max(ys) > LOG_SPAN * min(ys)),
        size=(WIDTH, HEIGHT),
        frame={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )
    return Markup(svg)


def colour_between(position: float) -> str:
    """A colour from short memory (0) to long (1), as #rrggbb."""
    index = min(int(position * (len(COLOURS) - 1)), len(COLOURS) - 2)
    share = position * (len(COLOURS) - 1) - index
    pairs = zip(COLOURS[index], COLOURS[index + 1], strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)
