from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.scores.volume import layer_thickness, relative_areas


def test_areas_are_those_of_a_sphere() -> None:
    assert relative_areas(np.array([0.0, 60.0, -60.0, 90.0])) == pytest.approx([1, 0.5, 0.5, 0], abs=1e-12)
    latitude = np.arange(-89.75, 90, 0.5)
    assert relative_areas(latitude).sum() * np.radians(0.5) == pytest.approx(2, rel=1e-4)
    assert np.all(relative_areas(np.array([-90.0, 90.0], np.float32)) >= 0)


def test_layers_meet_half_way_between_their_levels_and_end_at_the_sea_surface() -> None:
    assert layer_thickness(np.array([0.0, 10.0, 30.0, 100.0])) == pytest.approx([5, 15, 45, 70])
    assert layer_thickness(np.array([5.0, 15.0, 25.0])) == pytest.approx([10, 10, 10])
    # The first layer reaches from 90 to 110 m.
    assert layer_thickness(np.array([100.0, 120.0])) == pytest.approx([20, 20])


def test_a_single_level_counts() -> None:
    assert layer_thickness(np.array([100.0])).tolist() == [1.0]


@given(st.lists(st.integers(0, 6000), min_size=2, max_size=60, unique=True))
def test_layers_fill_the_water_between_the_outermost_levels(levels: list[int]) -> None:
    depths = np.sort(np.array(levels, np.float32))
    thickness = layer_thickness(depths)
    assert np.all(thickness > 0)
    assert depths[-1] - depths[0] <= thickness.sum() * (1 + 1e-9)
