"""Debian's Chromium, headless, driven by selenium."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAMS = ("chromium", "chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def browser(width: int = 1200, height: int = 900) -> Iterator["Chrome"]:
    """A browser with a profile of its own, for the time of the block."""
    from selenium import webdriver

    program, driver = (shutil.which(name) for name in PROGRAMS)
    options = webdriver.ChromeOptions()
    options.binary_location = program or ""
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            resize(chrome, width, height)
            yield chrome
        finally:
            chrome.quit()


def resize(chrome: "Chrome", width: int, height: int) -> None:
    """Set the size of the page in CSS pixels; scroll bars lie over the page, as on a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(chrome: "Chrome", scheme: str, media: str = "") -> None:
    """Prefer the colour scheme "light" or "dark", on the medium "print" if it is named."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media})


def messages(chrome: "Chrome") -> list[dict[str, Any]]:
    """What the console has got since it was last read."""
    found: list[dict[str, Any]] = chrome.get_log("browser")
    return found


def requests(chrome: "Chrome") -> list[str]:
    """The addresses that were asked for since this was last read."""
    entries = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    return [
        entry["params"]["request"]["url"]
        for entry in entries
        if entry["method"] == "Network.requestWillBeSent"
    ]
