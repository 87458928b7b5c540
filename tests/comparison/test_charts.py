"""Charts as SVG."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.comparison.charts import Axis, Line, Point, axis, chart, colour_between


def line(points: list[tuple[float, float]], marked: Point | None = None) -> Line:
    return Line("label", [Point(*point) for point in points], "#000000", marked)


def test_points_lie_where_their_numbers_say() -> None:
    svg = chart("title", "x", "y", [line([(0, 0), (10, 1)])])
    (left, low), (right, high) = [
        (float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)
    ]
    assert left < right
    assert low > high
    horizontal = Axis(0, 10, 74, 626, False)
    assert [horizontal(value) for value in (0, 5, 10)] == [74, 350, 626]


def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances() -> None:
    logarithmic = Axis(1, 100, 0, 100, True)
    assert logarithmic(10) == pytest.approx(50)


def test_the_best_is_ringed_once_with_its_tooltip() -> None:
    svg = chart("title", "x", "y", [line([(0, 1), (1, 0.5)], Point(1, 0.5)), line([(0, 1), (1, 2)])])
    assert svg.count('class="best"') == 1
    assert "label: y 0.5 at x 1, the best" in svg


def test_values_that_are_not_finite_are_left_out() -> None:
    svg = chart("t", "x", "y", [line([(0, 1), (1, float("nan")), (2, float("inf")), (3, 2)])])
    assert svg.count("<circle") == 2
    assert "nan" not in svg


@pytest.mark.parametrize("points", [[], [(1, float("nan"))], [(0, 1)]])
def test_a_chart_without_values_is_a_message(points: list[tuple[float, float]]) -> None:
    assert "no values yet" in chart("title", "x", "y", [line(points)], log_x=True)


def test_names_are_escaped() -> None:
    svg = chart("<t>", "x", "y", [Line('"<b>&', [Point(0, 1), Point(1, 1)], "red")])
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;" in svg
    assert 'data-key="&#34;&lt;b&gt;&amp;"' in svg


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=5), st.booleans())
def test_every_value_lies_on_its_axis_and_ticks_lie_within(values: list[float], is_log: bool) -> None:
    made = axis(values, 0, 100, is_log)
    assert all(-1e-6 <= made(value) <= 100 + 1e-6 for value in values)
    ticks = made.ticks()
    assert 1 <= len(ticks) <= 12
    assert all(-1e-3 <= made(tick) <= 100.001 for tick in ticks)


def test_colours_run_from_the_first_to_the_last() -> None:
    assert colour_between(0) == "#2f7ed8"
    assert colour_between(1) == "#d97a1f"
    assert re.fullmatch("#[0-9a-f]{6}", colour_between(0.37))
