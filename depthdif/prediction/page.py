"""The page of a prediction: one HTML file that loads nothing, with sliders over time and depth."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from depthdif import UserError
from depthdif.figures.axes import DEPTH_TICKS
from depthdif.figures.globe import Field, borders, places_on_grid
from depthdif.figures.level_maps import format_degrees, round_numbers
from depthdif.figures.page_templates import page_templates
from depthdif.files import write_text
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.figures import Marks, limits_of, thinned
from depthdif.prediction.places import Places, WithheldRows
from depthdif.prediction.planes import Coded, coded, numbers_within
from depthdif.prediction.quantities import (
    SPREAD,
    VALUE,
    Quantity,
    dates,
    each_once,
    evenly,
    quantities_of,
    title_of,
    units_of,
)
from depthdif.prediction.section import Section, SectionLine

MEGABYTE = 1e6
# A map of the page is not wider, in pixels.
MOST_COLUMNS = 720
# A page whose first try is too large keeps this share of its planes.
SMALLER = 0.8
TEMPLATES = page_templates("depthdif.prediction")


def write_page(
    dataset: xr.Dataset,
    name: str,
    variants: Sequence[str],
    observations: Sequence[ProfileTable],
    path: Path,
    section: Section,
    withheld: WithheldRows | None = None,
    scores: Sequence[Mapping[str, Any]] = (),
    megabytes: float = 10,
) -> Path:
    """Write the page of a prediction and return its path.

    Args:
        dataset: the output of a prediction (docs/prediction.md), with whose attributes the page ends.
        name: of the variable.
        observations: the profiles that each time is predicted from, (T,).
        withheld: the comparison at withheld profiles, for their positions.
        scores: rows of a table of scores at these; missing values are empty.
        megabytes: size of the page. Where the prediction is larger, the page shows some of its times and depths, evenly chosen, and
            says so; cells are left out where a map has more than its pixels.

    Raises:
        UserError: no positive size.
    """
    if not megabytes > 0:
        raise UserError(f"megabytes={megabytes}: expected a positive size of the page, such as megabytes=10")
    coarse = thinned(dataset, MOST_COLUMNS)
    quantities = each_once(quantities_of(dataset, name, variants))
    line = section.on(dataset["latitude"].values, dataset["longitude"].values)
    times, depths = dataset.sizes["time"], dataset.sizes["depth"]
    most = megabytes * MEGABYTE / _bytes_a_plane(coarse, quantities)
    while True:
        shown = numbers_within(times, depths, most)
        numbers, levels = evenly(times, shown[0]), evenly(depths, shown[1])
        planes = {quantity: Planes(coarse, dataset, quantity, numbers, levels, line) for quantity in quantities}
        text = TEMPLATES.get_template("page.html.jinja").render(
            title=f"{title_of(name)} from profiles",
            region=_region(dataset),
            days=dates(dataset["time"].values),
            remarks=_remarks(dataset, coarse, shown, megabytes),
            first=_first_shown(quantities),
            quantities=quantities,
            scores=scores,
            columns=list(dict.fromkeys(column for row in scores for column in row)),
            number=_number,
            attributes=dataset.attrs,
            data={
                "times": [dates(dataset["time"].values)[number] for number in numbers],
                "depths": [f"{depth:g} m" for depth in dataset["depth"].values[levels]],
                "map": _map(coarse, line, dataset),
                "section": _section(dataset, line),
                "quantities": _quantities(dataset, planes),
                "colours": {
                    colours.name: _colours(colours) for colours in (one.colours(dataset) for one in quantities)
                },
                "profiles": [
                    _profiles(Marks.of(dataset, number, observations[number], withheld), coarse, levels, line)
                    for number in numbers
                ],
            },
        )
        if len(text.encode()) <= megabytes * MEGABYTE or shown == (1, 1):
            write_text(path, text)
            return path
        most = SMALLER * shown[0] * shown[1]


class Planes:
    """One quantity at some times: maps at some depths, and the section at all, north and the surface first.

    Attributes:
        maps, section: the coded values.
        map_values, section_values: (T, D, ...) from which the ends of the colours are found.
    """

    def __init__(
        self,
        coarse: xr.Dataset,
        dataset: xr.Dataset,
        quantity: Quantity,
        numbers: NDArray[np.int64],
        levels: NDArray[np.int64],
        line: SectionLine,
    ) -> None:
        cells = {
            key: xr.DataArray(at, dims="cell")
            for key, at in (("latitude", line.rows), ("longitude", line.columns))
        }
        maps, sections, oceans = [], [], []
        for number in numbers:
            field = quantity.of(coarse).isel(time=number, depth=[0, *levels]).values[:, ::-1]
            oceans.append(np.isfinite(field[0]))
            maps.append(field[1:])
            sections.append(quantity.of(dataset).isel(time=number).isel(cells).values)
        self.map_values, self.section_values = np.stack(maps), np.stack(sections)
        self.maps: Coded = coded(self.map_values, np.stack(oceans))
        self.section: Coded = coded(self.section_values, np.isfinite(self.section_values[:, 0]))


def _bytes_a_plane(coarse: xr.Dataset, quantities: Sequence[Quantity]) -> float:
    """About what one time and depth of all quantities takes."""
    time, depth = coarse.sizes["time"] // 2, coarse.sizes["depth"] // 2
    fields = [quantity.of(coarse).isel(time=[time], depth=[depth]).values for quantity in quantities]
    return float(sum(coded(field, np.isfinite(field[:, 0])).size for field in fields))


def _quantities(dataset: xr.Dataset, planes: Mapping[Quantity, Planes]) -> list[dict[str, Any]]:
    depths = next(iter(planes.values())).map_values.shape[1]
    at_depths = [limits_of({one: held.map_values[:, depth] for one, held in planes.items()}) for depth in range(depths)]
    along = limits_of({one: held.section_values for one, held in planes.items()})
    return [
        {
            "label": quantity.label,
            "units": units_of(dataset, quantity.variable),
            "colours": quantity.colours(dataset).name,
            "map": {**held.maps._asdict(), "limits": [limits[quantity] for limits in at_depths]},
            "section": {**held.section._asdict(), "limits": [along[quantity]]},
        }
        for quantity, held in planes.items()
    ]


def _map(coarse: xr.Dataset, line: SectionLine, dataset: xr.Dataset) -> dict[str, Any]:
    """Axes of the maps; positions are shares of the width and of the height, from the north-western corner."""
    latitude, longitude = coarse["latitude"].values, coarse["longitude"].values
    height, width = np.ptp(borders(latitude)), np.ptp(borders(longitude))
    north, east = round_numbers(latitude, 5), round_numbers(longitude, 5)
    return {
        "rows": [format_degrees(round(at, 3), "NS") for at in latitude[::-1].tolist()],
        "columns": [format_degrees(round(at, 3), "EW") for at in longitude.tolist()],
        "edges": np.linspace(0, 1, len(latitude) + 1).round(5).tolist(),
        "aspect": float(height / width / np.cos(np.deg2rad((latitude[0] + latitude[-1]) / 2))),
        "x": [[_shares(latitude[:1], at, coarse)[0][0], format_degrees(at, "EW")] for at in east],
        "y": [[_shares(at, longitude[:1], coarse)[0][1], format_degrees(at, "NS")] for at in north],
        "line": _shares(dataset["latitude"].values[line.rows], dataset["longitude"].values[line.columns], coarse),
    }


def _section(dataset: xr.Dataset, line: SectionLine) -> dict[str, Any]:
    """Axes of the section, whose depths crowd near the surface."""
    depths, position = dataset["depth"].values, line.position
    edges = np.sqrt(np.maximum(borders(depths), 0.0))
    letters = {"latitude": "NS", "longitude": "EW"}.get(line.along)

    def words(at: float) -> str:
        return format_degrees(at, letters) if letters else f"{at:.4g} km"

    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(position[0], position[-1])
    columns = np.interp(ticks, borders(position), np.arange(len(position) + 1), left=np.nan, right=np.nan)
    return {
        "title": line.title,
        "rows": [f"{depth:g} m" for depth in depths],
        "columns": [words(round(at, 3)) for at in position.tolist()],
        "edges": ((edges - edges[0]) / np.ptp(edges)).round(5).tolist(),
        "aspect": 0.62,
        "x": [[column / len(position), words(at)] for column, at in zip(columns, ticks, strict=True) if np.isfinite(column)],
        "y": [[(at**0.5 - edges[0]) / np.ptp(edges), f"{at}"] for at in DEPTH_TICKS if edges[0] <= at**0.5 <= edges[-1]],
        "line": [],
    }


def _shares(latitude: Field, longitude: Field, coarse: xr.Dataset) -> list[list[float]]:
    """(N, 2) where places lie on the maps, from the north-western corner; those beyond are left out."""
    grid = coarse["latitude"].values, coarse["longitude"].values
    row, column = places_on_grid(*np.broadcast_arrays(latitude, longitude), *grid)
    inside = np.isfinite(row)
    shares = np.stack([column[inside] / len(grid[1]), 1 - row[inside] / len(grid[0])], axis=1)
    return shares.round(5).tolist()


def _profiles(
    marks: Marks, coarse: xr.Dataset, levels: NDArray[np.int64], line: SectionLine
) -> dict[str, list[Any]]:
    """Profiles of one time: on the maps [x, y, withheld, depths at which they count, platform], above the section [x, withheld]."""
    on_map: list[Any] = []
    above: list[Any] = []
    grid = coarse["latitude"].values, coarse["longitude"].values
    for withheld, places in ((0, marks.used), (1, marks.withheld)):
        row, column = places_on_grid(places.latitude, places.longitude, *grid)
        x, y = (column / len(grid[1])).round(5), (1 - row / len(grid[0])).round(5)
        flags = ["".join("01"[int(counts)] for counts in at) for at in places.levels[:, levels]]
        every = zip(x.tolist(), y.tolist(), flags, places.platform.tolist(), strict=True)
        on_map += [[x, y, withheld, flag, platform] for x, y, flag, platform in every if np.isfinite(x)]
        cells = line.numbers_of(places.row, places.column)
        above += [[(cell + 0.5) / len(line.rows), withheld] for cell in cells.tolist()]
    return {"map": on_map, "section": above}


def _colours(colours: Colormap) -> str:
    """Base64 of 256 colours, three bytes each."""
    return base64.b64encode(colours(np.arange(256), bytes=True)[:, :3].tobytes()).decode()


def _first_shown(quantities: Sequence[Quantity]) -> list[str]:
    """Labels of the quantities that the left and the right side show first: mean and spread of the last variant."""
    mean = [quantity.label for quantity in quantities if quantity.kind == VALUE][-1]
    return [mean, next((one.label for one in quantities[::-1] if one.kind == SPREAD), quantities[0].label)]


def _region(dataset: xr.Dataset) -> str:
    """Such as "31°E to 109°E, 39°S to 25°N"."""
    ends = [
        [format_degrees(float(at), letters) for at in dataset[name].values[[0, -1]]]
        for name, letters in (("longitude", "EW"), ("latitude", "NS"))
    ]
    return ", ".join(" to ".join(pair) for pair in ends)


def _remarks(dataset: xr.Dataset, coarse: xr.Dataset, shown: tuple[int, int], megabytes: float) -> list[str]:
    """What the page leaves out."""
    counts = [
        f"{few} of {dataset.sizes[name]} {name}s"
        for few, name in zip(shown, ("time", "depth"), strict=True)
        if few < dataset.sizes[name]
    ]
    remarks = []
    if counts:
        remarks.append(f"To stay below {megabytes:g} MB the maps show {' and '.join(counts)}, evenly chosen.")
    step = -(-dataset.sizes["longitude"] // coarse.sizes["longitude"])
    if step > 1:
        remarks.append(f"The maps show one of {step} cells in each direction.")
    return remarks


def _number(value: Any) -> str:
    """Four significant digits of a number, other values as they are, nothing where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
