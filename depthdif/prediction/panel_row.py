"""Axes side by side, each with its colour bar below it, at positions computed here: a layout engine would take most of the time."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Inches.
LEFT, RIGHT, GAP = 0.75, 0.3, 0.3
TITLES, BELOW = 0.85, 1.05
BAR_HEIGHT, BAR_DROP, NOTE_DROP = 0.13, 0.5, 0.93


class PanelRow:
    """A figure of `count` panels of `width` x `height` inches, which share their y axis, under one title.

    Attributes:
        figure, axes: as Matplotlib has them.
    """

    def __init__(self, count: int, width: float, height: float, title: str, x_label: str = "") -> None:
        self._room = 0.2 if x_label else 0.0
        self._height = height
        total = LEFT + count * width + (count - 1) * GAP + RIGHT, TITLES + height + BELOW + self._room
        self.figure = Figure(figsize=total)
        self.axes: list[Axes] = []
        for number in range(count):
            left = LEFT + number * (width + GAP)
            axis = self.figure.add_axes(self._share(left, TITLES, width, height))
            axis.tick_params(labelsize=10, labelleft=number == 0)
            axis.set_xlabel(x_label, fontsize=10)
            self.axes.append(axis)
        self.figure.text(LEFT / total[0], 1 - 0.28 / total[1], title, fontsize=14, weight="bold", va="center")

    def _share(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Inches from the upper left corner as shares from the lower left."""
        whole, tall = self.figure.get_size_inches()
        return left / whole, 1 - (top + height) / tall, width / whole, height / tall

    def add_colour_bar(self, number: int, image: ScalarMappable, units: str, extend: str) -> None:
        """A bar below one panel, with the units at its right end."""
        whole, tall = self.figure.get_size_inches()
        place = self.axes[number].get_position()
        left, width = place.x0 * whole, place.width * whole
        room = 0.15 + 0.085 * len(units)
        top = TITLES + self._height + BAR_DROP - 0.1 + self._room
        bar_axis = self.figure.add_axes(self._share(left + 0.05, top, width - room - 0.1, BAR_HEIGHT))
        bar = self.figure.colorbar(image, cax=bar_axis, orientation="horizontal", extend=extend)
        bar.ax.tick_params(labelsize=9)
        bar.locator = MaxNLocator(5)
        bar.update_ticks()
        middle = 1 - (top + BAR_HEIGHT / 2) / tall
        self.figure.text((left + width - room + 0.1) / whole, middle, units, fontsize=10, va="center")

    def add_note(self, note: str, handles: Sequence[object] = ()) -> None:
        """A line at the bottom, and a legend for `handles` at its right."""
        whole, tall = self.figure.get_size_inches()
        bottom = 0.16 / tall
        self.figure.text(LEFT / whole, bottom, note, fontsize=9, va="center", color="0.35")
        if handles:
            place = {"loc": "lower right", "bbox_to_anchor": (1 - RIGHT / whole / 2, 0.0), "borderaxespad": 0.2}
            self.figure.legend(handles=handles, ncols=len(handles), fontsize=9, frameon=False, **place)  # type: ignore[arg-type]
