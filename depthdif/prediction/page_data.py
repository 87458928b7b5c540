"""What the script of the page of a prediction draws from: coded maps and section, their axes, colours and profiles.

Rows of maps go from north to south, those of sections from the surface down. Places are shares of the width and of the height of
a map, from its north-western corner.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import Colormap
from matplotlib.ticker import Locator, MaxNLocator
from numpy.typing import NDArray

from depthdif.figures.axes import DEPTH_TICKS
from depthdif.figures.globe import DEGREE_TICKS, Field, borders, places_on_grid
from depthdif.figures.level_maps import format_degrees
from depthdif.prediction.figures import Marks, limits_of
from depthdif.prediction.planes import Coded, coded
from depthdif.prediction.quantities import Quantity, dates, units_of
from depthdif.prediction.section import SectionLine


def page_data(
    dataset: xr.Dataset,
    coarse: xr.Dataset,
    quantities: Sequence[Quantity],
    numbers: NDArray[np.int64],
    levels: NDArray[np.int64],
    line: SectionLine,
    marks: Sequence[Marks],
) -> dict[str, Any]:
    """Everything at the times `numbers` (T,), with maps of `coarse`, `dataset` with fewer cells, at the depths `levels` (D,).

    `marks` are the profiles at these times.
    """
    planes = {quantity: Planes(coarse, dataset, quantity, numbers, levels, line) for quantity in quantities}
    colours = [quantity.colours(dataset) for quantity in quantities]
    days = dates(dataset["time"].values)
    return {
        "times": [days[number] for number in numbers],
        "depths": [f"{depth:g} m" for depth in dataset["depth"].values[levels]],
        "levels": levels.tolist(),
        "map": _map(coarse, line, dataset),
        "section": _section(dataset, line),
        "quantities": _quantities(dataset, planes),
        "colours": {one.name: _colours(one) for one in colours},
        "profiles": [_profiles(each, coarse, levels, line) for each in marks],
    }


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
            field = quantity.of(coarse.isel(time=number, depth=[0, *levels])).values[:, ::-1]
            oceans.append(np.isfinite(field[0]))
            maps.append(field[1:])
            sections.append(quantity.of(dataset.isel(time=number).isel(cells)).values)
        self.map_values, self.section_values = np.stack(maps), np.stack(sections)
        self.maps: Coded = coded(self.map_values, np.stack(oceans))
        self.section: Coded = coded(self.section_values, np.isfinite(self.section_values[:, 0]))


def bytes_a_plane(coarse: xr.Dataset, quantities: Sequence[Quantity]) -> float:
    """About what one time and depth of all quantities takes."""
    time, depth = coarse.sizes["time"] // 2, coarse.sizes["depth"] // 2
    fields = [quantity.of(coarse.isel(time=[time], depth=[depth])).values for quantity in quantities]
    return float(sum(coded(field, np.isfinite(field[:, 0])).size for field in fields))


def _quantities(dataset: xr.Dataset, planes: Mapping[Quantity, Planes]) -> list[dict[str, Any]]:
    depths = next(iter(planes.values())).map_values.shape[1]
    at_depths = [
        limits_of({one: held.map_values[:, depth] for one, held in planes.items()}) for depth in range(depths)
    ]
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
    """Axes of the maps."""
    latitude, longitude = coarse["latitude"].values, coarse["longitude"].values
    height, width = np.ptp(borders(latitude)), np.ptp(borders(longitude))
    section = dataset["latitude"].values[line.rows], dataset["longitude"].values[line.columns]
    return {
        "rows": [format_degrees(at, "NS") for at in latitude[::-1].tolist()],
        "columns": [format_degrees(at, "EW") for at in longitude.tolist()],
        "edges": np.linspace(0, 1, len(latitude) + 1).round(5).tolist(),
        "aspect": float(height / width / np.cos(np.deg2rad((latitude[0] + latitude[-1]) / 2))),
        "x": _ticks(longitude, DEGREE_TICKS(), "EW"),
        "y": [[1 - share, label] for share, label in _ticks(latitude, DEGREE_TICKS(), "NS")],
        "line": _shares(*section, coarse),
    }


def _section(dataset: xr.Dataset, line: SectionLine) -> dict[str, Any]:
    """Axes of the section, whose depths crowd near the surface."""
    depths, position = dataset["depth"].values, line.position
    edges = np.sqrt(np.maximum(borders(depths), 0.0))
    letters = {"latitude": "NS", "longitude": "EW"}.get(line.along, "")
    return {
        "title": line.title,
        "rows": [f"{depth:g} m" for depth in depths],
        "columns": [_place(at, letters) for at in position.tolist()],
        "edges": ((edges - edges[0]) / np.ptp(edges)).round(5).tolist(),
        "aspect": 0.62,
        "x": _ticks(position, DEGREE_TICKS() if letters else MaxNLocator(5), letters),
        "y": [
            [(at**0.5 - edges[0]) / np.ptp(edges), f"{at} m"]
            for at in DEPTH_TICKS
            if edges[0] <= at**0.5 <= edges[-1]
        ],
    }


def _ticks(centres: Field, locator: Locator, letters: str) -> list[Any]:
    """Round places among cells with (N,) centres, as shares of all cells, with their labels."""
    edges = borders(centres)
    places = np.asarray(locator.tick_values(edges[0], edges[-1]))
    shares = np.interp(places, edges, np.linspace(0, 1, len(edges)), left=np.nan, right=np.nan).tolist()
    return [
        [share, _place(at, letters)]
        for share, at in zip(shares, places.tolist(), strict=True)
        if share == share
    ]


def _place(at: float, letters: str) -> str:
    """Such as "12.5°S" for the letters "NS", and kilometres without letters."""
    return format_degrees(at, letters) if letters else f"{at:.4g} km"


def _shares(latitude: Field, longitude: Field, coarse: xr.Dataset) -> list[list[float]]:
    """(N, 2) where places lie on the maps, from the north-western corner; those beyond are left out."""
    grid = coarse["latitude"].values, coarse["longitude"].values
    row, column = places_on_grid(latitude, longitude, *grid)
    inside = np.isfinite(row)
    shares = np.stack([column[inside] / len(grid[1]), 1 - row[inside] / len(grid[0])], axis=1)
    return shares.round(5).tolist()


def _profiles(
    marks: Marks, coarse: xr.Dataset, levels: NDArray[np.int64], line: SectionLine
) -> dict[str, list[Any]]:
    """Profiles of one time: on the maps [x, y, withheld, whether they count at each depth, platform], above the section
    [x, withheld].
    """
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
