"""Tables, lines, CSV and figure of a benchmark of samplers."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.sampler_benchmark import Candidate, Point
from depthdif.evaluation.sampler_report import (
    best_spacings,
    curves_figure,
    fault_lines,
    score_table,
    verdict_line,
    verdict_table,
    write_csv,
)
from depthdif.figures.panel import save_figure

TRAILING, LEADING = (
    Candidate("ddim", spacing, DDIMScheduler.from_config) for spacing in ("trailing", "leading")
)
HEUN = Candidate("heun", "linspace", DDIMScheduler.from_config)


def point(candidate: Candidate, asked: int, score: float, fault: str = "", evaluations: int = 0) -> Point:
    spent = evaluations or asked
    return Point(candidate, asked, spent, spent, score, 0.9 * score, 0.5 * score, 0.45 * score, 0.02, fault)


POINTS = [
    *(point(TRAILING, asked, score) for asked, score in ((2, 1.5), (10, 1.01), (50, 1.0))),
    *(point(LEADING, asked, score) for asked, score in ((2, 3.5), (10, 1.2), (50, 1.1))),
    point(HEUN, 2, math.nan, "NotImplementedError: of sample"),
    point(HEUN, 10, 20.0, "unstable"),
    point(HEUN, 50, 0.99, evaluations=49),
]


def printed(table: Table) -> list[list[str]]:
    """The cells of each row below the head."""
    console = Console(width=160, file=io.StringIO())
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_the_table_marks_the_best_says_what_failed_and_how_many_evaluations_were_spent() -> None:
    assert printed(score_table(POINTS, "rmse", 4, "°C")) == [
        ["ddim, trailing", "1.500*", "1.010*", "1.000"],
        ["ddim, leading", "3.500", "1.200", "1.100"],
        ["heun, linspace", "-", "unstable", "(49)0.990*"],
    ]


def test_verdicts_give_the_fewest_evaluations_of_each_score() -> None:
    rows = printed(verdict_table(POINTS, 0.02))
    assert rows[1] == ["ddim, trailing", "1.000 (10)", "0.900 (10)", "0.500 (10)", "0.50", "1.010", "0.40"]
    assert [row[0] for row in rows] == ["heun, linspace", "ddim, trailing", "ddim, leading"]
    line = verdict_line(POINTS, 0.02)
    assert line.startswith("verdict: 1 of 3 need at most 10 evaluations")
    assert "ddim, trailing, model.sampler.steps=10 (10 evaluations), CRPS 0.505" in line


def test_a_sampler_that_lies_far_below_its_limit_at_few_evaluations_is_counted() -> None:
    rising = [point(LEADING, 10, 0.9), point(LEADING, 50, 1.0)]
    assert "1 lie more than that below it with 10" in verdict_line(rising, 0.02)
    assert printed(verdict_table(rising, 0.02))[0][-2] == "0.900"
    assert "below it" not in verdict_line(POINTS, 0.02)
    assert printed(verdict_table([point(HEUN, 50, 1.0)], 0.02))[0][-2] == "-"


def test_without_any_score_there_is_no_best() -> None:
    line = verdict_line(POINTS[6:8], 0.02)
    assert line.startswith("verdict: 0 of 0")
    assert "lowest" not in line


def test_each_kind_of_failure_has_one_line() -> None:
    failed = [point(HEUN, asked, math.nan, f"IndexError: index {asked} of 5") for asked in (4, 6)]
    assert fault_lines([*POINTS, *failed]) == [
        "heun, linspace at 2: NotImplementedError: of sample",
        "heun, linspace at 10: unstable",
        "heun, linspace at 4, 6: IndexError: index 4 of 5",
    ]


def test_the_csv_holds_every_point(tmp_path: Path) -> None:
    write_csv(POINTS, tmp_path / "samplers.csv")
    with (tmp_path / "samplers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(POINTS)
    assert (rows[1]["sampler"], rows[1]["spacing"], rows[1]["evaluations"]) == ("ddim", "trailing", "10")
    assert float(rows[1]["crps"]) == 0.505
    assert rows[7]["fault"] == "unstable"
    assert [path.name for path in tmp_path.iterdir()] == ["samplers.csv"]


def test_the_figure_shows_each_sampler_with_the_spacing_that_serves_it_best(tmp_path: Path) -> None:
    assert [own[0].candidate for own in best_spacings(POINTS).values()] == [TRAILING, HEUN]
    figure = curves_figure(POINTS, 4, "°C", "a title", first_guess_rmse=1.05)
    sample, mean, crps = figure.axes
    assert [line.get_label() for line in sample.get_lines()] == [
        "ddim, trailing",
        "heun, linspace",
        "first guess",
    ]
    assert list(sample.get_lines()[0].get_xdata()) == [2, 10, 50]
    assert list(sample.get_lines()[1].get_xdata()) == [49]
    assert [axis.get_xscale() for axis in figure.axes] == ["log"] * 3
    assert sample.get_ylim()[0] < 0.99 < 1.5 < sample.get_ylim()[1]
    assert len(crps.get_lines()) == 2
    assert mean.get_title() == "RMSE of the mean of 4 (°C)"
    assert save_figure(figure, tmp_path / "samplers.png").stat().st_size > 10_000
