"""Estimates against depth at withheld profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from depthdif.figures.axes import (
    FURTHER_COLOUR,
    OI_COLOUR,
    TRUTH_COLOUR,
    VARIANT_COLOURS,
    scale_depth,
    subplots,
    titled,
)
from depthdif.figures.case import format_position
from depthdif.prediction.places import PROFILE, WithheldRows, table_of
from depthdif.prediction.quantities import dates, names_of, title_of, units_of
from depthdif.scores.score_names import variant_label

# Shares of the profiles with a smaller error than the one shown: good, median and bad ones.
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
# A profile at fewer depths shows no shape, and is taken only where there is no other.
FEWEST_DEPTHS = 4
OI = "OI"


def withheld_figure(dataset: xr.Dataset, name: str, variants: Sequence[str], rows: WithheldRows) -> Figure:
    """Observation, OI and mean +- standard deviation of each variant at profiles from the smallest errors to the largest.

    The errors are the RMSE of the last variant.
    """
    table = table_of(dataset, rows)
    table["error"] = (rows.estimates[variants[-1]] - rows.observed) ** 2
    squares = table.groupby(PROFILE)["error"].agg(["mean", "size"])
    long = squares[squares["size"] >= min(FEWEST_DEPTHS, squares["size"].max())].sort_values("mean")
    chosen = [
        long.index[number] for number in np.unique(np.round(np.array(SHOWN) * (len(long) - 1)).astype(int))
    ]
    groups = table.groupby(PROFILE).indices
    units, days = units_of(dataset, names_of(dataset, name, variants[0])[0]), dates(dataset["time"].values)
    figure, (axes,) = subplots(2.3 * len(chosen) + 0.6, 4.6, 1, len(chosen), sharey=True)
    for axis, profile in zip(axes, chosen, strict=True):
        at = groups[profile][np.argsort(rows.depth[groups[profile]])]
        depth = rows.depth[at]
        if OI in rows.estimates:
            axis.plot(rows.estimates[OI][at], depth, color=OI_COLOUR, linestyle="--", linewidth=1.4, label=OI)
        for variant in variants:
            colour, mean = VARIANT_COLOURS.get(variant, FURTHER_COLOUR), rows.estimates[variant][at]
            axis.plot(mean, depth, color=colour, linewidth=1.6, label=f"{variant_label(variant)} mean")
            if variant in rows.deviations:
                spread, label = rows.deviations[variant][at], "± standard deviation"
                axis.fill_betweenx(
                    depth, mean - spread, mean + spread, color=colour, alpha=0.22, linewidth=0, label=label
                )
        axis.plot(
            rows.observed[at],
            depth,
            "o",
            color=TRUTH_COLOUR,
            markersize=4,
            markerfacecolor="white",
            label="observed",
        )
        scale_depth(axis, 1.05 * rows.depth.max())
        number, platform, _, latitude, longitude = profile
        error = np.sqrt(long.loc[profile, "mean"])
        place = f"{platform}, {days[number]}\n{format_position(latitude, longitude)}"
        axis.set_title(f"{place}\nRMSE {error:.2f} {units}", fontsize=9)
        axis.set_xlabel(f"{name.replace('_', ' ')} ({units})", fontsize=9)
    axes[0].set_ylabel("depth (m)", fontsize=9)
    title = f"{title_of(name)} at withheld profiles, from small errors to large ones of the {variant_label(variants[-1])} mean"
    return titled(figure, title, legend=axes[0])
