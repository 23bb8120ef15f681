"""The page of `ssept report` in Chromium, as a file that was sent by mail."""

import json
import os
from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: see `tox -e browser`")

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from ssept.cli import main
from tests.browser.chromium import messages, prefer, requests, resize
from tests.browser.conftest import REQUIRED
from tests.helpers.reports import RUNS, altered, elsewhere, scale_folder

SECONDS = 30
AXE = "selenium_axe_python"
# Of each plot: how many marks its data have, and how many were drawn.
DRAWN = """
return [...document.querySelectorAll(".plot")].map((place) => {
  const shapes = place.querySelectorAll(".mark-symbol path, .mark-rect path").length;
  const box = place.querySelector("svg")?.getBoundingClientRect();
  const spec = JSON.parse(place.closest("figure").querySelector("script").textContent);
  return [spec.datasets.cells.length, shapes, box?.width ?? 0, place.parentElement.ariaLabel];
});
"""


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three runs, one of them on a second machine too, with scale."""
    folder = tmp_path_factory.mktemp("report")
    other = altered(RUNS[0], folder, elsewhere)
    page = folder / "report.html"
    scale = scale_folder(folder / "scale")
    runs = [str(run) for run in (RUNS[0], *RUNS[-3:-1], other)]
    arguments = ["--scale", str(scale), "--max-mb", "4.5", "-o", str(page)]
    assert main(["report", *runs, *arguments]) == 0
    return page


@pytest.fixture
def shown(chrome: Chrome, page_file: Path) -> Iterator[Chrome]:
    """The page, drawn; the console must have stayed silent at the end."""
    resize(chrome, 1200, 900)
    prefer(chrome, "light")
    messages(chrome)
    requests(chrome)
    chrome.get(page_file.as_uri())
    wait(chrome, lambda: chrome.execute_script("return document.documentElement.dataset.drawn"))
    yield chrome
    assert messages(chrome) == []


def wait(chrome: Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(chrome, SECONDS, 0.05).until(lambda _: condition())


def test_it_asks_for_nothing_else(shown: Chrome, page_file: Path) -> None:
    plot = shown.find_element(By.CSS_SELECTOR, ".plot .mark-symbol path")
    ActionChains(shown).move_to_element(plot).perform()
    asked = {url for url in requests(shown) if not url.startswith("data:")}
    assert asked == {page_file.as_uri()}
    assert page_file.stat().st_size < 2_000_000


def test_every_plot_is_drawn_with_its_marks(shown: Chrome) -> None:
    plots = shown.execute_script(DRAWN)
    assert len(plots) > 20
    for values, shapes, width, label in plots:
        assert width > 300, label
        # A curve has a point for each measured value and none for its bound; boxes are more.
        assert shapes >= (values / 2 if label.startswith("Line plot") else values), label


def test_each_plot_has_a_description_and_its_numbers_as_a_table(shown: Chrome) -> None:
    for figure in shown.find_elements(By.CSS_SELECTOR, "figure"):
        plot = figure.find_element(By.CSS_SELECTOR, "[role=img]")
        assert len(plot.accessible_name) > 60
        rows = figure.find_elements(By.CSS_SELECTOR, "details table tbody tr")
        assert rows, plot.accessible_name
    for table in shown.find_elements(By.CSS_SELECTOR, "table"):
        assert table.find_elements(By.CSS_SELECTOR, "caption")
        assert not table.find_elements(By.CSS_SELECTOR, "th:not([scope])")
    levels = shown.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3')].map((one) => +one.tagName[1])"
    )
    assert levels.count(1) == 1
    assert levels.count(2) == 10
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_cells_are_chosen_by_keyboard(shown: Chrome) -> None:
    def press(*keys: str) -> None:
        ActionChains(shown).send_keys(*keys).perform()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            press(Keys.TAB)
            if shown.execute_script(
                "return document.activeElement.matches(arguments[0])", selector
            ):
                return
        pytest.fail(f"not reached by the Tab key: {selector}")

    def state() -> tuple[str, int, int]:
        rows = "return document.querySelectorAll('tr[data-variant=torch]:not([hidden])').length"
        marks = sum(shapes for _, shapes, _, _ in shown.execute_script(DRAWN))
        text = "return document.getElementById('shown').textContent"
        return shown.execute_script(text), shown.execute_script(rows), marks

    before = state()
    assert before[1] > 0
    tab_to("#choice > summary")
    press(Keys.ENTER)
    tab_to("input[name=variant][value=torch]")
    press(Keys.SPACE)
    wait(shown, lambda: state()[1] == 0 and state()[2] < before[2])
    after = state()
    assert after[0] != before[0]
    tab_to("#all")
    press(Keys.ENTER)
    wait(shown, lambda: state() == before)


def test_a_plot_without_a_chosen_cell_says_so(shown: Chrome) -> None:
    shown.find_element(By.CSS_SELECTOR, "#choice > summary").click()
    for box in shown.find_elements(By.CSS_SELECTOR, "#filter input"):
        box.click()
    words = "return document.querySelectorAll('figure > .none:not([hidden])').length"
    plots = len(shown.find_elements(By.CSS_SELECTOR, ".plot"))
    wait(shown, lambda: shown.execute_script(words) == plots)


@pytest.mark.parametrize("size", [(360, 740), (1200, 900), (820, 1100)])
def test_nothing_needs_scrolling_sideways(shown: Chrome, size: tuple[int, int]) -> None:
    resize(shown, *size)
    shown.refresh()
    wait(shown, lambda: shown.execute_script("return document.documentElement.dataset.drawn"))
    shown.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
    width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert shown.execute_script(width) == 0
    outside = """return [...document.querySelectorAll('svg')].filter((one) =>
        one.getBoundingClientRect().right > innerWidth).length"""
    assert shown.execute_script(outside) == 0


def test_a_print_is_dark_on_light_and_opens_the_tables(shown: Chrome) -> None:
    colours = """const style = getComputedStyle(document.documentElement);
        return ["--text", "--card", "--series-1"].map((name) => style.getPropertyValue(name));"""
    light = shown.execute_script(colours)
    prefer(shown, "dark")
    assert shown.execute_script(colours) != light
    prefer(shown, "dark", "print")
    assert shown.execute_script(colours) == light
    assert not shown.find_element(By.CSS_SELECTOR, "nav").is_displayed()
    prefer(shown, "light")
    shown.execute_script(
        "addEventListener('beforeprint', () => { window.printed = "
        "document.querySelectorAll('details:not([open])').length; })"
    )
    shown.execute_cdp_cmd("Page.printToPDF", {})
    assert shown.execute_script("return window.printed") == 0
    assert shown.find_elements(By.CSS_SELECTOR, "details:not([open])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing_serious(shown: Chrome, scheme: str, width: int) -> None:
    if not find_spec(AXE):
        (pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip)(
            f"{AXE} is not installed: see `tox -e browser`"
        )
    prefer(shown, scheme)
    resize(shown, width, 900)
    shown.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
    shown.execute_script((files(AXE) / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = shown.execute_async_script("axe.run(document).then(arguments[0])")
    assert found["passes"]
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    said = [(each["id"], each["nodes"][0]["html"], len(each["nodes"])) for each in serious]
    assert not said, json.dumps(said, indent=1)
