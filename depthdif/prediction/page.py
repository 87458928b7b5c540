"""The page of a prediction: one HTML file that loads nothing, with sliders over time and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.figures.level_maps import format_degrees
from depthdif.figures.page_templates import page_templates
from depthdif.files import write_text
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.figures import Marks, thinned
from depthdif.prediction.page_data import bytes_a_plane, page_data
from depthdif.prediction.planes import numbers_within
from depthdif.prediction.quantities import (
    SPREAD,
    VALUE,
    Quantity,
    count_of,
    dates,
    evenly,
    of_several,
    title_of,
)
from depthdif.prediction.section import Section
from depthdif.prediction.withheld import HiddenValues

MEGABYTE = 1e6
# A map of the page is not wider, in pixels.
MOST_COLUMNS = 720
# A page whose first try is too large keeps this share of its planes.
SMALLER = 0.8
TEMPLATES = page_templates("depthdif.prediction")


def write_page(
    dataset: xr.Dataset,
    name: str | Sequence[str],
    variants: Sequence[str],
    observations: Sequence[ProfileTable],
    path: str | Path,
    section: Section,
    withheld: HiddenValues | None = None,
    scores: Sequence[Mapping[str, Any]] = (),
    megabytes: float = 10,
) -> Path:
    """Write the page of a prediction and return its path.

    Args:
        dataset: the output of a prediction (docs/prediction.md), with whose attributes the page ends.
        name: of the variable, or of all variables of the model.
        observations: the profiles that each time is predicted from, (T,).
        withheld: the values of withheld profiles, for their positions.
        scores: rows of a table of scores at these; missing values are empty.
        megabytes: size of the page. Of a larger prediction it shows some times and depths, evenly chosen, and says so. Cells
            are left out where a map has more of them than pixels.

    Raises:
        UserError: no positive size.
    """
    if not megabytes > 0:
        raise UserError(f"megabytes={megabytes}: expected a positive size of the page, such as megabytes=10")
    coarse = thinned(dataset, MOST_COLUMNS)
    names = [name] if isinstance(name, str) else list(name)
    quantities, counts = of_several(dataset, names, variants), [count_of(dataset, each) for each in names]
    line = section.on(dataset["latitude"].values, dataset["longitude"].values)
    times, depths = dataset.sizes["time"], dataset.sizes["depth"]
    most = megabytes * MEGABYTE / bytes_a_plane(coarse, quantities)
    while True:
        shown = numbers_within(times, depths, most)
        numbers, levels = evenly(times, shown[0]), evenly(depths, shown[1])
        marks = [Marks.of(dataset, number, observations[number], withheld, counts) for number in numbers]
        text = TEMPLATES.get_template("page.html.jinja").render(
            title=f"{title_of(' and '.join(names))} from profiles",
            region=_region(dataset),
            days=dates(dataset["time"].values),
            remarks=_remarks(dataset, coarse, shown, megabytes),
            first=_first_shown(quantities),
            quantities=quantities,
            scores=scores,
            columns=list(dict.fromkeys(column for row in scores for column in row)),
            number=_number,
            attributes=dataset.attrs,
            data=page_data(dataset, coarse, quantities, numbers, levels, line, marks),
        )
        if len(text.encode()) <= megabytes * MEGABYTE or shown == (1, 1):
            write_text(path, text)
            return Path(path)
        most = SMALLER * shown[0] * shown[1]


def _first_shown(quantities: Sequence[Quantity]) -> list[str]:
    """Labels of the quantities that the left and the right side show first.

    These are mean and spread of the last variant, or its means of the first two variables.
    """
    means = {one.model_variable: one.label for one in quantities if one.kind == VALUE}
    if len(means) > 1:
        return list(means.values())[:2]
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
