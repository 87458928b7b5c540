from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from depthdif import UserError
from depthdif.diffusion.ensemble import Ensemble
from depthdif.evaluation.result import CLIMATOLOGY, MODEL, OI, Method
from depthdif.evaluation.tally import GaussianForecast
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.withheld import (
    Forecast,
    HiddenValues,
    WithheldScores,
    hidden_by_platform,
    hidden_values,
)
from depthdif.prediction.withheld_table import overall_table, print_scores

EMA = Method(MODEL, "ema", 8)
ONE = Method(MODEL, "ema")
NOON = np.datetime64("2016-02-10T12:00:00", "s")
DEPTHS = np.array([0.0, 100.0, 500.0])


def table_of(platforms: list[str]) -> ProfileTable:
    """A profile of one sample for each name."""
    count = len(platforms)
    return ProfileTable(
        NOON.astype("datetime64[us]") + np.arange(count) * np.timedelta64(1, "h"),
        np.linspace(-10, 10, count),
        np.linspace(50, 60, count),
        np.array(platforms, str),
        np.arange(count + 1),
        np.full(count, 10.0),
        np.arange(count, dtype=float),
    )


def hidden_of(
    observed: np.ndarray,
    platform: np.ndarray,
    forecasts: dict[Method, Forecast],
    level: np.ndarray | None = None,
) -> HiddenValues:
    """Values (R,) of one time; each row is a profile."""
    count = len(observed)
    return HiddenValues(
        np.full(count, NOON),
        NOON + np.arange(count),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count, int) if level is None else level,
        platform.astype(str),
        observed,
        forecasts,
    )


def field(values: np.ndarray) -> np.ndarray:
    return values[..., None, None, :]


def estimate(values: np.ndarray, deviation: np.ndarray | None = None) -> GaussianForecast:
    return GaussianForecast(field(values[None]), None if deviation is None else field(deviation[None]))


def ensemble(members: np.ndarray, **options: float) -> Ensemble:
    return Ensemble(field(members[None]), **options)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 5))
def test_no_platform_is_on_both_sides_and_the_share_is_met_to_the_largest_platform(
    counts: list[int], share: float, seed: int
) -> None:
    table = table_of([f"float {number}" for number, count in enumerate(counts) for _ in range(count)])
    is_hidden = hidden_by_platform(table.platform, share, seed)
    used, hidden = table.take(~is_hidden), table.take(is_hidden)
    assert len(used)
    assert len(hidden)
    assert not set(used.platform) & set(hidden.platform)
    assert sorted([*used.value, *hidden.value]) == table.value.tolist()
    assert abs(len(hidden) - share * len(table)) <= max(counts)


def hidden_of_platforms(table: ProfileTable, share: float, seed: int) -> set[str]:
    """The platforms that are hidden."""
    return set(table.platform[hidden_by_platform(table.platform, share, seed)])


def test_the_split_depends_on_seed_and_names_and_not_on_the_order_of_the_profiles() -> None:
    table = table_of([f"float {number % 40}" for number in range(200)])
    hidden = hidden_of_platforms(table, 0.25, 3)
    shuffled = table.take(np.random.default_rng(0).permutation(200))
    assert hidden_of_platforms(shuffled, 0.25, 3) == hidden
    assert hidden_of_platforms(table, 0.25, 4) != hidden


def test_a_further_platform_changes_few_of_the_hidden_ones() -> None:
    names = [f"float {number}" for number in range(100)]
    before = hidden_of_platforms(table_of(names), 0.2, 0)
    after = hidden_of_platforms(table_of([*names, "another"]), 0.2, 0)
    assert len(before ^ after) <= 2


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_hides_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"withhold=.*such as withhold=0\.2"):
        hidden_by_platform(table_of(["a", "b"]).platform, share, 0)


def test_one_platform_cannot_be_split() -> None:
    with pytest.raises(UserError, match=r"the number of platforms is 1.*set withhold=0"):
        hidden_by_platform(table_of(["a", "a"]).platform, 0.2, 0)


def test_values_are_compared_with_their_cell_where_it_is_ocean() -> None:
    table = table_of(["a", "b", "c"])
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    ocean = np.ones((3, 2, 4), bool)
    ocean[2, 1, 3] = False
    mean = np.arange(24.0).reshape(1, 3, 2, 4)
    members = np.stack([mean, mean + 1], axis=1)
    # The last profile lies outside of the grid; the first two share a cell.
    cells = np.array([1, 1, -1]), np.array([3, 3, -1])
    forecasts: dict[Method, Forecast] = {OI: GaussianForecast(mean, mean / 10), EMA: Ensemble(members)}
    hidden = hidden_values(table, values, cells, ocean, NOON, forecasts)
    assert hidden.observed.tolist() == [1, 4, 5]
    assert hidden.level.tolist() == [0, 0, 1]
    assert hidden.platform.tolist() == ["a", "b", "b"]
    assert hidden.profile_time.tolist() == table.time[[0, 1, 1]].tolist()
    assert hidden.profiles.tolist() == [0, 1, 1]
    oi, ema = hidden.forecasts[OI], hidden.forecasts[EMA]
    assert isinstance(oi, GaussianForecast)
    assert oi.deviation is not None
    assert isinstance(ema, Ensemble)
    assert oi.mean.ravel().tolist() == [7, 7, 15]
    assert oi.deviation.ravel().tolist() == pytest.approx([0.7, 0.7, 1.5])
    assert ema.members.reshape(2, 3).tolist() == [[7, 7, 15], [8, 8, 16]]


def test_values_of_several_times_are_joined_from_their_files(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    parts = [
        hidden_of(
            generator.normal(size=count),
            np.array([f"{'long ' * count}name"] * count),
            {
                OI: estimate(generator.normal(size=count), generator.random(count)),
                CLIMATOLOGY: estimate(generator.normal(size=count)),
                EMA: ensemble(generator.normal(size=(8, count)).astype(np.float32)),
            },
        )
        for count in (3, 0, 5)
    ]
    paths = [tmp_path / f"{number}.npz" for number in range(3)]
    for part, path in zip(parts, paths, strict=True):
        part.save(path)
    assert sorted(tmp_path.iterdir()) == paths
    joined = HiddenValues.load(paths, antithetic=True, inflation=1.2)
    assert list(joined.forecasts) == [OI, CLIMATOLOGY, EMA]
    assert joined.platform.tolist() == ["long long long name"] * 3 + ["long long long long long name"] * 5
    assert joined.observed.tolist() == [*parts[0].observed, *parts[2].observed]
    oi, climatology, ema = joined.forecasts.values()
    assert oi.has_spread
    assert not climatology.has_spread
    assert isinstance(ema, Ensemble)
    assert (ema.antithetic, ema.inflation, ema.members.dtype) == (True, 1.2, np.float32)
    for method, forecast in joined.forecasts.items():
        expected = [part.forecasts[method].mean.ravel() for part in parts]
        assert forecast.mean.ravel() == pytest.approx(np.concatenate(expected))


def test_the_same_estimate_as_oi_has_the_ratio_one_exactly() -> None:
    generator = np.random.default_rng(0)
    guess = estimate(generator.normal(size=60), np.full(60, 0.7))
    hidden = hidden_of(generator.normal(size=60), np.arange(60) // 5, {OI: guess, CLIMATOLOGY: guess})
    scores = WithheldScores.of(hidden, 1, 200, 0)
    for ratio in ("rmse_ratio", "crps_ratio"):
        assert dataclasses.astuple(scores.overall[CLIMATOLOGY][ratio]) == (1, 1, 1)


def test_a_constant_offset_is_bias_and_rmse_and_its_members_count_one_by_one() -> None:
    observed = np.linspace(5, 20, 40)
    members = observed + np.array([-1.0, 3.0])[:, None]
    forecasts: dict[Method, Forecast] = {
        OI: estimate(observed - 2), Method(MODEL, "ema", 2): ensemble(members)
    }  # fmt: skip
    scores = WithheldScores.of(hidden_of(observed, np.arange(40) // 4, forecasts), 1, 200, 0)
    assert list(scores.overall) == [OI, ONE, Method(MODEL, "ema", 2)]
    oi, one, mean = scores.overall.values()
    assert dataclasses.astuple(oi["bias"]) == pytest.approx((-2, -2, -2))
    assert (mean["bias"].value, mean["rmse"].value, mean["rmse_ratio"].value) == pytest.approx((1, 1, 0.5))
    # The mean square of the errors -1 and 3.
    assert (one["bias"].value, one["rmse"].value) == pytest.approx((1, 5**0.5))
    # One draw from a distribution has neither spread nor CRPS; they are left out, and not 0.
    assert set(one) == {"rmse", "bias", "mae", "rmse_ratio"}
    # Members that differ by 4: variance 8, of which their mean has 3/2. CRPS: mean of 1 and 3, minus 4 / 2.
    assert (mean["spread_skill"].value, mean["crps"].value) == pytest.approx((12**0.5, 0))


def test_a_gaussian_truth_has_the_closed_forms_of_crps_and_of_spread_over_skill() -> None:
    generator = np.random.default_rng(0)
    count, sigma = 20_000, 0.8
    centre = generator.normal(10, 3, count)
    draws = (centre + sigma * generator.normal(size=(9, count))).astype(np.float32)
    forecasts: dict[Method, Forecast] = {
        OI: estimate(centre, np.full(count, sigma)), EMA: ensemble(draws[1:])
    }  # fmt: skip
    scores = WithheldScores.of(hidden_of(draws[0], np.arange(count) // 100, forecasts), 1, 100, 0)
    # Expected CRPS of a reliable Gaussian (Gneiting & Raftery 2007): sigma / sqrt(pi).
    for method in (OI, EMA):
        assert scores.overall[method]["crps"].value == pytest.approx(sigma / np.pi**0.5, rel=0.03)
        assert scores.overall[method]["spread_skill"].value == pytest.approx(1, rel=0.03)
    assert scores.overall[OI]["rmse"].value == pytest.approx(sigma, rel=0.03)
    assert scores.overall[EMA]["rmse"].value == pytest.approx(sigma * (9 / 8) ** 0.5, rel=0.03)


def test_only_independent_members_and_their_inflated_spread_count() -> None:
    generator = np.random.default_rng(1)
    observed, half = generator.normal(size=30), generator.normal(size=(2, 30))
    pairs = np.stack([half[0], -half[0], half[1], -half[1]])
    method = Method(MODEL, "ema", 4)
    scores = WithheldScores.of(
        hidden_of(observed, np.arange(30), {method: ensemble(pairs, antithetic=True, inflation=2.0)}),
        1,
        100,
        0,
    ).overall[method]
    mean = np.abs(2 * half - observed).mean(axis=0) - np.abs(2 * half[0] - 2 * half[1]) / 2
    assert scores["crps"].value == pytest.approx(mean.mean())
    rmse = np.sqrt(np.square(observed).mean())
    spread = np.sqrt((2 * half).var(axis=0, ddof=1).mean())
    assert scores["spread_skill"].value == pytest.approx(spread / rmse)


def test_what_cannot_be_computed_is_left_out() -> None:
    observed = np.linspace(0, 1, 12)
    plain = {"rmse", "bias", "mae"}
    for members, options in ((1, {}), (2, {"antithetic": True})):
        method = Method(MODEL, "ema", members)
        forecasts: dict[Method, Forecast] = {method: ensemble(np.zeros((members, 12)), **options)}
        scores = WithheldScores.of(hidden_of(observed, np.arange(12), forecasts), 3, 100, 0)
        assert set(scores.overall[method]) == plain
        # Everything was hidden at the first depth.
        assert [bool(level) for level in scores.by_depth[method]] == [True, False, False]
    single = WithheldScores.of(hidden_of(observed, np.zeros(12), forecasts), 1, 100, 0).overall[method]
    assert all(score.low is None for score in single.values())


def test_intervals_are_over_platforms_so_that_more_values_of_a_float_do_not_narrow_them() -> None:
    generator = np.random.default_rng(2)
    observed, guess = generator.normal(size=(2, 30))
    once = hidden_of(observed, np.arange(30), {OI: estimate(guess)})
    often = hidden_of(
        np.repeat(observed, 10), np.repeat(np.arange(30), 10), {OI: estimate(np.repeat(guess, 10))}
    )
    first, second = (WithheldScores.of(hidden, 1, 300, 0).overall[OI] for hidden in (once, often))
    for name, score in first.items():
        assert dataclasses.astuple(second[name]) == pytest.approx(dataclasses.astuple(score))


def test_the_interval_contains_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    platform, repeats = np.repeat(np.arange(40), 6), 150
    inside = 0
    for _ in range(repeats):
        # Errors of a float have a part in common; the mean of all is 0.3.
        error = 0.3 + generator.normal(size=40)[platform] + 0.5 * generator.normal(size=len(platform))
        hidden = hidden_of(np.zeros(len(platform)), platform, {OI: estimate(error)})
        score = WithheldScores.of(hidden, 1, 200, 0).overall[OI]["bias"]
        assert score.low is not None
        assert score.high is not None
        inside += score.low <= 0.3 <= score.high
    assert 0.86 <= inside / repeats <= 1


def test_numbers_of_values_profiles_and_platforms_are_those_of_each_depth() -> None:
    values = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, np.nan], [1.0, np.nan, np.nan]])
    cells = np.zeros(3, int), np.zeros(3, int)
    forecasts: dict[Method, Forecast] = {OI: GaussianForecast(np.zeros((1, 3, 1, 1)))}
    hidden = hidden_values(
        table_of(["a", "a", "b"]), values, cells, np.ones((3, 1, 1), bool), NOON, forecasts
    )
    scores = WithheldScores.of(hidden, 3, 100, 0)
    assert (scores.values, scores.profiles, scores.platforms) == (5, 3, 2)
    assert {name: counts.tolist() for name, counts in scores.counts.items()} == {
        "values": [3, 2, 0], "profiles": [3, 2, 0], "platforms": [2, 1, 0]
    }  # fmt: skip
    # The same profiles in the window of the next time.
    later = dataclasses.replace(hidden, time=hidden.time + np.timedelta64(7, "D"))
    assert np.array_equal(later.profiles, hidden.profiles)


def test_tables_and_files_hold_the_scores(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    observed, level = generator.normal(15, 3, 40), np.tile([0, 2], 20)
    forecasts: dict[Method, Forecast] = {
        CLIMATOLOGY: estimate(np.full(40, 15.0)),
        OI: estimate(observed + generator.normal(size=40), np.ones(40)),
        EMA: ensemble((observed + generator.normal(0, 0.3, (8, 40))).astype(np.float32)),
    }
    hidden = hidden_of(observed, np.arange(40) // 4, forecasts, level)
    scores = WithheldScores.of(hidden, 3, 200, 0)
    console = Console(file=io.StringIO(), width=160)
    paths = print_scores(scores, hidden, DEPTHS, "°C", tmp_path / "indian", console)
    lines = console.file.getvalue()  # type: ignore[attr-defined]
    printed = " ".join(lines.split())
    # No interval is broken into two lines.
    assert all(line.count("(") == line.count(")") for line in lines.splitlines())
    assert [path.name for path in paths] == ["indian_scores.csv", "indian_withheld.csv"]
    assert "At 40 values of 40 withheld profiles of 10 platforms, in °C, error of the observations" in printed
    assert "EMA, mean of 8 against OI at the withheld profiles: RMSE 0." in printed
    assert "of OI's" in printed
    assert "10 platforms are few" in printed
    by_depth = [line.split()[:4] for line in lines.splitlines() if line.split()[1:3] == ["20", "10"]]
    rmse_of_climatology = [f"{scores.by_depth[CLIMATOLOGY][level]['rmse'].value:.3f}" for level in (0, 2)]
    assert by_depth == [
        ["0", "20", "10", rmse_of_climatology[0]],
        ["500", "20", "10", rmse_of_climatology[1]],
    ]
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    for method, overall in scores.overall.items():
        written = {
            row["score"]: row for row in rows if not row["depth_m"] and method.columns.items() <= row.items()
        }
        assert {name: float(row["value"]) for name, row in written.items()} == {
            name: score.value for name, score in overall.items()
        }
    assert {row["depth_m"] for row in rows} == {"", "0.0", "500.0"}
    assert {(row["values"], row["profiles"], row["platforms"]) for row in rows if row["depth_m"]} == {
        ("20", "20", "10")
    }
    assert {row["units"] for row in rows if row["score"] == "rmse_ratio"} == {"1"}
    with paths[1].open() as file:
        values = list(csv.DictReader(file))
    assert [float(row["observed"]) for row in values] == observed.tolist()
    assert [float(row["depth_m"]) for row in values] == DEPTHS[level].tolist()
    assert values[1]["profile_time"] == "2016-02-10T12:00:01"
    assert float(values[7]["OI, deviation"]) == 1
    means = np.array([float(row["EMA, mean of 8"]) for row in values])
    assert np.sqrt(np.square(means - observed).mean()) == pytest.approx(scores.overall[EMA]["rmse"].value)
    assert "climatology, deviation" not in values[0]


def test_on_a_narrow_terminal_the_ratios_to_oi_keep_their_intervals() -> None:
    generator = np.random.default_rng(5)
    observed, guess = generator.normal(size=(2, 40))
    forecasts: dict[Method, Forecast] = {CLIMATOLOGY: estimate(0 * guess), OI: estimate(guess)}
    scores = WithheldScores.of(hidden_of(observed, np.arange(40), forecasts), 1, 200, 0)
    table = overall_table(scores, "°C", narrow=True)
    has_interval = {
        str(column.header).replace("\n", " "): any("(" in str(cell) for cell in column.cells)
        for column in table.columns
    }
    shown = {heading for heading, interval in has_interval.items() if interval}
    assert shown == {"RMSE / OI", "CRPS / OI"}


def test_the_values_of_a_variable_are_those_of_its_channels() -> None:
    observed, members = np.arange(4.0), np.arange(8.0).reshape(2, 4)
    forecasts: dict[Method, Forecast] = {
        OI: estimate(observed + 1, np.arange(4.0)),
        EMA: ensemble(members),
    }
    # Two variables of three depths.
    hidden = hidden_of(observed, np.array(["a", "b", "a", "c"]), forecasts, np.array([0, 3, 2, 5]))
    salinity = hidden.of_variable(1, 3)
    assert salinity.level.tolist() == [0, 2]
    assert salinity.observed.tolist() == [1, 3]
    assert salinity.platform.tolist() == ["b", "c"]
    assert salinity.forecasts[OI].mean.ravel().tolist() == [2, 4]
    assert np.array_equal(salinity.forecasts[EMA].mean.ravel(), members[:, [1, 3]].mean(axis=0))
    assert hidden.of_variable(0, 3).level.tolist() == [0, 2]
