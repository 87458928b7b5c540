"""Line charts as SVG, for the page and for the picture: no script draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 74.0, 14.0, 14.0, 46.0
# From short memory to long, of middling lightness: legible on white and on black.
COLOURS = ("#2f7ed8", "#7b61d6", "#bd4bb0", "#d9536a", "#d97a1f")
STANDARD_COLOUR = "#7d7d7d"
LOG_SPAN = 20.0


class Point(NamedTuple):
    """A point of a line, and its name where that is not the label of the line."""

    x: float
    y: float
    name: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        key: that it shares with the lines of the same weights in other charts, and with the legend.
        label: shown in the legend.
        points: ascending in x; those that are not finite are left out.
        colour: as CSS has it.
        marked: the point to mark as best.
        is_dashed: drawn in dashes.
    """

    key: str
    label: str
    points: Sequence[Point]
    colour: str
    marked: Point | None = None
    is_dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """From numbers to places.

    Attributes:
        low, high: of the numbers.
        start, stop: where these lie, in units of the picture.
        is_log: logarithmic.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool

    def __call__(self, value: float) -> float:
        """The place of a number."""
        low, high, at = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Four to nine round numbers within the axis."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            digits = (1, 2, 5) if high - low < 3 else (1,)
            every = max(1, round((high - low) / 7))
            decades = range(math.floor(low), math.ceil(high) + 1)
            values = [d * 10.0**decade for decade in decades if decade % every == 0 for d in digits]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) > 1:
                return inside
        rough = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        size *= next(factor for factor in (1, 2, 5, 10) if factor * size >= rough)
        first, last = math.ceil(self.low / size), math.floor(self.high / size)
        return [round(index * size, 12) for index in range(first, last + 1)]


def axis(values: Sequence[float], start: float, stop: float, is_log: bool) -> Axis:
    """An axis that holds `values`, with a little room on both sides."""
    low, high = min(values), max(values)
    if is_log:
        room = max((high / low) ** 0.04, 1.05)
        return Axis(low / room, high * room, start, stop, True)
    room = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return Axis(low - room, high + room, start, stop, False)


def chart(title: str, x_label: str, y_label: str, lines: Sequence[Line], log_x: bool = False) -> Markup:
    """An SVG with axes, lines and points; each point says its numbers when pointed at.

    The y axis is logarithmic where all values are positive and span more than a factor of 20.
    """
    drawn = [(line, [point for point in line.points if can_be_drawn(point, log_x)]) for line in lines]
    drawn = [(line, points) for line, points in drawn if points]
    if not drawn:
        return Markup('<p class="empty">{}: no values yet.</p>').format(title)
    xs = [point.x for _, points in drawn for point in points]
    ys = [point.y for _, points in drawn for point in points]
    x_axis = axis(xs, LEFT, WIDTH - RIGHT, log_x)
    y_axis = axis(ys, HEIGHT - BOTTOM, TOP, min(ys) > 0 and max(ys) > LOG_SPAN * min(ys))
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, f"{title}. {described(drawn, x_label, y_label)}"
        ),
        *frame(x_axis, y_axis, x_label, y_label),
        *(drawn_line(line, points, x_axis, y_axis, x_label, y_label) for line, points in drawn),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def can_be_drawn(point: Point, log_x: bool) -> bool:
    """Whether both numbers are finite, and x positive where its axis is logarithmic."""
    return math.isfinite(point.x) and math.isfinite(point.y) and (point.x > 0 or not log_x)


def described(drawn: Sequence[tuple[Line, Sequence[Point]]], x_label: str, y_label: str) -> str:
    """A description for readers who do not see the chart; the table below it has all numbers."""
    ys = [point.y for _, points in drawn for point in points]
    return f"{len(drawn)} lines of {y_label} against {x_label}, from {min(ys):.4g} to {max(ys):.4g}."


def frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> list[Markup]:
    """Grid, ticks and labels of both axes."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in x_axis.ticks():
        at = round(x_axis(value), 1)
        parts.append(Markup('<path class="grid" d="M{} {}V{}"/>').format(at, TOP, bottom))
        parts.append(
            Markup('<text x="{}" y="{}" class="x">{}</text>').format(at, bottom + 17, f"{value:.6g}")
        )
    for value in y_axis.ticks():
        at = round(y_axis(value), 1)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, at, right))
        parts.append(
            Markup('<text x="{}" y="{}" class="y">{}</text>').format(LEFT - 7, at + 4, f"{value:.6g}")
        )
    log = " (log)"
    parts.append(
        Markup('<text x="{}" y="{}" class="x label">{}</text>').format(
            (LEFT + right) / 2, HEIGHT - 8, x_label + log * x_axis.is_log
        )
    )
    parts.append(
        Markup('<text transform="translate(14 {}) rotate(-90)" class="x label">{}</text>').format(
            (TOP + bottom) / 2, y_label + log * y_axis.is_log
        )
    )
    return parts


def drawn_line(
    line: Line, points: Sequence[Point], x_axis: Axis, y_axis: Axis, x_label: str, y_label: str
) -> Markup:
    """A line with its points, and a ring around the best."""
    places = [(round(x_axis(x), 1), round(y_axis(y), 1)) for x, y, _ in points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    parts = [Markup('<path class="line" d="{}"/>').format(path)]
    for point, (at_x, at_y) in zip(points, places, strict=True):
        tooltip = f"{point.name or line.label}: {y_label} {point.y:.5g} at {x_label} {point.x:.6g}"
        if point == line.marked:
            parts.append(Markup('<circle class="best" cx="{}" cy="{}" r="8"/>').format(at_x, at_y))
            tooltip += ", the best"
        parts.append(
            Markup('<circle cx="{}" cy="{}" r="3.2"><title>{}</title></circle>').format(at_x, at_y, tooltip)
        )
    kind = " dashed" if line.is_dashed else ""
    opening = Markup('<g class="series{}" data-key="{}" style="color:{}">').format(
        kind, line.key, line.colour
    )
    return opening + Markup("").join(parts) + Markup("</g>")


def colour_between(position: float) -> str:
    """A colour from short memory (0) to long (1), as #rrggbb."""
    place = min(max(position, 0.0), 1.0) * (len(COLOURS) - 1)
    index = min(int(place), len(COLOURS) - 2)
    pair = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in COLOURS[index : index + 2]]
    share = place - index
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(*pair, strict=True))


def swatch(line: Line) -> Markup:
    """A short piece of a line for the legend."""
    kind = " dashed" if line.is_dashed else ""
    return Markup(
        '<svg class="swatch{}" viewBox="0 0 28 10" aria-hidden="true" style="color:{}">'
        '<path class="line" d="M1 5H27"/><circle cx="14" cy="5" r="3.2"/></svg>'
    ).format(kind, escape(line.colour))
