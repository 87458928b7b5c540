"""Pictures of reconstructions: maps per depth beside profiles against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cmocean
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor

from depthdif.data.normalization import Standardization
from depthdif.files import atomic_path

Field = NDArray[np.floating]

LAND = "0.72"
OPEN_OCEAN = 0.93
MAP_INCHES = 2.3
TRUTH_COLOUR = "black"
RECONSTRUCTION_COLOUR = "tab:red"
FIRST_GUESS_COLOUR = "tab:blue"


@dataclass(frozen=True)
class Case:
    """One patch in physical units; (D, H, W) fields hold NaN where they are not defined.

    Attributes:
        title: date and position.
        truth: NaN on land and below the sea floor.
        observations: NaN where nothing was observed.
        reconstruction: NaN where `truth` is.
        first_guess: NaN where `truth` is, or None when there is none.
        latitude: (H,) degrees north.
        longitude: (W,) degrees east, ascending also across the date line.
    """

    title: str
    truth: Field
    observations: Field
    reconstruction: Field
    first_guess: Field | None
    latitude: Field
    longitude: Field

    @property
    def error(self) -> Field:
        """Reconstruction minus truth."""
        return self.reconstruction - self.truth

    def rmse(self, level: int) -> float:
        """Root mean squared error of one level over the ocean, NaN where the level has none."""
        squares = self.error[level][np.isfinite(self.truth[level])] ** 2
        return float(np.sqrt(squares.mean())) if squares.size else float("nan")


def case_of(
    sample: Mapping[str, Tensor], reconstruction: Tensor | np.ndarray, standardization: Standardization
) -> Case:
    """One sample of the data contract, and its reconstruction (D, H, W) in physical units, as the figures take it."""
    ocean = sample["ocean_mask"]

    def physical(field: Tensor, defined: Tensor) -> np.ndarray:
        return np.where(defined, standardization.restore(field.float()), np.nan)

    day = np.datetime64(int(sample["time"]), "D")
    return Case(
        title=f"{day}   {format_position(*sample['coordinates'].tolist())}",
        truth=physical(sample["target"], ocean),
        observations=physical(sample["observations"], sample["observed_mask"]),
        reconstruction=np.where(ocean, reconstruction, np.nan),
        first_guess=physical(sample["first_guess"], ocean) if "first_guess" in sample else None,
        latitude=sample["latitude"].numpy(),
        longitude=sample["longitude"].numpy(),
    )


def nearest_levels(depths: Field, wanted: Sequence[float]) -> list[int]:
    """Levels of `depths` (D,) metres nearest to those wanted, each once, downwards."""
    return sorted({int(np.abs(depths - depth).argmin()) for depth in wanted})


def error_limits(errors: Sequence[Field], levels: Sequence[int]) -> list[float]:
    """Colour limit of each level, from the errors (D, H, W) of all weight states, so that their panels compare."""
    limits = []
    for level in levels:
        values = np.abs(np.concatenate([error[level].ravel() for error in errors]))
        values = values[np.isfinite(values)]
        limits.append(float(np.percentile(values, 98)) if values.size else 1.0)
    return [limit if limit > 0 else 1.0 for limit in limits]


def reconstruction_figure(
    cases: Sequence[Case],
    depths: Field,
    levels: Sequence[int],
    limits: Sequence[Sequence[float]],
    units: str,
    title: str,
) -> Figure:
    """Observations, first guess if any, truth, reconstruction and error of each case at each level, with profiles beside them.

    `depths` (D,) are metres, `levels` the rows, `limits` the error limits of each case and level.
    """
    has_first_guess = any(case.first_guess is not None for case in cases)
    columns = 4 + has_first_guess + 2
    figure = Figure(
        figsize=(MAP_INCHES * columns, MAP_INCHES * 0.82 * len(levels) * len(cases) + 0.6),
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    blocks = figure.subfigures(len(cases), 1, hspace=0.04, squeeze=False)
    for case, block, case_limits in zip(cases, blocks[:, 0], limits, strict=True):
        draw_case(block, case, depths, levels, case_limits, units)
    return figure


def draw_case(
    block: SubFigure, case: Case, depths: Field, levels: Sequence[int], limits: Sequence[float], units: str
) -> None:
    """One case: a row of maps for each level, two profiles to the right."""
    map_columns = 4 + (case.first_guess is not None)
    grid = block.add_gridspec(len(levels), map_columns + 2, width_ratios=[1.0] * map_columns + [0.7, 0.7])
    block.suptitle(case.title, fontsize=10, x=0.01, ha="left", weight="bold")
    for row, (level, limit) in enumerate(zip(levels, limits, strict=True)):
        axes = [block.add_subplot(grid[row, column]) for column in range(map_columns)]
        draw_level(block, axes, case, level, limit, units, f"{depths[level]:.3g} m")
    observed, unobserved = (block.add_subplot(grid[:, map_columns + side]) for side in (0, 1))
    draw_profile(observed, case, depths, most_complete_observed_column(case), "at a profile", units)
    draw_profile(unobserved, case, depths, column_far_from_observations(case), "far from profiles", units)
    observed.set_ylabel("depth (m)", fontsize=7)


def draw_level(
    block: SubFigure, axes: Sequence[Axes], case: Case, level: int, limit: float, units: str, depth: str
) -> None:
    """The maps of one level, on one colour scale but for the error."""
    truth = case.truth[level]
    if not np.isfinite(truth).any():
        for axis in axes:
            axis.axis("off")
        axes[0].text(0.5, 0.5, f"{depth}\nno ocean at this depth", ha="center", va="center", fontsize=8)
        return
    low, high = np.nanpercentile(truth, [1, 99])
    high = max(high, low + 1e-3)
    fields = {"truth": truth, "reconstruction": case.reconstruction[level]}
    if case.first_guess is not None:
        fields = {"first guess": case.first_guess[level], **fields}
    draw_observations(axes[0], case, level, low, high)
    axes[0].set_ylabel(depth, fontsize=9, weight="bold")
    for axis, (name, field) in zip(axes[1:], fields.items(), strict=False):
        image = draw_map(axis, case, field, cmocean.cm.thermal, low, high)
        axis.set_title(name, fontsize=8)
    add_colour_bar(block, image, axes[len(fields)], units)
    error = draw_map(axes[-1], case, case.error[level], cmocean.cm.balance, -limit, limit)
    axes[-1].set_title(f"error, RMSE {case.rmse(level):.2f} {units}", fontsize=8)
    add_colour_bar(block, error, axes[-1], units)


def draw_map(
    axis: Axes, case: Case, field: Field, colours: str | Colormap, low: float, high: float
) -> AxesImage:
    """One level (H, W) as a map, land grey."""
    latitude, longitude = case.latitude, case.longitude
    half_row, half_column = (latitude[1] - latitude[0]) / 2, (longitude[1] - longitude[0]) / 2
    axis.set_facecolor(LAND)
    image = axis.imshow(
        np.ma.masked_invalid(field),
        origin="lower",
        extent=(
            longitude[0] - half_column,
            longitude[-1] + half_column,
            latitude[0] - half_row,
            latitude[-1] + half_row,
        ),
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        aspect="auto",
    )
    axis.tick_params(labelsize=6)
    return image


def draw_observations(axis: Axes, case: Case, level: int, low: float, high: float) -> PathCollection:
    """The observed columns of one level as points over the bare ocean."""
    ocean = np.where(np.isfinite(case.truth[level]), OPEN_OCEAN, np.nan)
    draw_map(axis, case, ocean, "gray", 0, 1)
    values = case.observations[level]
    rows, columns = np.nonzero(np.isfinite(values))
    axis.set_title(f"observations ({len(rows)})", fontsize=8)
    return axis.scatter(
        case.longitude[columns],
        case.latitude[rows],
        c=values[rows, columns],
        cmap=cmocean.cm.thermal,
        vmin=low,
        vmax=high,
        s=14,
        edgecolors="0.25",
        linewidths=0.4,
    )


def add_colour_bar(block: SubFigure, image: AxesImage, axis: Axes, units: str) -> None:
    """A slim colour bar beside a map."""
    bar = block.colorbar(image, ax=axis, shrink=0.95, aspect=18, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    bar.set_label(units, fontsize=6)


def most_complete_observed_column(case: Case) -> tuple[int, int] | None:
    """Row and column of the observed profile with the most levels, None when nothing was observed."""
    counts = np.isfinite(case.observations).sum(axis=0)
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    return (int(row), int(column)) if counts.max() else None


def column_far_from_observations(case: Case) -> tuple[int, int] | None:
    """Row and column of the deepest ocean farthest, in cells, from every observed column; None when there is no ocean."""
    levels = np.isfinite(case.truth).sum(axis=0)
    if not levels.max():
        return None
    deepest = np.argwhere(levels == levels.max())
    observed = np.argwhere(np.isfinite(case.observations).any(axis=0))
    if not len(observed):
        return tuple(deepest[len(deepest) // 2])
    distance = np.linalg.norm(deepest[:, None] - observed[None], axis=-1).min(axis=1)
    return tuple(deepest[distance.argmax()])


def draw_profile(
    axis: Axes, case: Case, depths: Field, place: tuple[int, int] | None, title: str, units: str
) -> None:
    """Truth, first guess, reconstruction and observations of one water column against depth."""
    if place is None:
        axis.axis("off")
        return
    row, column = place
    lines = [
        ("truth", case.truth, TRUTH_COLOUR, "-"),
        ("reconstruction", case.reconstruction, RECONSTRUCTION_COLOUR, "-"),
    ]
    if case.first_guess is not None:
        lines.append(("first guess", case.first_guess, FIRST_GUESS_COLOUR, "--"))
    for name, field, colour, style in lines:
        axis.plot(field[:, row, column], depths, color=colour, linestyle=style, linewidth=1.2, label=name)
    axis.plot(
        case.observations[:, row, column],
        depths,
        "o",
        markersize=3,
        markerfacecolor="none",
        color=TRUTH_COLOUR,
        label="observed",
    )
    axis.set_ylim(float(depths[-1]) * 1.03, -0.03 * float(depths[-1]))
    axis.set_title(f"{title}\n{format_position(case.latitude[row], case.longitude[column])}", fontsize=8)
    axis.set_xlabel(units, fontsize=7)
    axis.tick_params(labelsize=6)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6, loc="lower right")


def display_units(units: str) -> str:
    """Degrees Celsius in one short form, however a file spells them; other units as they are."""
    celsius = {"celsius", "degc", "degree_c", "degrees_c", "deg_c", "degree_celsius", "degrees_celsius", "°c"}
    return "°C" if units.strip().lower() in celsius else units


def format_position(latitude: float, longitude: float) -> str:
    """Such as `12.5°S 65.5°E`; longitudes beyond the date line are folded back."""
    folded = (float(longitude) + 180) % 360 - 180
    north = "N" if latitude >= 0 else "S"
    east = "E" if folded >= 0 else "W"
    return f"{abs(float(latitude)):.1f}°{north} {abs(folded):.1f}°{east}"


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> Path:
    """Write a PNG beside `path`, then rename it, so that no half picture is ever seen."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi)
    return path
