"""The page in a real browser: the controls work, there are no errors and no requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from depthdif.comparison.compare import compare

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 300_000
QUIET = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@dataclass
class Opened:
    """A page with its messages and requests."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def find_browser() -> str:
    """The browser of this machine; a test that needs one fails without it."""
    browser = os.environ.get("BROWSER_FOR_TESTS") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.fail(
            "no browser: apt-get install chromium, or BROWSER_FOR_TESTS=/path/to/chrome make browser-test"
        )
    return browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Long, because the machine may be busy.
        launched = playwright.chromium.launch(
            executable_path=find_browser(), args=list(QUIET), timeout=PATIENCE
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def html(odd_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare([odd_runs], tmp_path_factory.mktemp("out"))


@pytest.fixture
def opened(browser: Browser, html: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE)
    opened = Opened(page)
    page.on("console", lambda message: opened.messages.append(message.text))
    page.on("pageerror", lambda error: opened.messages.append(str(error)))
    page.on("dialog", lambda dialog: opened.messages.append(dialog.message))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(html.as_uri())
    yield opened
    # Whatever a test did: no error, no warning, no request but for the page itself.
    assert opened.messages == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [html.as_uri()]
    page.close()


def pictures(page: Page) -> list[str]:
    """What both sides show; every picture that is shown has been decoded."""
    shown = page.locator(".panel img:visible")
    for index in range(shown.count()):
        shown.nth(index).evaluate("image => image.decode()")
        assert shown.nth(index).evaluate("image => image.naturalWidth") == 320
    return [shown.nth(index).get_attribute("src") or "" for index in range(shown.count())]


def side(page: Page, name: str) -> Locator:
    return page.locator(f".panel[data-side={name}]")


def test_the_slider_moves_by_keyboard_and_both_pictures_change(opened: Opened) -> None:
    page = opened.page
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


def test_each_side_shows_the_weights_that_are_chosen(opened: Opened) -> None:
    page = opened.page
    assert (
        page.locator(".panel select").first.evaluate("s => s.selectedOptions[0].textContent")
        == "1 · standard"
    )
    before = pictures(page)
    side(page, "right").locator("select").select_option("4 · EMA 0.999")
    after = pictures(page)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_panel_that_does_not_exist_is_replaced_by_a_message(opened: Opened) -> None:
    page = opened.page
    page.locator("#step").focus()
    page.keyboard.press("Home")
    assert pictures(page) == []
    assert side(page, "left").locator(".empty").inner_text() == "No panel of 1 · standard at step 100."


def test_choosing_a_score_or_a_distance_changes_the_charts(opened: Opened) -> None:
    page = opened.page
    for kind, chosen in (("score", "psnr"), ("distance", "max_abs")):
        page.locator(f"#{kind}").select_option(chosen)
        shown = page.locator(f"figure[data-{kind}]:visible")
        assert {shown.nth(index).get_attribute(f"data-{kind}") for index in range(shown.count())} == {chosen}


def test_the_legend_makes_lines_stand_out(opened: Opened) -> None:
    page = opened.page
    button = page.get_by_role("button", name="1 · EMA 0.99", exact=True)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    faded = page.locator(".series.faded[data-key='3 · EMA 0.9999']")
    assert faded.count() > 0
    assert page.locator(".series.faded[data-key='1 · EMA 0.99']").count() == 0
    button.click()
    assert page.locator(".series.faded").count() == 0


def test_panels_stand_side_by_side_or_one_above_the_other(opened: Opened) -> None:
    page = opened.page

    def tops() -> list[float]:
        return [page.locator(".panel").nth(index).bounding_box()["y"] for index in (0, 1)]  # type: ignore[index]

    assert tops()[0] == tops()[1]
    page.locator("#layout").select_option("below")
    assert tops()[0] < tops()[1]


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_but_tables_is_wider_than_the_window(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(opened: Opened, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    contrasts = opened.page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    # WCAG 2.1, success criterion 1.4.3.
    assert min(contrasts) >= 4.5


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const back = rgb(getComputedStyle(node).backgroundColor);
      if (back.length < 4 || back[3] > 0) return back;
    }
  };
  const nodes = document.querySelectorAll("p, th, td, dt, dd, .chip, button, a, h1, h2, figcaption, label, svg.chart text");
  return [...nodes].filter((n) => n.textContent.trim() && n.getClientRects().length).map((n) => {
    const style = getComputedStyle(n);
    const ink = luminance(rgb(n instanceof SVGElement ? style.fill : style.color));
    const back = luminance(behind(n));
    return (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
  });
}"""
