"""Figures of a prediction: what they hold, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.figures import (
    Marks,
    draw_prediction,
    limits_of,
    map_figures,
    section_figures,
    thinned,
)
from depthdif.prediction.quantities import dates, evenly, quantities_of
from depthdif.prediction.section import Section
from depthdif.prediction.withheld_figure import withheld_figure


def marks_of(predicted: Any, numbers: range) -> list[Marks]:
    return [Marks.of(predicted.dataset, n, predicted.observations[n], predicted.withheld) for n in numbers]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def test_each_map_shows_the_field_of_its_time_with_the_profiles_at_its_depth(predicted: Any) -> None:
    dataset = predicted.dataset
    level = 7
    quantities = quantities_of(dataset, "temperature", ("ema",))["ema"]
    fields = {one: one.of(dataset).values[:, level] for one in quantities}
    limits, marks = limits_of(fields), [one.at(level) for one in marks_of(predicted, range(3))]
    ocean = list(np.isfinite(dataset["temperature"].values[:, 0]))
    days = dates(dataset["time"].values)
    drawn = 0
    for time, figure in enumerate(map_figures(dataset, fields, limits, ocean, marks, days)):
        assert days[time] in texts(figure)
        panels = figure.axes[: len(quantities)]
        assert [axis.get_title() for axis in panels] == ["first guess", "EMA mean", "EMA spread"]
        for axis, quantity in zip(panels, quantities, strict=True):
            ground, image = axis.images
            np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), fields[quantity][time])
            np.testing.assert_array_equal(ground.get_array(), ocean[time])
            assert image.get_clim() == limits[quantity]
            used, withheld = axis.lines
            np.testing.assert_allclose(used.get_ydata(), marks[time].used.latitude)
            np.testing.assert_allclose(withheld.get_xdata(), marks[time].withheld.longitude)
        counts = len(marks[time].used.row), len(marks[time].withheld.row)
        assert legend(figure) == [f"profiles used ({counts[0]})", f"profiles withheld ({counts[1]})"]
        drawn += 1
    assert drawn == 3


def test_first_guess_and_means_have_the_same_colours_and_differences_are_about_zero(
    predicted_by_two: Any,
) -> None:
    dataset = predicted_by_two.dataset
    groups = quantities_of(dataset, "temperature", ("standard", "ema"))
    assert list(groups) == ["standard", "ema", "ema_minus_standard"]
    every = [one for group in groups.values() for one in group]
    limits = limits_of({one: one.of(dataset).values for one in every})
    assert len({limits[one] for one in every if one.kind == "value"}) == 1
    assert {limits[one][0] for one in every if one.kind == "spread"} == {0.0}
    mean, spread = groups["ema_minus_standard"]
    assert limits[mean][0] == -limits[mean][1]
    assert limits[mean] != limits[spread]
    xr.testing.assert_equal(mean.of(dataset), dataset["temperature_ema"] - dataset["temperature_standard"])


def test_the_section_is_the_column_of_the_field_and_shows_the_profiles_in_it(predicted: Any) -> None:
    dataset = predicted.dataset
    line = Section(longitude=80.3).on(dataset["latitude"].values, dataset["longitude"].values)
    quantities = quantities_of(dataset, "temperature", ("ema",))["ema"]
    expected = {one: one.of(dataset).sel(longitude=80.3, method="nearest").values for one in quantities}
    marks = marks_of(predicted, range(3))
    for time, figure in enumerate(
        section_figures(dataset, expected, limits_of(expected), line, marks, ["a", "b", "c"])
    ):
        for axis, quantity in zip(figure.axes, quantities, strict=False):
            mesh = axis.collections[0]
            np.testing.assert_array_equal(
                np.ma.filled(mesh.get_array(), np.nan).reshape(expected[quantity][time].shape),
                expected[quantity][time],
            )
            assert axis.get_ylim()[0] > axis.get_ylim()[1] == 0
            above = sum(len(one.get_xdata()) for one in axis.lines)
            assert above == sum(
                int((np.abs(places.longitude - line_longitude(dataset, line)) <= 1).sum())
                for places in (marks[time].used, marks[time].withheld)
            )


def line_longitude(dataset: xr.Dataset, line: Any) -> float:
    return float(dataset["longitude"].values[line.columns[0]])


def test_files_are_named_by_depth_date_and_number_of_the_time(predicted: Any, tmp_path: Path) -> None:
    section = Section(track=[[50, -30], [60, -20]])
    paths = draw_prediction(*predicted.arguments, tmp_path, [12, 490], section, predicted.withheld)
    ends = [f"2000-0{time}-15_time_{time}_of_3.png" for time in (1, 2, 3)]
    starts = ["map_ema_10m", "map_ema_500m", "section_ema"]
    assert [path.name for path in paths] == [
        *(f"{start}_{end}" for start in starts for end in ends),
        "withheld_profiles.png",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    for path in paths:
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(image.width * image.height)) > 100


def test_a_prediction_without_first_guess_spread_or_profiles_is_drawn(predicted: Any, tmp_path: Path) -> None:
    bare = predicted.dataset[["temperature", "number_of_observations"]].isel(time=[0], depth=[0, 3])
    paths = draw_prediction(
        bare, "temperature", ["ema_0.99"], [ProfileTable.empty()], tmp_path, [0], Section(latitude=-10)
    )
    assert [path.name for path in paths] == [
        "map_ema_0.99_0m_2000-01-15_time_1_of_1.png",
        "section_ema_0.99_2000-01-15_time_1_of_1.png",
    ]


def test_at_most_so_many_things_are_chosen_evenly_with_both_ends() -> None:
    assert evenly(52, 12).tolist() == [0, 5, 9, 14, 19, 23, 28, 32, 37, 42, 46, 51]
    assert evenly(3, 12).tolist() == [0, 1, 2]
    assert evenly(9, 1).tolist() == [0]


def test_times_of_day_are_written_where_there_are_any() -> None:
    days = np.array(["2016-01-01", "2016-01-02"], "datetime64[ns]")
    assert dates(days) == ["2016-01-01", "2016-01-02"]
    assert dates(days + np.timedelta64(6, "h")) == ["2016-01-01T06:00", "2016-01-02T06:00"]


@pytest.mark.parametrize(("most", "columns", "rows"), [(66, 40, 33), (40, 20, 16), (20, 10, 8)])
def test_a_map_is_thinned_to_its_pixels(predicted: Any, most: int, columns: int, rows: int) -> None:
    dataset = predicted.dataset.isel(longitude=slice(40), latitude=slice(33))
    small = thinned(dataset, most)
    assert (small.sizes["longitude"], small.sizes["latitude"]) == (columns, rows)
    assert set(small["longitude"].values) <= set(dataset["longitude"].values)


def test_withheld_profiles_are_shown_from_small_errors_to_large_ones(predicted: Any) -> None:
    hidden = predicted.withheld
    figure = withheld_figure(predicted.dataset, "temperature", "°C", hidden)
    errors = [float(axis.get_title().split("RMSE ")[1].split()[0]) for axis in figure.axes]
    assert errors == sorted(errors)
    assert len(errors) == 5
    model = list(hidden.forecasts.values())[-1]
    for axis, error in zip(figure.axes, errors, strict=True):
        oi, mean, observed = axis.lines
        assert [line.get_label() for line in (oi, mean, observed)] == ["OI", "EMA, mean of 2", "observed"]
        misfit = np.asarray(mean.get_xdata()) - np.asarray(observed.get_xdata())
        assert np.sqrt((misfit**2).mean()) == pytest.approx(error, abs=0.006)
        assert set(observed.get_xdata()) <= set(hidden.observed)
        assert set(mean.get_xdata()) <= set(model.mean.ravel())
        (band,) = axis.collections
        low, high = band.get_paths()[0].get_extents().intervalx
        assert low <= min(mean.get_xdata()) <= max(mean.get_xdata()) <= high


def test_quantities_are_coloured_by_what_they_are(predicted: Any) -> None:
    dataset = predicted.dataset.copy()
    first, mean, spread = quantities_of(dataset, "temperature", ("ema",))["ema"]
    assert [one.colours(dataset).name for one in (first, mean, spread)] == ["thermal", "thermal", "amp"]
    dataset["temperature"].attrs["standard_name"] = "sea_water_practical_salinity"
    assert mean.colours(dataset).name == "haline"
    low, high = mean.limits(np.array([np.nan, np.nan]))
    assert Normalize(low, high)(low) == 0
