from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from depthdif.figures.case import (
    Case,
    column_far_from_observations,
    format_position,
    most_complete_observed_column,
)
from depthdif.figures.level_maps import format_degrees
from depthdif.figures.panel import error_limits, nearest_levels, reconstruction_figure, save_figure

DEPTHS = np.array([0.0, 50.0, 100.0, 500.0])


def case(first_guess: bool = False, observed: bool = True, member: bool = False) -> Case:
    generator = np.random.default_rng(0)
    truth = generator.normal(10, 3, (4, 8, 10))
    truth[:, :, 0] = np.nan
    truth[3] = np.nan
    observations = np.full_like(truth, np.nan)
    if observed:
        observations[:2, 2, 3] = truth[:2, 2, 3]
        observations[:3, 5, 6] = truth[:3, 5, 6]
    return Case(
        title="one",
        truth=truth,
        observations=observations,
        reconstruction=truth + 0.5,
        first_guess=truth + 1 if first_guess else None,
        latitude=np.linspace(-10, 10, 8),
        longitude=np.linspace(170, 190, 10),
        member=truth - 2 if member else None,
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_levels_nearest_to_the_target_depths_are_shown_once_each() -> None:
    assert nearest_levels(DEPTHS, [90, 110, 0, 2000]) == [0, 2, 3]


def test_the_rmse_of_a_level_counts_the_ocean_alone() -> None:
    one = case()
    assert one.rmse(one.reconstruction, 0) == pytest.approx(0.5)
    assert np.isnan(one.rmse(one.reconstruction, 3))


def test_error_colours_are_the_same_for_all_variants() -> None:
    small, large = np.full((1, 4, 4), 0.1), np.full((1, 4, 4), -2.0)
    assert error_limits([small, large], [0]) == [2.0]
    assert error_limits([np.full((1, 4, 4), np.nan)], [0]) == [1.0]
    assert error_limits([np.zeros((1, 4, 4))], [0]) == [1.0]


def test_profiles_are_drawn_at_the_longest_observation_and_far_from_all() -> None:
    assert most_complete_observed_column(case()) == (5, 6)
    assert most_complete_observed_column(case(observed=False)) is None
    row, column = column_far_from_observations(case())  # type: ignore[misc]
    assert (row, column) in {(0, 9), (7, 1), (7, 9), (0, 8)}
    assert column > 0  # Column 0 is land.


@pytest.mark.parametrize("first_guess", [False, True])
@pytest.mark.parametrize("member", [False, True])
def test_a_panel_shows_every_part_with_the_rmse_of_each_level(
    tmp_path: Path, first_guess: bool, member: bool
) -> None:
    cases = [case(first_guess, member=member), case(first_guess, member=member)]
    figure = reconstruction_figure(cases, DEPTHS, [0, 2], [[1.0, 1.0]] * 2, "degC", "ema weights, step 3")
    shown = texts(figure)
    assert "ema weights, step 3" in shown
    assert shown.count("one") == 2
    assert shown.count("truth") - shown.count("observed") == 4
    assert shown.count("first guess, RMSE 1.00") == 4 * first_guess
    assert shown.count("one member, RMSE 2.00") == 4 * member
    assert shown.count("ensemble mean, RMSE 0.50") == shown.count("error of the mean") == 4 * member
    assert shown.count("reconstruction, RMSE 0.50") == shown.count("error") == 4 * (not member)
    assert shown.count("observations (2)") == 2
    assert shown.count("observations (1)") == 2
    assert shown.count("0 m") == shown.count("100 m") == 2
    assert (
        shown.count("degC") == 8 + 4
    )  # Beside two colour bars of each level, below two profiles of each case.
    path = save_figure(figure, tmp_path / "panel.png")
    assert [file.name for file in tmp_path.iterdir()] == ["panel.png"]
    assert imread(path).std() > 0.05


def test_a_level_below_the_sea_floor_and_a_patch_without_observations_are_drawn_too(tmp_path: Path) -> None:
    figure = reconstruction_figure([case(observed=False)], DEPTHS, [0, 3], [[1.0, 1.0]], "degC", "title")
    save_figure(figure, tmp_path / "panel.png")
    assert texts(figure).count("no ocean at this depth") == 1
    assert "180°" in texts(figure)  # Below the lowest level that has maps.


@pytest.mark.parametrize(
    ("cases", "levels", "scale"), [(1, [0], 1.0), (4, [0, 1, 2, 3], 1.0), (2, [0, 2], 1e6)]
)
def test_no_text_of_a_panel_is_cut_or_lies_on_another(cases: int, levels: list[int], scale: float) -> None:
    one = case(first_guess=True, member=True)
    scaled = replace(
        one,
        truth=one.truth * scale,
        observations=one.observations * scale,
        reconstruction=one.reconstruction * scale,
        first_guess=scale * one.truth * 1.1,
        member=scale * one.truth * 0.9,
    )
    limits = [error_limits([scaled.error], levels)] * cases
    figure = reconstruction_figure([scaled] * cases, DEPTHS, levels, limits, "kg m-3", "EMA 0.99 weights")
    FigureCanvasAgg(figure).draw()
    boxes = [
        text.get_window_extent()
        for text in figure.axes[0].findobj(Text)
        if text.get_visible() and text.get_text()
    ]
    assert len(boxes) > 10
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    overlaps = [
        (first, second)
        for index, first in enumerate(boxes)
        for second in boxes[index + 1 :]
        if first.x0 < second.x1 - 1 and second.x0 < first.x1 - 1
        if first.y0 < second.y1 - 1 and second.y0 < first.y1 - 1
    ]
    assert not overlaps


def test_a_panel_has_few_axes_because_each_costs_time() -> None:
    cases = [case(first_guess=True, member=True)] * 2
    figure = reconstruction_figure(cases, DEPTHS, [0, 1, 2], [[1.0] * 3] * 2, "degC", "title")
    assert len(figure.axes) == 5  # All maps on one, and two profiles of each case.
    assert figure.get_layout_engine() is None


@pytest.mark.parametrize(
    ("latitude", "longitude", "words"),
    [(12.5, 65.0, "12.5°N 65.0°E"), (-3.0, 190.0, "3.0°S 170.0°W"), (0.0, -180.0, "0.0°N 180.0°W")],
)
def test_positions_are_written_as_on_a_chart(latitude: float, longitude: float, words: str) -> None:
    assert format_position(latitude, longitude) == words


def test_degrees_are_written_as_on_a_chart() -> None:
    assert [format_degrees(40, "NS"), format_degrees(-2.5, "NS"), format_degrees(190, "EW")] == [
        "40°N", "2.5°S", "170°W",
    ]  # fmt: skip
    assert format_degrees(0, "EW") == "0°"
    assert format_degrees(180, "EW") == format_degrees(-180, "EW") == "180°"
