"""Takes the pictures of the page in docs/images: `python -m tests.browser.screenshots DIR`.

They show the shipped model on the embedded synthetic data.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from tests.browser.chromium import browser, resize
from tests.browser.page import Page

VARIANTS = ("fused_topk", "fused_int8_topk")
USER = 4711
QUERY = "item 1204"
ROUNDS = 9  # for the median
WIDE, PHONE = (1180, 930), (360, 780)


def one_variant(page: Page) -> None:
    page.find("#title").send_keys(QUERY + Keys.ENTER)
    page.wait(lambda: QUERY in page.seen()[0])
    _ask_again(page)


def side_by_side(page: Page) -> None:
    page.find(f"input[value={VARIANTS[1]}]").click()
    page.wait(lambda: page.rows(VARIANTS[1]))
    _ask_again(page)


def phone(page: Page) -> None:
    resize(page.chrome, *PHONE)
    page.find("#title").send_keys(QUERY)
    page.wait(lambda: page.all("[role=option]"))


def _ask_again(page: Page) -> None:
    for _ in range(ROUNDS):
        article = page.find("article")
        page.find("#options button").click()
        page.wait(lambda shown=article: page.find("article") != shown)
    page.chrome.execute_script("document.activeElement.blur()")


PICTURES: dict[str, Callable[[Page], None]] = {
    "page": one_variant,
    "page-side-by-side": side_by_side,
    "page-phone": phone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as logs,
        running(ServerSettings(variants=VARIANTS), Path(logs) / "server.log") as server,
        browser() as chrome,
    ):
        chrome.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        for name, act in PICTURES.items():
            resize(chrome, *WIDE)
            page = Page(chrome, server.url)
            page.type_user(str(USER))
            page.wait(lambda shown=page: f"user {USER}:" in shown.text("#status"))
            act(page)
            chrome.save_screenshot(str(folder / f"{name}.png"))


if __name__ == "__main__":
    main()
