from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from depthdif import UserError
from depthdif.data.field import OceanField
from depthdif.data.patches import Box
from depthdif.data.synthetic import synthetic_field
from depthdif.prediction.grid import Grid

GLOBE = synthetic_field(times=2, depths=3, height=18, width=36)


def test_a_region_has_the_cells_with_their_centre_inside() -> None:
    grid = Grid.of_region(GLOBE, Box((30, 110), (-40, 25)))
    assert grid.longitude.tolist() == list(range(35, 110, 10))
    assert ((grid.latitude >= -40) & (grid.latitude < 25)).all()
    assert np.array_equal(GLOBE.latitude[grid.rows], grid.latitude)
    assert np.array_equal(GLOBE.longitude[grid.columns], grid.longitude)
    ocean = np.isfinite(GLOBE.target.values[0])[:, grid.rows[:, None], grid.columns]
    assert np.array_equal(grid.ocean_mask, ocean)
    assert not grid.wraps


def test_a_region_across_the_date_line_ascends_from_its_west() -> None:
    grid = Grid.of_region(GLOBE, Box((160, -150), (-40, 40)))
    assert grid.longitude.tolist() == [165, 175, 185, 195, 205]
    assert grid.columns.tolist() == [34, 35, 0, 1, 2]


def test_the_whole_globe_wraps_and_a_part_of_it_does_not() -> None:
    assert Grid.of_region(GLOBE, Box()).wraps
    assert not Grid.of_region(GLOBE, Box((-180, 170), (-90, 90))).wraps


def test_a_region_beside_the_grid_is_refused_with_what_the_grid_covers() -> None:
    regional = synthetic_field(times=1, depths=2, height=8, width=8, longitude=(0, 8), latitude=(30, 38))
    with pytest.raises(UserError, match=r"covers latitude 30.5 to 37.5 and longitude 0.5 to 7.5; set region"):
        Grid.of_region(regional, Box((100, 110), (-40, 25)))


def state(field: OceanField) -> dict[str, object]:
    return {"depths": field.depths.tolist(), "domain": field.domain()}


def test_cells_outside_of_the_training_domain_are_refused_where_the_model_knows_positions() -> None:
    regional = synthetic_field(times=1, depths=3, height=8, width=8, longitude=(0, 8), latitude=(30, 38))
    grid = Grid.of_region(GLOBE, Box((30, 110), (-40, 25)))
    grid.check_trained(state(regional), needs_domain=False)
    grid.check_trained(state(GLOBE), needs_domain=True)
    with pytest.raises(UserError, match=r"trained on latitude 30.5 to 37.5"):
        grid.check_trained(state(regional), needs_domain=True)
    inside = Grid.of_region(regional, Box((2, 6), (31, 36)))
    inside.check_trained(state(regional), needs_domain=True)


def test_other_depths_than_those_of_the_checkpoint_are_refused() -> None:
    deeper = synthetic_field(times=1, depths=4, height=18, width=36)
    with pytest.raises(UserError, match="trained on 4 depths"):
        Grid.of_region(GLOBE, Box()).check_trained(state(deeper), needs_domain=False)


def test_each_variable_has_an_ocean_of_its_own() -> None:
    both = synthetic_field(times=1, depths=3, height=18, width=36, salinity=True)
    salinity = both.further[0].copy()
    salinity.values[:, 1] = np.nan
    grid = Grid.of_region(dataclasses.replace(both, further=(salinity,)), Box())
    assert grid.shape == (3, 18, 36)
    assert grid.ocean_mask.shape == (6, 18, 36)
    assert np.array_equal(grid.ocean_of(0), np.isfinite(both.target.values[0]))
    assert not grid.ocean_of(1)[1].any()
    assert np.array_equal(grid.ocean_of(1)[[0, 2]], grid.ocean_of(0)[[0, 2]])
