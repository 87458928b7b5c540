"""What a picture of a prediction can show: first guess, mean and spread of each variant, and how variants differ."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import cmocean
import numpy as np
import xarray as xr
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from depthdif.figures.panel import display_units
from depthdif.prediction.output_plan import COUNT
from depthdif.scores.score_names import variant_label

Field = NDArray[np.floating]

VALUE, SPREAD, DIFFERENCE = "value", "spread", "difference"
# The same extremes at all times: a few cells shall not take the colours from all others.
PERCENTILES = (1, 99)


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A variable of a prediction, or the difference of two.

    Attributes:
        label: as headings have it, such as "EMA mean".
        kind: "value", "spread" or "difference", which decides on the colours.
        variable: its name.
        minus: name of the variable that is subtracted from it; "" without one.
        model_variable: name of the variable of the model that it is about; "" where all are about the same.
    """

    label: str
    kind: str
    variable: str
    minus: str = ""
    model_variable: str = ""

    def of(self, dataset: xr.Dataset) -> xr.DataArray:
        """The quantity; of a dataset that is read when needed, select first: a difference needs both variables."""
        return dataset[self.variable] - dataset[self.minus] if self.minus else dataset[self.variable]

    def colours(self, dataset: xr.Dataset) -> Colormap:
        """Those that cmocean has for the variable."""
        if self.kind != VALUE:
            return cmocean.cm.amp if self.kind == SPREAD else cmocean.cm.balance
        name = dataset[self.variable].attrs.get("standard_name", self.variable)
        return cmocean.cm.haline if "salinity" in name else cmocean.cm.thermal

    def limits(self, fields: Field) -> tuple[float, float]:
        """Ends of the colours for fields of any shape: of spreads from 0, of differences about 0."""
        finite = fields[np.isfinite(fields)]
        if not finite.size:
            return (-1.0, 1.0) if self.kind == DIFFERENCE else (0.0, 1.0)
        low, high = (float(limit) for limit in np.percentile(finite, PERCENTILES))
        if self.kind == DIFFERENCE:
            high = max(abs(low), abs(high))
            low = -high
        elif self.kind == SPREAD:
            low = 0.0
        return (low, high) if high > low else (low - 0.5, low + 0.5)

    @property
    def extend(self) -> str:
        """At which ends of the colours values lie beyond."""
        return "max" if self.kind == SPREAD else "both"


def quantities_of(dataset: xr.Dataset, name: str, variants: Sequence[str]) -> dict[str, list[Quantity]]:
    """The quantities that a prediction of the variable `name` holds, in groups that one figure shows.

    A group is a variant, with the first guess; with several variants those after the first have a further one, of their
    differences from it, by the name "ema_minus_standard".
    """
    guess = f"{name}_first_guess"
    first = [Quantity("first guess", VALUE, guess)] if guess in dataset else []
    groups: dict[str, list[Quantity]] = {}
    for variant in variants:
        mean, spread = names_of(dataset, name, variant)
        label = f"{variant_label(variant)} "
        groups[variant] = [*first, Quantity(f"{label}mean", VALUE, mean)]
        if spread in dataset:
            groups[variant].append(Quantity(f"{label}spread", SPREAD, spread))
    for variant in variants[1:]:
        label = f"{variant_label(variant)} minus {variant_label(variants[0])}"
        pairs = zip(
            names_of(dataset, name, variant),
            names_of(dataset, name, variants[0]),
            ("mean", "spread"),
            strict=True,
        )
        groups[f"{variant}_minus_{variants[0]}"] = [
            Quantity(f"{label}, {what}", DIFFERENCE, of, minus)
            for of, minus, what in pairs
            if of in dataset and minus in dataset
        ]
    return groups


def each_once(groups: Mapping[str, Sequence[Quantity]]) -> list[Quantity]:
    """The quantities of all groups."""
    return list(dict.fromkeys(quantity for group in groups.values() for quantity in group))


def of_several(dataset: xr.Dataset, names: Sequence[str], variants: Sequence[str]) -> list[Quantity]:
    """The quantities of the variables of a model, with the name of the variable in their labels where there are several."""
    every = {name: each_once(quantities_of(dataset, name, variants)) for name in names}
    if len(every) == 1:
        return every[names[0]]
    return [
        dataclasses.replace(one, label=f"{title_of(name)}, {one.label}", model_variable=name)
        for name, quantities in every.items()
        for one in quantities
    ]


def count_of(dataset: xr.Dataset, name: str) -> str:
    """Name of the number of observations of the variable `name`."""
    of_one = f"{name}_{COUNT}"
    return of_one if of_one in dataset else COUNT


def names_of(dataset: xr.Dataset, name: str, variant: str) -> tuple[str, str]:
    """Names of mean and spread of a variant."""
    # Letters, digits and underscores only (CF section 2.3).
    mean = name if name in dataset else re.sub(r"\W", "_", f"{name}_{variant}")
    return mean, f"{mean}_spread"


def units_of(dataset: xr.Dataset, variable: str) -> str:
    """Units as figures show them."""
    return display_units(dataset[variable].attrs.get("units", ""))


def title_of(name: str) -> str:
    """The name of a variable at the start of a title."""
    return name.replace("_", " ").capitalize()


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Numbers of at most `most` of `count` things, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def dates(times: NDArray[np.datetime64]) -> list[str]:
    """Times (T,) in words: the date, and the time of day unless all are at midnight."""
    midnight = bool((times == times.astype("datetime64[D]")).all())
    return [str(time.astype("datetime64[D]" if midnight else "datetime64[m]")) for time in times]
