"""Axes side by side, each above its colour bar, at positions computed here: a layout engine would take most of the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

# Inches.
LEFT, RIGHT, GAP = 0.75, 0.3, 0.3
TITLES, BELOW, X_LABEL = 0.85, 1.05, 0.2
BAR_HEIGHT, BAR_DROP = 0.13, 0.4


class PanelRow:
    """A figure of panels of `width` x `height` inches, which share their y axis, below one title.

    It is filled again and again: axes, ticks and colour bars stay, and with them most of the time that a figure takes.

    Args:
        headings: of the panels.
        note: at the bottom.
        x_label: of every panel.
    """

    def __init__(
        self, headings: Sequence[str], width: float, height: float, note: str, x_label: str = ""
    ) -> None:
        self._below = TITLES + height + (X_LABEL if x_label else 0)
        size = LEFT + len(headings) * (width + GAP) - GAP + RIGHT, self._below + BELOW
        self.figure = Figure(figsize=size)
        self.axes: list[Axes] = []
        for number, heading in enumerate(headings):
            axis = self._add_axes(LEFT + number * (width + GAP), TITLES, width, height)
            axis.tick_params(labelsize=10, labelleft=number == 0)
            axis.set_title(heading, fontsize=12, pad=8)
            axis.set_xlabel(x_label, fontsize=10)
            self.axes.append(axis)
        self._title = self._write(LEFT, 0.28, "", fontsize=14, weight="bold")
        self._write(LEFT, size[1] - 0.18, note, fontsize=9, color="0.35")
        self._filling: list[Artist] = []

    def add_colour_bar(
        self, number: int, colours: Colormap, limits: tuple[float, float], units: str, extend: str
    ) -> None:
        """The colour bar of one panel, with the units at its right end."""
        whole, _ = self.figure.get_size_inches()
        place = self.axes[number].get_position()
        left, width = place.x0 * whole, place.width * whole
        room, top = 0.15 + 0.085 * len(units), self._below + BAR_DROP
        colour_of = ScalarMappable(Normalize(*limits), colours)
        bar_axis = self._add_axes(left + 0.05, top, width - room - 0.1, BAR_HEIGHT)
        self.figure.colorbar(
            colour_of, cax=bar_axis, orientation="horizontal", extend=extend, ticks=MaxNLocator(5)
        )
        bar_axis.tick_params(labelsize=9)
        self._write(left + width - room + 0.1, top + BAR_HEIGHT / 2, units, fontsize=10)

    def fill(self, title: str, drawn: Iterable[Artist], handles: Sequence[Artist]) -> Figure:
        """The figure with a title, what was `drawn` on its panels, and a legend of `handles`, until `clear`."""
        self._title.set_text(title)
        self._filling = list(drawn)
        if handles:
            whole, _ = self.figure.get_size_inches()
            corner = (1 - RIGHT / whole / 2, 0.0)
            legend = self.figure.legend(
                handles=handles, loc="lower right", bbox_to_anchor=corner, ncols=len(handles), fontsize=9, frameon=False,
                borderaxespad=0.2,
            )  # fmt: skip
            self._filling.append(legend)
        return self.figure

    def clear(self) -> None:
        """Remove what it was filled with."""
        for artist in self._filling:
            artist.remove()

    def _add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes by inches from the upper left corner."""
        whole, tall = self.figure.get_size_inches()
        return self.figure.add_axes((left / whole, 1 - (top + height) / tall, width / whole, height / tall))

    def _write(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Text whose left end is so many inches from the upper left corner."""
        whole, tall = self.figure.get_size_inches()
        return self.figure.text(left / whole, 1 - top / tall, text, va="center", **style)
