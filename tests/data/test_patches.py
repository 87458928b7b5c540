from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.data.field import OceanField
from depthdif.data.patches import (
    Box,
    Patch,
    PatchSet,
    Selection,
    TimeRange,
    as_patch_size,
    patch_longitude,
    read_patch,
    window_sums,
)
from depthdif.data.synthetic import synthetic_field

MakeField = Callable[..., OceanField]

FIELD = synthetic_field(times=3, depths=3, height=12, width=24)
# The same grid with every cell numbered, all ocean: a value tells its cell.
SHAPE = FIELD.target.shape
NUMBERED = OceanField(FIELD.target.copy(data=np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)))


def all_patches(patches: PatchSet) -> set[Patch]:
    return set(patches.spread(len(patches), np.random.default_rng(0)))


def test_box_takes_centres_from_west_to_east(make_field: MakeField) -> None:
    field = make_field(width=12)  # longitudes -165, -135, ..., 165
    cells = Box(longitude=(-135, 15)).select(field).cells
    np.testing.assert_array_equal(field.longitude[cells[0]], [-135, -105, -75, -45, -15])


def test_box_may_cross_the_date_line(make_field: MakeField) -> None:
    field = make_field(width=12)
    for limits in ((150, -140), (150, 220), (-210, -140)):
        cells = Box(longitude=limits).select(field).cells
        np.testing.assert_array_equal(field.longitude[cells[0]], [-165, 165])


def test_neighbouring_boxes_share_no_cell_and_leave_none(make_field: MakeField) -> None:
    field = make_field(width=12, height=6)
    west, east = Box(longitude=(-180, 15)).select(field), Box(longitude=(15, 180)).select(field)
    assert not west.overlaps(east)
    assert (west.cells | east.cells).all()
    south, north = Box(latitude=(-90, 0)).select(field), Box(latitude=(0, 90)).select(field)
    assert (south.cells ^ north.cells).all()


def test_whole_circle_is_every_longitude(make_field: MakeField) -> None:
    field = make_field()
    for limits in ((-180, 180), (0, 360), (180, -180)):
        assert Box(longitude=limits).select(field).cells.all()


def test_time_range_takes_whole_periods(make_field: MakeField) -> None:
    field = make_field(times=15)  # every 30 days from 2000-01-01 to 2001-02-24
    assert TimeRange("2001", "2001").select(field).times.sum() == 2
    assert TimeRange(None, "2000-03").select(field).times.sum() == 4
    assert TimeRange("2000-01-01", "2000-01-01").select(field).times.tolist() == [True] + [False] * 14
    assert TimeRange().select(field).times.all()


@given(
    west=st.floats(-360, 360),
    width=st.floats(1, 359),
    south=st.floats(-90, 60),
    height=st.floats(1, 150),
)
def test_complement_holds_what_a_box_leaves(west: float, width: float, south: float, height: float) -> None:
    selection = Box((west, west + width), (south, min(south + height, 90))).select(FIELD)
    rest = selection.complement()
    assert not selection.overlaps(rest)
    assert (selection.cells ^ rest.cells).all()
    assert rest.times.all()


def test_complement_of_a_time_range_holds_the_other_times() -> None:
    selection = TimeRange("2000-02", "2000-02").select(FIELD)
    rest = selection.complement()
    assert not selection.overlaps(rest)
    assert rest.cells.all()
    np.testing.assert_array_equal(rest.times, [True, False, True])


def test_complement_of_a_region_in_space_and_time_is_refused() -> None:
    box, times = Box((0, 90)).select(FIELD), TimeRange("2000-02").select(FIELD)
    with pytest.raises(UserError, match=r"set data\.training"):
        Selection(times.times, box.cells).complement()


def test_time_range_reads_other_calendars() -> None:
    dates = xr.date_range("2001-01-30", periods=3, freq="30D", calendar="360_day", use_cftime=True)
    field = OceanField(NUMBERED.target.assign_coords(time=dates))
    np.testing.assert_array_equal(TimeRange("2001-02", "2001-02").select(field).times, [False, True, False])


@given(
    mask=st.integers(0, 2**30).map(lambda seed: np.random.default_rng(seed).random((5, 7)) < 0.6),
    height=st.integers(1, 5),
    width=st.integers(1, 7),
    wraps=st.booleans(),
)
def test_window_sums_count_the_cells_of_every_window(
    mask: np.ndarray, height: int, width: int, wraps: bool
) -> None:
    sums = window_sums(mask, (height, width), wraps)
    columns = 7 if wraps else 8 - width
    assert sums.shape == (6 - height, columns)
    for row in range(6 - height):
        for column in range(columns):
            window = np.take(mask[row : row + height], range(column, column + width), axis=1, mode="wrap")
            assert sums[row, column] == window.sum()


@given(
    time=st.integers(0, SHAPE[0] - 1),
    row=st.integers(0, 8),
    column=st.integers(0, SHAPE[3] - 1),
    width=st.integers(1, SHAPE[3]),
)
def test_patch_across_the_seam_continues_in_the_west(time: int, row: int, column: int, width: int) -> None:
    patch = Patch(time, row, column)
    target, surface = read_patch(NUMBERED, patch, (4, width))
    columns = [(column + i) % SHAPE[3] for i in range(width)]
    np.testing.assert_array_equal(target, NUMBERED.target.values[time][:, row : row + 4][:, :, columns])
    assert surface.shape == (0, 4, width)
    longitude = patch_longitude(NUMBERED, patch, width)
    np.testing.assert_allclose(np.diff(longitude), 360 / SHAPE[3], rtol=1e-5)
    assert longitude[0] == np.float32(NUMBERED.longitude[column])


@given(
    west=st.floats(-180, 180),
    box_width=st.floats(60, 300),
    height=st.integers(1, 5),
    width=st.integers(1, 6),
)
def test_no_training_patch_contains_one_validation_cell(
    west: float, box_width: float, height: int, width: int
) -> None:
    validation = Box((west, west + box_width)).select(NUMBERED)
    held_out = set(NUMBERED.target.values[:, :, validation.cells].ravel().tolist())
    kept = set(NUMBERED.target.values.ravel().tolist()) - held_out
    for region, allowed in ((validation.complement(), kept), (validation, held_out)):
        if window_sums(region.cells, (height, width), wraps=True).max() < height * width:
            continue
        for patch in all_patches(PatchSet(NUMBERED, region, (height, width))):
            assert set(read_patch(NUMBERED, patch, (height, width))[0].ravel().tolist()) <= allowed


def test_no_training_patch_lies_in_held_out_times() -> None:
    training = TimeRange("2000-02", "2000-02").select(NUMBERED).complement()
    assert {patch.time for patch in all_patches(PatchSet(NUMBERED, training, (4, 4)))} == {0, 2}


def test_every_patch_that_fits_is_drawn() -> None:
    region = Box((-90, 0)).select(NUMBERED)
    patches = PatchSet(NUMBERED, region, (11, 5))
    generator = np.random.default_rng(0)
    drawn = {patches.draw(generator) for _ in range(500)}
    # 6 columns and 12 rows: 2 x 2 positions at 3 times.
    assert drawn == all_patches(patches) == {Patch(t, r, c) for t in range(3) for r in (0, 1) for c in (6, 7)}


@given(column=st.integers(0, 8), width=st.integers(1, 9), row=st.integers(0, 8))
def test_patch_of_a_periodic_domain_continues_after_its_period(column: int, width: int, row: int) -> None:
    # 9 cells of 15 degrees.
    channel = OceanField(NUMBERED.target.isel(longitude=slice(3, 12)), periodic_longitude=135)
    patch = Patch(1, row, column)
    target, _ = read_patch(channel, patch, (4, width))
    columns = np.arange(column, column + width) % 9
    np.testing.assert_array_equal(target, channel.target.values[1][:, row : row + 4][:, :, columns])
    longitude = patch_longitude(channel, patch, width)
    np.testing.assert_allclose(longitude, channel.longitude[column] + 15 * np.arange(width), rtol=1e-5)
    assert patch in all_patches(PatchSet(channel, Box().select(channel), (4, width)))


def test_limits_of_a_box_are_modulo_the_period() -> None:
    channel = OceanField(NUMBERED.target.isel(longitude=slice(3, 12)), periodic_longitude=135)
    west = channel.longitude[0]
    for limits in ((west + 120, west + 160), (west + 120, west + 25), (west - 15, west + 25)):
        cells = Box(longitude=limits).select(channel).cells
        np.testing.assert_array_equal(channel.longitude[cells[0]], channel.longitude[[0, 1, 8]])
    for limits in ((-180, 180), (west, west + 135), (west, west + 140)):
        assert Box(longitude=limits).select(channel).cells.all()


def test_patches_of_a_regional_grid_do_not_wrap(make_field: MakeField) -> None:
    whole = make_field(times=1, height=4, width=12)
    regional = OceanField(whole.target.isel(longitude=slice(0, 8)))
    patches = PatchSet(regional, Box().select(regional), (4, 6))
    assert {patch.column for patch in all_patches(patches)} == {0, 1, 2}


@given(fraction=st.floats(0, 0.9))
def test_ocean_fraction_is_kept(fraction: float) -> None:
    patches = PatchSet(FIELD, Box().select(FIELD), (4, 4), fraction)
    for patch in all_patches(patches):
        target, _ = read_patch(FIELD, patch, (4, 4))
        assert np.isfinite(target[0]).mean() >= max(fraction, 1 / 16)


@given(count=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_spread_patches_are_distinct_and_balanced_in_time(count: int, seed: int) -> None:
    patches = PatchSet(NUMBERED, Box((-180, 0)).select(NUMBERED), (6, 4))
    assert patches.positions == 63
    chosen = patches.spread(min(count, len(patches)), np.random.default_rng(seed))
    assert len(set(chosen)) == len(chosen) == min(count, len(patches))
    if len(chosen) <= 63:
        times = np.bincount([patch.time for patch in chosen], minlength=3)
        assert times.max() - times.min() <= 1
        assert len({(patch.row, patch.column) for patch in chosen}) == len(chosen)


def test_spread_patches_cover_the_region() -> None:
    patches = PatchSet(NUMBERED, Box().select(NUMBERED), (1, 1))
    chosen = patches.spread(16, np.random.default_rng(0))
    quarters = {(patch.row // 6, patch.column // 12) for patch in chosen}
    assert quarters == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("seed", range(3))
def test_first_of_the_spread_patches_are_far_apart(seed: int) -> None:
    """The panels show the first validation batch, which must not be one corner of the region."""
    patches = PatchSet(NUMBERED, Box().select(NUMBERED), (1, 1))
    first = patches.spread(16, np.random.default_rng(seed))[:4]
    assert len({(patch.row // 6, patch.column // 12) for patch in first}) >= 2


def test_more_patches_than_exist_are_refused() -> None:
    patches = PatchSet(NUMBERED, Box((-90, 0)).select(NUMBERED), (11, 5))
    with pytest.raises(UserError, match=r"validation_patches=13, but .* only 12 distinct") as error:
        patches.spread(13, np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_patch_larger_than_the_grid_is_refused() -> None:
    with pytest.raises(UserError, match=r"patch_size=\[13,4\] is larger than the grid of 12 x 24") as error:
        PatchSet(NUMBERED, Box().select(NUMBERED), (13, 4))
    assert "data.patch_size=[12,4]" in str(error.value)


def test_region_without_ocean_is_refused() -> None:
    dry = OceanField(NUMBERED.target.where(NUMBERED.target.longitude < 0))
    with pytest.raises(UserError, match="validation region holds no ocean") as error:
        PatchSet(dry, Box((0, 90)).select(dry), (2, 2), name="validation")
    assert "\n" not in str(error.value)


def test_region_without_times_is_refused() -> None:
    with pytest.raises(UserError, match="training region holds no time") as error:
        PatchSet(NUMBERED, TimeRange("2018", "2018").select(NUMBERED), (2, 2))
    assert "2000-01-15 to 2000-03-16" in str(error.value)


def test_region_too_small_for_a_patch_is_refused() -> None:
    with pytest.raises(UserError, match="no patch of 4 x 8 cells fits into the training region") as error:
        PatchSet(NUMBERED, Box((0, 90)).select(NUMBERED), (4, 8))
    assert "\n" not in str(error.value)


def test_region_with_too_little_ocean_is_refused() -> None:
    dry = OceanField(NUMBERED.target.where(NUMBERED.target.longitude < -150))
    with pytest.raises(UserError, match=r"no patch of 4 x 8 cells has an ocean fraction of 0\.5"):
        PatchSet(dry, Box().select(dry), (4, 8), 0.5)


def test_regions_overlap_where_they_share_a_cell_at_one_time() -> None:
    assert Box((0, 90)).select(NUMBERED).overlaps(Box((80, 180)).select(NUMBERED))
    assert not TimeRange("2000-01").select(NUMBERED).overlaps(TimeRange("2000-12").select(NUMBERED))


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [((30, 30), (-90, 90)), ((0, 361), (-90, 90)), ((0, 9), (10, -10)), ((0, 9), (-91, 0)), ((0,), (0, 9))],
)
def test_limits_that_span_nothing_are_refused(
    longitude: tuple[float, float], latitude: tuple[float, float]
) -> None:
    with pytest.raises(UserError, match="a region has l"):
        Box(longitude, latitude)


def test_dates_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be read as dates") as error:
        TimeRange("soon", "2018").select(NUMBERED)
    assert "\n" not in str(error.value)


def test_patch_size_is_one_number_or_two() -> None:
    assert as_patch_size(8) == (8, 8)
    assert as_patch_size([8, 4]) == (8, 4)
    for wrong in (0, [8], [8, -1], [8.0, 4]):
        with pytest.raises(UserError, match=r"data\.patch_size="):
            as_patch_size(wrong)  # type: ignore[arg-type]


def test_surface_channels_come_from_the_snapshots_at_the_offsets_and_are_missing_beyond_the_record() -> None:
    # The surface counts the snapshots: 0, 1, 2.
    snapshot = FIELD.target.isel(depth=0, drop=True).copy(data=np.zeros((3, *SHAPE[2:]), np.float32))
    snapshot += xr.DataArray(
        np.arange(3, dtype=np.float32), dims="time", coords={"time": FIELD.target["time"]}
    )
    field = OceanField(FIELD.target, (snapshot.rename("sst"),), surface_offsets=(-1, 0, 1))
    assert field.surface_names == ("sst-1", "sst", "sst+1")
    for time, expected in enumerate(([np.nan, 0, 1], [0, 1, 2], [1, 2, np.nan])):
        # The patch crosses the seam.
        _, surface = read_patch(field, Patch(time, 2, 20), (4, 8))
        np.testing.assert_array_equal(
            surface, np.broadcast_to(np.float32(expected)[:, None, None], (3, 4, 8))
        )


@pytest.mark.parametrize("offsets", [(), (0, 0), (0.5,)])
def test_surface_offsets_that_are_not_different_whole_numbers_are_refused(offsets: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"surface_offsets=.*set|surface_offsets=\[-1,0,1\]"):
        OceanField(FIELD.target, surface_offsets=offsets)  # type: ignore[arg-type]
