from __future__ import annotations

import numpy as np
import pytest

from depthdif import UserError
from depthdif.data.synthetic import synthetic_field


def test_the_field_has_the_size_of_its_arguments() -> None:
    field = synthetic_field(times=2, depths=50, height=20, width=30, max_depth=5700)
    assert field.target.shape == (2, 50, 20, 30)
    assert field.surface[0].shape == (2, 20, 30)
    assert (field.depths[0], field.depths[-1]) == (0, 5700)
    assert field.wraps


def test_regional_grid_does_not_wrap() -> None:
    field = synthetic_field(times=1, depths=2, height=10, width=10, longitude=(20, 60), latitude=(-30, 0))
    assert not field.wraps
    assert (field.longitude[0], field.longitude[-1]) == (22, 58)


def test_ocean_is_warm_above_and_cold_below() -> None:
    profile = synthetic_field().target.mean(("time", "latitude", "longitude")).values
    assert np.all(np.diff(profile) < 0)
    assert profile[0] > 10
    assert profile[-1] < 5


def test_tropics_are_warmer_than_high_latitudes() -> None:
    surface = synthetic_field().target[:, 0].mean(("time", "longitude"))
    assert surface.sel(latitude=0, method="nearest") > surface.sel(latitude=50, method="nearest") + 10
    assert surface.sel(latitude=0, method="nearest") > surface.sel(latitude=-50, method="nearest") + 10


def test_seasons_are_opposite_in_the_hemispheres() -> None:
    target = synthetic_field(eddies=0).target
    july, january = target[6, 0], target[0, 0]
    warming = (july - january).mean("longitude")
    assert warming.sel(latitude=40, method="nearest") > 3
    assert warming.sel(latitude=-40, method="nearest") < -3


def test_land_is_missing_at_all_depths_and_the_floor_rises_to_it() -> None:
    mask = np.isfinite(synthetic_field().target.values)
    np.testing.assert_array_equal(mask, np.broadcast_to(mask[:1], mask.shape))
    share = mask[0].mean((1, 2))
    assert 0.6 < share[0] < 0.8
    assert np.all(np.diff(share) <= 0)
    assert share[-1] < share[0] - 0.1
    # Nothing is defined below a missing cell.
    assert not (mask[0, 1:] & ~mask[0, :-1]).any()


def test_sst_is_independent_and_incomplete() -> None:
    field = synthetic_field(missing_surface=0.2)
    sst, top = field.surface[0].values, field.target.values[:, 0]
    missing = np.isnan(sst) & np.isfinite(top)
    assert 0.1 < missing.sum() / np.isfinite(top).sum() < 0.35
    assert not (np.isfinite(sst) & np.isnan(top)).any()
    difference = (sst - top)[np.isfinite(sst)]
    assert 0.1 < difference.std() < 1


def test_seed_alone_decides() -> None:
    first, again, other = (synthetic_field(times=1, depths=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.target.values, again.target.values)
    np.testing.assert_array_equal(first.surface[0].values, again.surface[0].values)
    assert not np.array_equal(first.target.values, other.target.values)


def test_sizes_and_limits_that_make_no_grid_are_refused() -> None:
    with pytest.raises(UserError, match="height=0"):
        synthetic_field(height=0)
    with pytest.raises(UserError, match="expected ascending limits"):
        synthetic_field(latitude=(10, -10))
