from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from depthdif.figures.panel import (
    Case,
    column_far_from_observations,
    error_limits,
    format_position,
    most_complete_observed_column,
    nearest_levels,
    reconstruction_figure,
    save_figure,
)

DEPTHS = np.array([0.0, 50.0, 100.0, 500.0])


def case(first_guess: bool = False, observed: bool = True) -> Case:
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
    )


def titles(figure: object) -> list[str]:
    return [axis.get_title() for axis in figure.findobj() if hasattr(axis, "get_title") and axis.get_title()]  # type: ignore[attr-defined]


def test_the_levels_nearest_to_the_wanted_depths_are_shown_once_each() -> None:
    assert nearest_levels(DEPTHS, [90, 110, 0, 2000]) == [0, 2, 3]


def test_the_rmse_of_a_level_counts_the_ocean_alone() -> None:
    assert case().rmse(0) == pytest.approx(0.5)
    assert np.isnan(case().rmse(3))


def test_error_colours_are_the_same_for_all_weight_states() -> None:
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
def test_a_panel_shows_every_part_with_the_rmse_of_each_level(tmp_path: Path, first_guess: bool) -> None:
    cases = [case(first_guess), case(first_guess)]
    figure = reconstruction_figure(cases, DEPTHS, [0, 2], [[1.0, 1.0]] * 2, "degC", "ema weights, step 3")
    shown = titles(figure)
    assert shown.count("truth") == shown.count("reconstruction") == 4
    assert shown.count("first guess") == 4 * first_guess
    assert shown.count("error, RMSE 0.50 degC") == 4
    assert shown.count("observations (2)") == 2
    assert shown.count("observations (1)") == 2
    path = save_figure(figure, tmp_path / "panel.png")
    assert [file.name for file in tmp_path.iterdir()] == ["panel.png"]
    assert imread(path).std() > 0.05


def test_a_level_below_the_sea_floor_and_a_patch_without_observations_are_drawn_too(tmp_path: Path) -> None:
    figure = reconstruction_figure([case(observed=False)], DEPTHS, [0, 3], [[1.0, 1.0]], "degC", "title")
    save_figure(figure, tmp_path / "panel.png")
    assert any(
        "no ocean at this depth" in text.get_text()
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
    )


@pytest.mark.parametrize(
    ("latitude", "longitude", "words"),
    [(12.5, 65.0, "12.5°N 65.0°E"), (-3.0, 190.0, "3.0°S 170.0°W"), (0.0, -180.0, "0.0°N 180.0°W")],
)
def test_positions_are_written_as_on_a_chart(latitude: float, longitude: float, words: str) -> None:
    assert format_position(latitude, longitude) == words
