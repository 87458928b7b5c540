"""The picture of the main charts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from depthdif.comparison.compare import picture
from depthdif.comparison.ranking import rankings
from depthdif.comparison.run import Run, find_run_folders, read_runs

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_of_odd_runs_has_three_charts_with_lines_and_a_legend(odd_runs: Path) -> None:
    ranked = rankings(read_runs(find_run_folders([odd_runs])))
    root = ElementTree.fromstring(picture(ranked))
    charts = [part for part in root.iter(f"{SVG}svg") if part.get("class") == "chart"]
    assert len(charts) == 3
    assert all(chart.findall(f".//{SVG}path[@class='line']") for chart in charts)
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert texts[0].startswith("Best: 1 · EMA 0.99")
    assert any(text.startswith("This is group 1 of 6") for text in texts)
    assert "1 · EMA 0.99" in texts


def test_other_scores_make_another_picture(read_made: Callable[..., Run]) -> None:
    runs = [read_made("a", ratio=0.9), read_made("b", ratio=0.8)]
    assert picture(rankings(runs[:1])) != picture(rankings(runs[1:]))


def test_runs_without_distances_and_without_anything_make_a_picture_too(
    read_made: Callable[..., Run],
) -> None:
    assert ElementTree.fromstring(picture(rankings([read_made("a", decay=None)])))
    assert "No run has scored a reconstruction yet" in picture([])
