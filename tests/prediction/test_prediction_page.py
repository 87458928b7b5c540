"""The page of a prediction in a real browser: the controls work, there are no errors and no requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from depthdif.prediction.page import write_page
from depthdif.prediction.section import Section

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def html(predicted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "indian.html"
    scores = [
        {"method": "OI", "rmse": 0.71234, "crps": None},
        {"method": "EMA, mean of 2", "rmse": 0.61234, "crps": 0.3},
    ]
    return write_page(*predicted.arguments, path, Section(longitude=80), predicted.withheld, scores)


@pytest.fixture
def page(open_page: Callable[[Path], Page], html: Path) -> Page:
    opened = open_page(html)
    opened.wait_for_selector("body[data-drawn]")
    return opened


def after(page: Page, act: Callable[[], Any]) -> None:
    """Do something that draws the page anew, and wait for it."""
    before = page.locator("body").get_attribute("data-drawn")
    act()
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)


def picture(page: Page, side: str = "left", kind: str = "map") -> str:
    """What a canvas shows, as the URL of a PNG file."""
    canvas = page.locator(f".side[data-side={side}] .field[data-kind={kind}]")
    return canvas.evaluate("canvas => canvas.toDataURL()")


def cell_centre(page: Page, kind: str, column: float, row: float) -> tuple[float, float]:
    """Place on the screen of shares of the width and height of the left field."""
    box = page.locator(f".side[data-side=left] .field[data-kind={kind}]").bounding_box()
    assert box is not None
    aspect = page.evaluate("kind => data[kind].aspect", kind)
    width = box["width"] - 60
    return box["x"] + 52 + column * width, box["y"] + 8 + row * width * aspect


def test_the_sliders_move_by_keyboard_and_change_the_maps(page: Page, predicted: Any) -> None:
    first, section = picture(page), picture(page, kind="section")
    page.locator("#time").focus()
    after(page, lambda: page.keyboard.press("End"))
    assert page.locator("#time-shown").inner_text() == "2000-03-15"
    later = picture(page)
    assert first != later
    assert section != picture(page, kind="section")
    page.locator("#depth").focus()
    after(page, lambda: page.keyboard.press("ArrowRight"))
    depth = float(predicted.dataset["depth"][1])
    assert page.locator("#depth").get_attribute("aria-valuetext") == f"{depth:g} m"
    assert later != picture(page)


def test_each_side_shows_the_quantity_that_is_chosen(page: Page) -> None:
    left, right = picture(page), picture(page, "right")
    after(page, lambda: page.locator(".side[data-side=right] select").select_option("EMA mean"))
    assert picture(page) == left
    assert picture(page, "right") != right
    assert picture(page, "right") == left
    heading = page.locator(".side[data-side=right] .heading[data-kind=map]")
    assert heading.inner_text() == "EMA mean at 0 m, 2000-01-15"


@pytest.mark.parametrize(("row", "column"), [(14, 20), (3, 27), (30, 2)])
def test_pointing_at_a_cell_reads_its_values_to_the_quantisation(
    page: Page, predicted: Any, row: int, column: int
) -> None:
    dataset = predicted.dataset
    page.locator("#depth").focus()
    after(page, lambda: page.keyboard.press("End"))
    height, width = dataset.sizes["latitude"], dataset.sizes["longitude"]
    x, y = cell_centre(page, "map", (column + 0.5) / width, 1 - (row + 0.5) / height)
    after(page, lambda: page.mouse.move(x, y))
    text = page.locator("#readout").inner_text()
    for label, name in (("EMA mean", "temperature"), ("EMA spread", "temperature_spread")):
        values = dataset[name].values[:, -1]
        expected = values[0, row, column]
        if np.isnan(expected):
            assert f"{label} below the sea floor" in text or f"{label} on land" in text
            continue
        read = re.search(rf"{label} (-?[\d.]+) °C", text)
        assert read is not None
        step = (np.nanmax(values) - np.nanmin(values)) / 253
        decimals = len(read[1].partition(".")[2])
        assert abs(float(read[1]) - expected) <= step / 2 + 0.51 * 10**-decimals
    assert f"{abs(float(dataset['latitude'][row])):g}°" in text


def test_land_and_sea_floor_are_told_apart(page: Page, predicted: Any) -> None:
    dataset = predicted.dataset
    surface, deep = (np.isfinite(dataset["temperature"].values[0, level]) for level in (0, -1))
    height, width = surface.shape
    page.locator("#depth").focus()
    after(page, lambda: page.keyboard.press("End"))
    for cells, words in ((~surface, "EMA mean on land"), (surface & ~deep, "EMA mean below the sea floor")):
        row, column = np.argwhere(cells)[0]
        x, y = cell_centre(page, "map", (column + 0.5) / width, 1 - (row + 0.5) / height)
        after(page, lambda x=x, y=y: page.mouse.move(x, y))
        assert words in page.locator("#readout").inner_text()


def test_pointing_at_a_profile_names_its_platform(page: Page, predicted: Any) -> None:
    table = predicted.observations[0]
    latitude, longitude = predicted.dataset["latitude"].values, predicted.dataset["longitude"].values
    east = (table.longitude[0] - longitude[0] + 1) / (2 * len(longitude))
    south = 1 - (table.latitude[0] - latitude[0] + 1) / (2 * len(latitude))
    x, y = cell_centre(page, "map", east, south)
    after(page, lambda: page.mouse.move(x, y))
    assert f"profile of {table.platform[0]}" in page.locator("#readout").inner_text()


def test_arrow_keys_move_over_the_section(page: Page, predicted: Any) -> None:
    canvas = page.locator(".side[data-side=left] .field[data-kind=section]")
    canvas.focus()
    after(page, lambda: page.keyboard.press("ArrowUp"))
    first = page.locator("#readout").inner_text()
    depths = predicted.dataset["depth"].values
    assert f"{depths[len(depths) // 2 - 1]:g} m" in first
    after(page, lambda: page.keyboard.press("ArrowLeft"))
    assert page.locator("#readout").inner_text() != first


def test_profiles_can_be_hidden(page: Page) -> None:
    before = picture(page)
    after(page, lambda: page.locator("#profiles").uncheck())
    assert picture(page) != before


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_but_tables_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(
    page: Page, contrasts: Callable[[Page], list[float]], scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    measured = contrasts(page)
    assert len(measured) > 20
    # WCAG 2.1, success criterion 1.4.3.
    assert min(measured) >= 4.5
