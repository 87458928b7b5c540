"""The ladder of weight states: its best rung, table, file and figure. Its scores in a real run: tests/test_posthoc.py."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from rich.console import Console

from depthdif.posthoc_ema.ladder import Rung, best_of, ladder_figure, ladder_table, write_ladder


def rung(width: float, mse: float, loss: float, kind: str = "rebuilt") -> Rung:
    return Rung(f"width {width}", kind, width, 1e-3, {"mse": mse, "loss": loss, "psnr": 30.0})


STANDARD = Rung("standard", "standard", None, None, {"mse": 0.5, "loss": 0.1, "psnr": 29.0})
RUNGS = [
    STANDARD,
    rung(0.05, 1.0, 0.3, "tracked"),
    rung(0.1, 0.8, 0.4),
    rung(0.2, math.nan, 0.5),
    Rung("decay 0.99", "constant", 0.15, 0.01, {"mse": 0.1, "loss": 0.2}),
]


def test_the_best_rung_is_a_width_with_a_finite_score() -> None:
    assert best_of(RUNGS) is RUNGS[2]
    assert best_of(RUNGS, "loss") is RUNGS[1]
    assert best_of([STANDARD, rung(0.1, math.nan, 1)]) is None


def test_the_table_stars_the_best_width_and_leaves_out_what_is_not_there() -> None:
    console = Console(width=120, record=True)
    console.print(ladder_table(RUNGS, "°C"))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    assert [("*" in line) for line in lines] == [False, False, True, False, False]
    assert "tracked" in lines[1]
    assert "1.0e-03" in lines[2]
    assert lines[4].count(" - ") == 2


def test_the_file_holds_every_number_in_full(tmp_path: Path) -> None:
    write_ladder([STANDARD, rung(1 / 7, 1 / 3, 2 / 3)], tmp_path / "ladder.csv")
    standard, one = csv.DictReader((tmp_path / "ladder.csv").open(encoding="utf-8"))
    assert (standard["relative_width"], standard["fit_error"], standard["ssim"]) == ("", "", "")
    assert (float(one["relative_width"]), float(one["mse"]), float(one["loss"])) == (1 / 7, 1 / 3, 2 / 3)
    assert [path.name for path in tmp_path.iterdir()] == ["ladder.csv"]


@pytest.mark.parametrize(
    ("level", "words"), [(0.9, "standard weights"), (9.0, "standard weights: 9, off the scale")]
)
def test_the_figure_marks_the_optimum_and_does_not_let_the_standard_weights_flatten_it(
    level: float, words: str
) -> None:
    standard = Rung("standard", "standard", None, None, {"mse": level, "loss": level})
    left, right = ladder_figure([standard, *RUNGS[1:]], "°C", "run").axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["rebuilt", "tracked in training", "constant decay", words, "best: width 0.1"]
    assert left.get_ylim()[1] < 2
    assert "best: width 0.05" in [text.get_text() for text in right.get_legend().get_texts()]
    assert left.get_ylabel() == "MSE of the reconstructions (°C²)"


def test_a_ladder_without_any_finite_score_is_still_drawn() -> None:
    nothing = [Rung("standard", "standard", None, None, {}), rung(0.1, math.nan, math.nan)]
    assert len(ladder_figure(nothing, "°C", "run").axes) == 2
