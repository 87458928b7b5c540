"""Estimates against depth at withheld profiles."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from depthdif.evaluation.figure_style import style
from depthdif.evaluation.result import MODEL, OI
from depthdif.figures.axes import TRUTH_COLOUR, scale_depth, subplots, titled
from depthdif.figures.case import format_position
from depthdif.figures.panel import with_units
from depthdif.prediction.places import profile_rows
from depthdif.prediction.quantities import dates, title_of
from depthdif.prediction.withheld import HiddenValues

# Shares of the profiles with a smaller error than the one shown: good, median and bad ones.
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
# A profile at fewer depths shows no shape, and is taken only where there is no other.
FEWEST_DEPTHS = 4


def withheld_figure(dataset: xr.Dataset, name: str, units: str, hidden: HiddenValues) -> Figure:
    """Observation, OI, and mean and standard deviation of each variant, from the profiles of small errors to those of large ones.

    The errors are the RMSE of the mean of the last variant.
    """
    methods = [method for method in hidden.forecasts if method == OI or method.name == MODEL]
    means = {method: hidden.forecasts[method].mean.ravel() for method in methods}
    squares = (means[methods[-1]] - hidden.observed) ** 2
    days, depths = dates(dataset["time"].values), dataset["depth"].values[hidden.level]
    profiles = [
        (
            float(np.sqrt(squares[rows].mean())),
            # A platform that is not known is named by time and place.
            f"{day if ' ' in platform else f'{platform}, {day}'}\n{format_position(latitude, longitude)}",
            rows,
        )
        for day, time in zip(days, dataset["time"].values, strict=True)
        for (platform, latitude, longitude), rows in profile_rows(hidden, time).items()
    ]
    fewest = min(FEWEST_DEPTHS, max(len(rows) for *_, rows in profiles))
    ranked = sorted((one for one in profiles if len(one[2]) >= fewest), key=lambda one: one[:2])
    chosen = [
        ranked[number] for number in np.unique(np.rint(np.array(SHOWN) * (len(ranked) - 1)).astype(int))
    ]
    figure, (axes,) = subplots(2.3 * len(chosen) + 0.6, 4.6, 1, len(chosen), sharey=True)
    for axis, (error, place, rows) in zip(axes, chosen, strict=True):
        at = rows[np.argsort(depths[rows])]
        for method in methods:
            line, forecast = style(method), hidden.forecasts[method]
            axis.plot(means[method][at], depths[at], linewidth=1.5, **line)
            if method.name == MODEL and forecast.has_spread:
                deviation = np.sqrt(forecast.variance().ravel()[at])
                ends = means[method][at] - deviation, means[method][at] + deviation
                label = f"{method.label} ± standard deviation"
                axis.fill_betweenx(
                    depths[at], *ends, color=line["color"], alpha=0.22, linewidth=0, label=label
                )
        axis.plot(
            hidden.observed[at],
            depths[at],
            "o",
            color=TRUTH_COLOUR,
            markersize=4,
            markerfacecolor="white",
            label="observed",
        )
        scale_depth(axis, 1.05 * depths.max())
        axis.set_ylim(top=0.9 * depths.min())
        axis.set_title(f"{place}\n{f'RMSE {error:.2f} {units}'.rstrip()}", fontsize=9)
        axis.set_xlabel(with_units(name.replace("_", " "), units), fontsize=9)
    axes[0].set_ylabel("depth (m)", fontsize=9)
    title = f"{title_of(name)} at withheld profiles, from small errors to large ones of {methods[-1].label}"
    return titled(figure, title, legend=axes[0])
