"""The page as text: what is in it, and what must not be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from depthdif.comparison.compare import number, page
from depthdif.comparison.panels import collect_panels
from depthdif.comparison.ranking import rankings
from depthdif.comparison.run import Run, find_run_folders, read_runs

ReadMade = Callable[..., Run]


def page_of(runs: list[Run]) -> str:
    return page(runs, rankings(runs), collect_panels(runs, 1e7), datetime(2026, 11, 22, 9, 30))


class Elements(HTMLParser):
    """Start tags with their attributes, and tags left open."""

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def odd_page(odd_runs: Path) -> str:
    return page_of(read_runs(find_run_folders([odd_runs])))


def test_no_address_is_in_the_page_and_nothing_is_loaded(odd_page: str) -> None:
    text = re.sub(r"data:image/png;base64,[\w+/=]+", "", odd_page)
    assert len(text) < len(odd_page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\beval\b|new Function", text)
    for tag, attributes in Elements(odd_page).elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert all(not name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_the_page_is_well_formed_and_ids_are_unique(odd_page: str) -> None:
    elements = Elements(odd_page)
    assert elements.open == []
    ids = [attributes["id"] for _, attributes in elements.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_text_of_runs_is_escaped(odd_page: str) -> None:
    assert "<script>alert(1)" not in odd_page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;&#39;" in odd_page


def test_names_of_runs_cannot_end_the_script_of_the_panels(make_run: Callable[..., Path]) -> None:
    folder = make_run("x<!--<script>")
    html = page_of(read_runs([folder]))
    assert html.count("<script") == html.count("</script>") == 2
    data = re.search(r'id="panel-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert list(json.loads(data[1])["places"]) == ["x<!--<script>"]


def test_every_chart_has_a_description_and_every_control_a_label(odd_page: str) -> None:
    elements = Elements(odd_page).elements
    charts = [attributes for tag, attributes in elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(charts) > 20
    assert all(attributes["aria-label"] for attributes in charts)
    labelled = re.findall(r"<label[^>]*>[^<]*<(?:select|input)", odd_page)
    assert len(labelled) == len(re.findall("<(?:select|input)", odd_page))


def test_results_come_first_then_curves_panels_and_settings(odd_page: str) -> None:
    places = [
        odd_page.index(f'<section id="{name}"')
        for name in ("results", "curves", "panels", "settings", "runs")
    ]
    assert places == sorted(places)
    assert odd_page.index("Best: 1 · EMA 0.99, MSE 1.02 at step 600.") < places[1]


def test_every_number_of_the_curves_is_in_a_table(read_made: ReadMade) -> None:
    html = page_of([read_made(decay=0.99, ratio=0.9)])
    table = html[html.index("MSE (units of the field, squared) by optimizer step") :]
    row = re.search(r"EMA 0\.99</th>(.*?)</tr>", table)
    assert row is not None
    assert re.findall(r">([\d.]+)<", row[1]) == ["1.8", "1.44", "1.17", "1.08"]


def test_panels_shown_first_are_those_of_the_best_run(read_made: ReadMade) -> None:
    html = page_of([read_made("a", ratio=0.9), read_made("b", ratio=0.8)])
    selected = re.findall(r'data-run="(\w+)" data-variant="(\w+)" selected', html)
    assert selected == [("b", "standard"), ("b", "ema")]


def test_runs_without_anything_make_a_page_too(tmp_path: Path) -> None:
    html = page_of(read_runs([tmp_path]))
    assert Elements(html).open == []
    for words in ("nothing to rank", "No scores yet", "No panels yet", "None among the runs"):
        assert words in html


def test_numbers_are_short_and_never_made_up() -> None:
    assert [number(value) for value in (None, 1.23456, float("nan"), float("inf"))] == [
        "–",
        "1.235",
        "nan",
        "inf",
    ]


def test_the_first_guess_is_a_row_of_the_table_and_a_line_of_the_charts(read_made: ReadMade) -> None:
    html = page_of([read_made(first_guess=1.5)])
    assert "First guess: MSE 1.5; the best weights have 0.720 of it." in html
    row = re.search(r'<th scope="row">first guess</th>(.*?)</tr>', html)
    assert row is not None
    assert re.findall(r">([\d.]+)<", row[1]) == ["1.5", "1.5", "0.6124", "32.5", "0.8696"]
    lines = re.findall(r'<g class="series dashed" data-key="first guess"', html)
    assert len(lines) == 8  # Four scores, against steps and against half-life.
    assert "first guess" not in page_of([read_made("b")]).replace("and first guess (green)", "")
