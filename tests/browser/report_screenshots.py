"""Takes the pictures of a report: `python -m tests.browser.report_screenshots docs/images ARGS`.

ARGS are those of `ssept report`: runs, and what the recommendation is for.
"""

import argparse
import base64
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

from ssept.cli import main as ssept
from tests.browser.chromium import browser, prefer, resize

A4_WIDTH = 794  # pixels, at the 96 to an inch of a printed page
# Of each picture: size, colour scheme, medium, and the element that it begins at.
PICTURES = {
    "report-desktop": ((1180, 1180), "light", "screen", "body"),
    "report-dark": ((1180, 1180), "dark", "screen", "#accuracy-and-speed"),
    "report-phone": ((360, 1180), "light", "screen", "#accuracy-and-speed"),
    "report-print": ((A4_WIDTH, 1123), "light", "print", "body"),
}


MARGIN = "document.body.style.padding = '14mm'; dispatchEvent(new Event('resize'))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parsed, arguments = parser.parse_known_args()
    parsed.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, browser() as chrome:
        page = Path(place) / "report.html"
        if ssept(["report", *arguments, "-o", str(page)]):
            raise SystemExit(1)
        chrome.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        for name, (size, scheme, media, start) in PICTURES.items():
            resize(chrome, *size)
            prefer(chrome, scheme, media)
            chrome.get(page.as_uri())
            WebDriverWait(chrome, 30, 0.1).until(_drawn)
            if media == "print":  # the margin of the paper, which the page itself does not have
                chrome.execute_script(MARGIN)
            (parsed.folder / f"{name}.png").write_bytes(_picture(chrome, size, start))


def _drawn(chrome: Chrome) -> bool:
    return bool(chrome.execute_script("return document.documentElement.dataset.drawn"))


def _picture(chrome: Chrome, size: tuple[int, int], start: str) -> bytes:
    place = "return document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY"
    top = max(0, chrome.execute_script(place, start) - 8)
    clip = {"x": 0, "y": top, "width": size[0], "height": size[1], "scale": 1}
    options = {"captureBeyondViewport": True, "clip": clip}
    found = chrome.execute_cdp_cmd("Page.captureScreenshot", options)
    return base64.b64decode(found["data"])


if __name__ == "__main__":
    main()
