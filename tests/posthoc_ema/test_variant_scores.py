"""Scores of variants: the best width, table, file and figure. Scores of a real run: test_posthoc.py."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from rich.console import Console

from depthdif.posthoc_ema.variant_scores import (
    VariantScores,
    best_width,
    score_figure,
    score_table,
    write_scores,
)


def average(width: float, mse: float, loss: float, kind: str = "rebuilt") -> VariantScores:
    return VariantScores(f"width {width}", kind, width, 1e-3, {"mse": mse, "loss": loss, "psnr": 30.0})


STANDARD = VariantScores("standard", "standard", None, None, {"mse": 0.5, "loss": 0.1, "psnr": 29.0})
VARIANTS = [
    STANDARD,
    average(0.05, 1.0, 0.3, "tracked"),
    average(0.1, 0.8, 0.4),
    average(0.2, math.nan, 0.5),
    VariantScores("decay 0.99", "constant", 0.15, 0.01, {"mse": 0.1, "loss": 0.2}),
]


def test_the_best_is_a_width_with_a_finite_score() -> None:
    assert best_width(VARIANTS) is VARIANTS[2]
    assert best_width(VARIANTS, "loss") is VARIANTS[1]
    assert best_width([STANDARD, average(0.1, math.nan, 1)]) is None


def test_the_table_stars_the_best_width_and_leaves_out_what_is_not_there() -> None:
    console = Console(width=120, record=True)
    console.print(score_table(VARIANTS, "°C"))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    assert [("*" in line) for line in lines] == [False, False, True, False, False]
    assert "tracked" in lines[1]
    assert "1.0e-03" in lines[2]
    assert lines[4].count(" - ") == 3


def test_the_file_holds_every_number_in_full(tmp_path: Path) -> None:
    write_scores([STANDARD, average(1 / 7, 1 / 3, 2 / 3)], tmp_path / "widths.csv")
    standard, one = csv.DictReader((tmp_path / "widths.csv").open(encoding="utf-8"))
    assert (standard["relative_width"], standard["fit_error"], standard["ssim"]) == ("", "", "")
    assert (float(one["relative_width"]), float(one["mse"]), float(one["loss"])) == (1 / 7, 1 / 3, 2 / 3)
    assert [path.name for path in tmp_path.iterdir()] == ["widths.csv"]


@pytest.mark.parametrize(
    ("level", "words"), [(0.9, "standard weights"), (9.0, "standard weights: 9, off the scale")]
)
def test_the_figure_marks_the_optimum_and_does_not_let_the_standard_weights_flatten_it(
    level: float, words: str
) -> None:
    standard = VariantScores("standard", "standard", None, None, {"mse": level, "loss": level})
    left, right = score_figure([standard, *VARIANTS[1:]], "°C", "run").axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["rebuilt", "tracked in training", "constant decay", words, "best: width 0.1"]
    assert left.get_ylim()[1] < 2
    assert "best: width 0.05" in [text.get_text() for text in right.get_legend().get_texts()]
    assert left.get_ylabel() == "MSE of the reconstructions (°C²)"


def test_variants_without_any_finite_score_are_still_drawn() -> None:
    nothing = [VariantScores("standard", "standard", None, None, {}), average(0.1, math.nan, math.nan)]
    assert len(score_figure(nothing, "°C", "run").axes) == 2
