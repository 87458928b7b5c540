from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.tally import GaussianForecast, Grid, Tally, Truth
from depthdif.scores.score import over_depths, resample_counts, scores_from_sums, scores_with_intervals
from depthdif.scores.spectra import WindowSpectra

LATITUDE, LONGITUDE = np.arange(-40.0, 40, 2), np.arange(-180.0, 180, 2)
GRID = Grid(
    latitude=LATITUDE,
    longitude=LONGITUDE,
    ocean=np.ones((40, 180), bool),
    thickness=np.array([5.0, 20.0, 100.0]),
    scale=5.0,
    spectra=WindowSpectra.from_grid((16, 16), LATITUDE, LONGITUDE),
)


def test_cells_of_a_patch_are_found_across_the_seam_of_a_periodic_grid() -> None:
    channel = dataclasses.replace(GRID, longitude=np.arange(-72.0, -54, 2), period=18.0)
    rows, columns = channel.cells(LATITUDE[3:5], np.array([-58.0, -56, -54, -52]))
    np.testing.assert_array_equal(rows, [[3], [4]])
    np.testing.assert_array_equal(columns, [[7, 8, 0, 1]])


def make_truth(patches: int = 3, west: float = 20.0) -> Truth:
    """Patches of three depths and 16 x 16 cells; the first columns are land."""
    generator = np.random.default_rng(0)
    values = generator.normal(10, 3, (patches, 3, 16, 16)).astype(np.float32)
    ocean = np.ones(values.shape, bool)
    ocean[..., :3] = False
    scored = ocean & (generator.random(values.shape) > 0.1)
    rows, columns = np.arange(16) * 2.0, np.arange(16) * 2.0
    return Truth(
        values, ocean, scored, np.tile(rows - 20, (patches, 1)), np.tile(columns + west, (patches, 1))
    )


def members_of(truth: Truth, size: int = 4) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(len(truth.values), size, *truth.values.shape[1:]))
    return (truth.values[:, None] + 0.3 + noise).astype(np.float32)


def test_sums_are_those_of_the_scored_cells_of_each_patch() -> None:
    truth = make_truth()
    members = members_of(truth)
    tally = Tally(GRID, rank_bins=5)
    tally.add(Ensemble(members), truth, np.random.default_rng(0))
    error = members[2, :, 1].mean(axis=0) - truth.values[2, 1]
    here = truth.scored[2, 1]
    expected = {"count": here.sum(), "square": (error[here] ** 2).sum(), "error": error[here].sum()}
    expected |= {"absolute": np.abs(error[here]).sum()}
    expected |= {"variance": 5 / 4 * members[2, :, 1].var(axis=0, ddof=1)[here].sum()}
    assert {name: tally.sums[name][2, 1] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert np.sum(tally.ranks) == truth.scored.sum()
    assert tally.spread[:, 0].sum() == truth.scored.sum()


def test_single_members_count_as_the_mean_of_their_scores() -> None:
    truth = make_truth()
    members = members_of(truth)
    together = Tally(GRID)
    together.add_members(Ensemble(members), truth)
    apart = []
    for member in range(4):
        tally = Tally(GRID)
        tally.add(GaussianForecast(members[:, member]), truth, np.random.default_rng(0))
        assert not tally.has_spread
        apart.append(tally)
    for name, values in together.sums.items():
        assert values == pytest.approx(np.mean([tally.sums[name] for tally in apart], axis=0), rel=1e-4)
    squares = np.mean([tally.map_square for tally in apart], axis=0)
    assert together.map_square == pytest.approx(squares, rel=1e-4)


def test_what_lies_outside_the_ocean_changes_nothing() -> None:
    truth = make_truth()
    members = members_of(truth)
    wild = np.where(truth.ocean[:, None], members, 1e6)
    tallies = [Tally(GRID, rank_bins=5) for _ in range(2)]
    for tally, fields in zip(tallies, (members, wild), strict=True):
        tally.add(Ensemble(fields), truth, np.random.default_rng(0))
    for name, values in tallies[0].sums.items():
        assert np.array_equal(values, tallies[1].sums[name])
    assert np.array_equal(tallies[0].rmse_map, tallies[1].rmse_map, equal_nan=True)
    first, second = (tally.structure for tally in tallies)
    assert np.array_equal(first.power, second.power)
    assert np.array_equal(first.steepness, second.steepness)


def test_maps_lie_where_the_patches_do_across_the_date_line_too() -> None:
    truth = make_truth(patches=1, west=170.0)
    tally = Tally(GRID)
    tally.add(GaussianForecast(truth.values + 2), truth, np.random.default_rng(0))
    rows, columns = np.nonzero(np.isfinite(tally.rmse_map))
    assert (LATITUDE[rows].min(), LATITUDE[rows].max()) == (-20, 10)
    # The first three columns, 170 to 174 E, are land.
    assert set(LONGITUDE[columns]) == {176.0, 178.0, *np.arange(-180.0, -158, 2)}
    assert tally.rmse_map[rows, columns] == pytest.approx(2.0, abs=1e-5)


def test_the_error_spectrum_is_that_of_the_error() -> None:
    truth = make_truth()
    perfect, noisy = Tally(GRID), Tally(GRID)
    perfect.add(GaussianForecast(truth.values), truth, np.random.default_rng(0))
    noisy.add_members(Ensemble(members_of(truth)), truth)
    for_truth = Tally(GRID)
    for_truth.add_structure(truth.values[:, None], truth)
    spectra = [tally.structure.spectra() for tally in (perfect, noisy, for_truth)]
    (power, perfect_error), (_, noisy_error), (truth_power, _) = spectra  # type: ignore[misc]
    assert np.array_equal(power, truth_power)
    assert np.all(perfect_error == 0)
    assert np.all(noisy_error > 0)


def test_patches_too_small_for_spectra_have_none() -> None:
    tally = Tally(dataclasses.replace(GRID, spectra=None))
    truth = make_truth()
    tally.add_structure(truth.values[:, None], truth)
    assert tally.structure.spectra() is None
    assert tally.structure.scale_scores(tally.structure, np.ones((1, 3))) == {}


def test_rank_shares_add_up_and_lie_in_their_intervals() -> None:
    truth = make_truth(patches=6)
    tally = Tally(GRID, rank_bins=5)
    tally.add(Ensemble(members_of(truth)), truth, np.random.default_rng(0))
    share, low, high = tally.rank_shares(resample_counts(6, 300, seed=0))
    assert share.sum() == pytest.approx(1)
    assert np.all((low <= share) & (share <= high))


# Degrees from row to row, too small to matter to areas.
RISE = 1e-4 * np.arange(16)


def scored(error: np.ndarray, latitude: np.ndarray, thickness: np.ndarray) -> Tally:
    """Of an estimate with this error, in one patch without land."""
    truth = dataclasses.replace(make_truth(1), scored=np.ones(error.shape, bool), latitude=latitude[None])
    tally = Tally(dataclasses.replace(GRID, thickness=thickness))
    tally.add(GaussianForecast(truth.values + error), truth, np.random.default_rng(0))
    return tally


def weighted_scores(tally: Tally) -> dict[str, float]:
    return {name: value.item() for name, value in scores_from_sums(over_depths(tally.weighted_sums)).items()}


def test_equal_weights_give_the_scores_in_which_all_cells_count_alike() -> None:
    error = np.random.default_rng(2).normal(size=(1, 3, 16, 16))
    tally = scored(error, 37 + RISE, np.full(3, 12.0))
    alike = scores_from_sums(over_depths(tally.sums))
    alike.pop("gradient_ratio")
    assert weighted_scores(tally) == pytest.approx(
        {name: value.item() for name, value in alike.items()}, rel=1e-4
    )


def test_an_error_counts_by_the_area_of_its_cells_and_the_thickness_of_their_layer() -> None:
    latitude = np.repeat([0.0, 60.0], 8) + RISE
    error = np.zeros((1, 3, 16, 16))
    # The half at 60 N, whose cells are half as large, in a layer of 10 of 40 metres: 1/3 of the area, 1/4 of the depth.
    error[:, 1, 8:] = 2.0
    scores = weighted_scores(scored(error, latitude, np.array([5.0, 10.0, 25.0])))
    assert scores["bias"] == pytest.approx(2 / 12, rel=1e-4)
    assert scores["rmse"] == pytest.approx(2 / np.sqrt(12), rel=1e-4)


def test_without_two_independent_members_there_is_no_crps_and_no_spread() -> None:
    truth = make_truth()
    tally = Tally(GRID, rank_bins=2)
    tally.add(Ensemble(members_of(truth, size=2), antithetic=True), truth, np.random.default_rng(0))
    (scores,) = scores_with_intervals(over_depths(tally.sums), None, resample_counts(3, 100, seed=0))
    assert set(scores) == {"rmse", "bias", "mae", "gradient_ratio"}
    assert not tally.has_spread


def test_the_gradient_ratio_is_that_of_the_root_mean_squares() -> None:
    truth = make_truth()
    half, members = Tally(GRID), Tally(GRID)
    half.add(GaussianForecast(truth.values / 2), truth, np.random.default_rng(0))
    members.add_members(Ensemble(np.stack([truth.values, 3 * truth.values], axis=1)), truth)
    for tally, ratio in ((half, 0.5), (members, np.sqrt((1 + 9) / 2))):
        scores = scores_with_intervals(tally.sums, None, resample_counts(3, 100, seed=0))
        assert [level["gradient_ratio"].value for level in scores] == pytest.approx([ratio] * 3, rel=1e-5)
