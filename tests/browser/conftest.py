"""A server with titles, one without, and the page in a browser."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from tests.browser.chromium import PROGRAMS, browser, messages, prefer, resize
from tests.helpers.servers.titled import titled_copy

if TYPE_CHECKING:  # selenium may be missing
    from selenium.webdriver import Chrome

    from tests.browser.page import Page

VARIANTS = ("fused_topk", "fused_int8_topk")
REQUIRED = "SSEPT_REQUIRE_BROWSER"


@pytest.fixture(scope="session")
def titled_url(
    small_checkpoint: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("titled")
    data = titled_copy(small_folder, folder / "data")
    settings = ServerSettings(model=small_checkpoint, variants=VARIANTS, data=data)
    with running(settings, folder / "server.log") as server:
        yield server.url


@pytest.fixture(scope="session")
def untitled_url(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("untitled") / "server.log"
    with running(ServerSettings(model=small_checkpoint), log) as server:
        yield server.url


@pytest.fixture(scope="session")
def chrome() -> Iterator["Chrome"]:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    missing += [] if find_spec("selenium") else ["the package selenium"]
    if missing:
        (pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip)(
            f"{' and '.join(missing)} not installed: see `tox -e browser`"
        )
    with browser() as chrome:
        yield chrome


@pytest.fixture
def page(chrome: "Chrome", titled_url: str) -> Iterator["Page"]:
    """The page, shown for the first time; the console must have stayed silent at the end."""
    from tests.browser.page import Page

    resize(chrome, 1200, 900)
    prefer(chrome, "light")
    page = Page(chrome, titled_url)
    yield page
    assert [message for message in messages(chrome) if message["source"] not in page.noise] == []
