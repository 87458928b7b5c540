"""Figures of a prediction: maps, sections, and profiles where some were withheld."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from depthdif.figures.axes import scale_depth
from depthdif.figures.globe import SEA_FLOOR, Field, borders, draw_on_globe, label_degrees
from depthdif.figures.panel import nearest_levels, save_figure
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.output_plan import COUNT
from depthdif.prediction.panel_row import PanelRow
from depthdif.prediction.places import Places
from depthdif.prediction.quantities import (
    DIFFERENCE,
    VALUE,
    Quantity,
    count_of,
    dates,
    each_once,
    evenly,
    quantities_of,
    title_of,
    units_of,
)
from depthdif.prediction.section import Section, SectionLine
from depthdif.prediction.withheld import HiddenValues
from depthdif.prediction.withheld_figure import withheld_figure

MOST_TIMES = 12
# More than a figure has pixels for.
MOST_COLUMNS = 1500
DPI = 120
# Square inches of a map, inches of a section.
MAP_AREA, SECTION_SIZE = 15.0, (4.6, 3.6)
USED: Mapping[str, Any] = {
    "marker": "o",
    "markersize": 3.6,
    "markerfacecolor": "black",
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
}
WITHHELD: Mapping[str, Any] = {
    "marker": "D",
    "markersize": 4.8,
    "markerfacecolor": "#56B4E9",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
}

Fields = Mapping[Quantity, Field]


def draw_prediction(
    dataset: xr.Dataset,
    name: str,
    variants: Sequence[str],
    observations: Sequence[ProfileTable],
    folder: str | Path,
    depths: Sequence[float],
    section: Section,
    withheld: HiddenValues | None = None,
) -> list[Path]:
    """Draw the figures of a prediction into `folder` and return their paths.

    At each of at most 12 times, evenly chosen: maps at the levels nearest to `depths` (metres), and the section. Each shows
    first guess, mean and spread of one variant; with several variants a further one shows how they differ. The colours are
    the same at all times. Withheld profiles are drawn against depth.

    Args:
        dataset: the output of a prediction (docs/prediction.md); only what is drawn is read.
        name: of the variable.
        observations: the profiles that each time is predicted from, (T,).
    """
    numbers = evenly(dataset.sizes["time"], MOST_TIMES)
    groups = quantities_of(dataset, name, variants)
    counts = [count_of(dataset, name)]
    marks = [Marks.of(dataset, number, observations[number], withheld, counts) for number in numbers]
    days = dates(dataset["time"].values)
    ends = [f"{days[number].replace(':', '')}_time_{number + 1}_of_{len(days)}.png" for number in numbers]
    folder, paths = Path(folder), list[Path]()

    def save(figures: Iterable[Figure], start: str) -> None:
        paths.extend(
            save_figure(figure, folder / f"{start}_{end}", DPI)
            for figure, end in zip(figures, ends, strict=True)
        )

    coarse, all_depths = thinned(dataset, MOST_COLUMNS), dataset["depth"].values
    levels = nearest_levels(all_depths, [0.0, *depths])
    fields = read(coarse, groups, numbers, {"depth": levels})
    oceans = [np.isfinite(fields[groups[variants[0]][-1]][place, 0]) for place in range(len(numbers))]
    for level in nearest_levels(all_depths, depths):
        at = {quantity: field[:, levels.index(level)] for quantity, field in fields.items()}
        limits = limits_of(at)
        titles = [f"{title_of(name)} at {all_depths[level]:g} m, {days[number]}" for number in numbers]
        for group, quantities in groups.items():
            shown = {quantity: at[quantity] for quantity in quantities}
            figures = map_figures(coarse, shown, limits, oceans, [one.at(level) for one in marks], titles)
            save(figures, f"map_{group}_{all_depths[level]:g}m")

    line = section.on(dataset["latitude"].values, dataset["longitude"].values)
    cells = {
        key: xr.DataArray(at, dims="cell")
        for key, at in (("latitude", line.rows), ("longitude", line.columns))
    }
    fields = read(dataset, groups, numbers, cells)
    limits = limits_of(fields)
    titles = [f"{title_of(name)} {line.title}, {days[number]}" for number in numbers]
    for group, quantities in groups.items():
        shown = {quantity: fields[quantity] for quantity in quantities}
        save(section_figures(dataset, shown, limits, line, marks, titles), f"section_{group}")

    if withheld:
        figure = withheld_figure(dataset, name, units_of(dataset, groups[variants[0]][-1].variable), withheld)
        paths.append(save_figure(figure, folder / "withheld_profiles.png", DPI))
    return paths


@dataclasses.dataclass(frozen=True)
class Marks:
    """The profiles of one time."""

    used: Places
    withheld: Places

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        number: int,
        profiles: ProfileTable,
        hidden: HiddenValues | None,
        counts: Sequence[str] = (COUNT,),
    ) -> Marks:
        """Those of the time `number` of a prediction; `counts` are names of the numbers of observations."""
        return cls(Places.used(dataset, number, profiles, counts), Places.withheld(dataset, number, hidden))

    def at(self, level: int) -> Marks:
        """Those that count at one depth."""
        return Marks(self.used.at(level), self.withheld.at(level))

    def draw(self, axis: Axes, find: Callable[[Places], tuple[Field, Field]]) -> list[Line2D]:
        """Draw each kind where `find` says, and return their entries of a legend."""
        kinds = ((self.used, USED, "profiles used"), (self.withheld, WITHHELD, "profiles withheld"))
        drawn = []
        for places, style, label in kinds:
            x, y = find(places)
            if len(x):
                drawn += axis.plot(x, y, linestyle="", **style, label=f"{label} ({len(x)})", clip_on=False)
        return drawn


def thinned(dataset: xr.Dataset, most_columns: int) -> xr.Dataset:
    """Every so many rows and columns of cells, so that there are at most `most_columns` columns, and half as many rows."""
    step = max(
        -(-dataset.sizes["longitude"] // most_columns), -(-2 * dataset.sizes["latitude"] // most_columns)
    )
    return dataset.isel(latitude=slice(step // 2, None, step), longitude=slice(step // 2, None, step))


def read(
    dataset: xr.Dataset,
    groups: Mapping[str, Sequence[Quantity]],
    numbers: Iterable[int],
    where: Mapping[str, Any],
) -> dict[Quantity, Field]:
    """The quantities at some times, (T, ...), read time by time, as the output is stored."""
    return {
        quantity: np.stack([quantity.of(dataset.isel(time=number).isel(where)).values for number in numbers])
        for quantity in each_once(groups)
    }


def limits_of(fields: Fields) -> dict[Quantity, tuple[float, float]]:
    """Ends of the colours of each quantity: the same for all values of a variable of the model, and for all spreads."""
    alike = {
        quantity: [quantity]
        if quantity.kind == DIFFERENCE
        else [
            one
            for one in fields
            if (one.kind, one.model_variable) == (quantity.kind, quantity.model_variable)
        ]
        for quantity in fields
    }
    return {
        quantity: quantity.limits(np.stack([fields[one] for one in alike[quantity]])) for quantity in fields
    }


def map_figures(
    dataset: xr.Dataset,
    fields: Fields,
    limits: Mapping[Quantity, tuple[float, float]],
    oceans: Sequence[NDArray[np.bool_]],
    marks: Sequence[Marks],
    titles: Sequence[str],
) -> Iterator[Figure]:
    """Fields (T, H, W) of one depth side by side, with the profiles; `oceans` (T, H, W) are those of the shallowest level.

    One figure for each time, which is valid until the next one.
    """
    latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
    width, height = np.ptp(borders(longitude)), np.ptp(borders(latitude))
    shape = width * np.cos(np.deg2rad((latitude[0] + latitude[-1]) / 2)) / height
    size = np.sqrt(MAP_AREA * shape), np.sqrt(MAP_AREA / shape)
    row = _panels(dataset, fields, limits, size, "grey: land, lighter where the sea floor is shallower")
    for axis in row.axes:
        label_degrees(axis.xaxis, "EW")
        label_degrees(axis.yaxis, "NS")
    for time, title in enumerate(titles):
        drawn: list[Artist] = []
        for axis, (quantity, field) in zip(row.axes, fields.items(), strict=True):
            behind, colours = oceans[time].astype(float), quantity.colours(dataset)
            drawn += draw_on_globe(axis, latitude, longitude, field[time], colours, limits[quantity], behind)
            handles = marks[time].draw(axis, lambda places: (places.longitude, places.latitude))
            drawn += handles
        yield row.fill(title, drawn, handles)
        row.clear()


def section_figures(
    dataset: xr.Dataset,
    fields: Fields,
    limits: Mapping[Quantity, tuple[float, float]],
    line: SectionLine,
    marks: Sequence[Marks],
    titles: Sequence[str],
) -> Iterator[Figure]:
    """Fields (T, D, N) along a line side by side, with lines of equal value, and above them the profiles in its cells.

    One figure for each time, which is valid until the next one.
    """
    depths, position = dataset["depth"].values, line.position
    edges = np.maximum(borders(depths), 0.0)
    x_label = "distance (km)" if line.along == "distance" else ""
    row = _panels(dataset, fields, limits, SECTION_SIZE, "grey: land and sea floor", x_label)
    row.axes[0].set_ylabel("depth (m)", fontsize=10)
    for axis in row.axes:
        axis.set_facecolor(SEA_FLOOR)
        axis.set_xlim(*borders(position)[[0, -1]])
        scale_depth(axis, edges[-1])
        if line.along != "distance":
            label_degrees(axis.xaxis, "EW" if line.along == "longitude" else "NS")
    for time, title in enumerate(titles):
        drawn: list[Artist] = []
        for axis, (quantity, field) in zip(row.axes, fields.items(), strict=True):
            shown, (low, high) = np.ma.masked_invalid(field[time]), limits[quantity]
            colours: Mapping[str, Any] = {"cmap": quantity.colours(dataset), "vmin": low, "vmax": high}
            drawn.append(axis.pcolormesh(borders(position), edges, shown, **colours))
            if quantity.kind == VALUE and len(depths) > 1:
                levels = MaxNLocator(8).tick_values(low, high)
                drawn.append(
                    axis.contour(position, depths, shown, levels, colors="black", linewidths=0.5, alpha=0.6)
                )
            handles = marks[time].draw(axis, lambda places: _above(places, line))
            drawn += handles
        yield row.fill(title, drawn, handles)
        row.clear()


def _panels(
    dataset: xr.Dataset,
    quantities: Iterable[Quantity],
    limits: Mapping[Quantity, tuple[float, float]],
    size: tuple[float, float],
    note: str,
    x_label: str = "",
) -> PanelRow:
    """A panel for each quantity, with its colour bar."""
    row = PanelRow([quantity.label for quantity in quantities], *size, note, x_label)
    for number, quantity in enumerate(quantities):
        units = units_of(dataset, quantity.variable)
        row.add_colour_bar(number, quantity.colours(dataset), limits[quantity], units, quantity.extend)
    return row


def _above(places: Places, line: SectionLine) -> tuple[Field, Field]:
    """The top of the section where profiles lie in its cells."""
    position = line.position[line.numbers_of(places.row, places.column)]
    return position, np.zeros(len(position))
