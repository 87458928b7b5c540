"""The page in a real browser: the controls work, there are no errors and no requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from depthdif.comparison.compare import compare

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def html(odd_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare([odd_runs], tmp_path_factory.mktemp("out"))


@pytest.fixture
def page(open_page: Callable[[Path], Page], html: Path) -> Page:
    return open_page(html)


def pictures(page: Page) -> list[str]:
    """What both sides show; every picture that is shown has been decoded."""
    shown = page.locator(".panel img:visible")
    for index in range(shown.count()):
        shown.nth(index).evaluate("image => image.decode()")
        assert shown.nth(index).evaluate("image => image.naturalWidth") == 320
    return [shown.nth(index).get_attribute("src") or "" for index in range(shown.count())]


def side(page: Page, name: str) -> Locator:
    return page.locator(f".panel[data-side={name}]")


def test_the_slider_moves_by_keyboard_and_both_pictures_change(page: Page) -> None:
    last = pictures(page)
    assert page.locator("#step-shown").inner_text() == "step 600"
    page.locator("#step").focus()
    page.keyboard.press("Home")
    assert page.locator("#step-shown").inner_text() == "step 100"
    page.keyboard.press("ArrowRight")
    assert page.locator("#step-shown").inner_text() == "step 150"
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 150"
    earlier = pictures(page)
    assert len(last) == len(earlier) == 2
    assert len({*last, *earlier}) == 4
    assert "standard at step 150" in (side(page, "left").locator("img").get_attribute("alt") or "")


def test_each_side_shows_the_weights_that_are_chosen(page: Page) -> None:
    assert (
        page.locator(".panel select").first.evaluate("s => s.selectedOptions[0].textContent")
        == "1 · standard"
    )
    before = pictures(page)
    side(page, "right").locator("select").select_option("4 · EMA 0.999")
    after = pictures(page)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_panel_that_does_not_exist_is_replaced_by_a_message(page: Page) -> None:
    page.locator("#step").focus()
    page.keyboard.press("Home")
    assert pictures(page) == []
    assert side(page, "left").locator(".empty").inner_text() == "No panel of 1 · standard at step 100."


def test_choosing_a_score_or_a_distance_changes_the_charts(page: Page) -> None:
    for kind, chosen in (("score", "psnr"), ("distance", "max_abs")):
        page.locator(f"#{kind}").select_option(chosen)
        shown = page.locator(f"figure[data-{kind}]:visible")
        assert {shown.nth(index).get_attribute(f"data-{kind}") for index in range(shown.count())} == {chosen}


def test_the_legend_makes_lines_stand_out(page: Page) -> None:
    button = page.get_by_role("button", name="1 · EMA 0.99", exact=True)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    faded = page.locator(".series.faded[data-key='3 · EMA 0.9999']")
    assert faded.count() > 0
    assert page.locator(".series.faded[data-key='1 · EMA 0.99']").count() == 0
    button.click()
    assert page.locator(".series.faded").count() == 0


def test_panels_stand_side_by_side_or_one_above_the_other(page: Page) -> None:

    def tops() -> list[float]:
        return [page.locator(".panel").nth(index).bounding_box()["y"] for index in (0, 1)]  # type: ignore[index]

    assert tops()[0] == tops()[1]
    page.locator("#layout").select_option("below")
    assert tops()[0] < tops()[1]


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
    assert len(measured) > 50
    # WCAG 2.1, success criterion 1.4.3.
    assert min(measured) >= 4.5
