"""What a user can type is in the reference, and the links of all pages lead somewhere."""

import re
from pathlib import Path

import pytest

from fixtures import options
from ssept.cli.commands import COMMANDS
from ssept.providers import PROVIDERS
from ssept.variants import VARIANTS
from tests.helpers.matrix import ROOT

REFERENCE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
README_BYTES = 6_000
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


class Options:
    """Collects the names of declared options as pytest's parser would."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, *_: object) -> "Options":
        return self

    def addoption(self, name: str, **_: object) -> None:
        self.names.append(name)


def declared() -> list[str]:
    parser = Options()
    options.pytest_addoption(parser)  # type: ignore[arg-type]
    return parser.names


@pytest.mark.parametrize("name", declared())
def test_every_option_is_documented(name: str) -> None:
    assert f"`{name}" in REFERENCE


@pytest.mark.parametrize("name", [*VARIANTS, *PROVIDERS])
def test_every_variant_and_provider_is_documented(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"`ssept {name}" in REFERENCE


def test_every_tox_environment_is_documented() -> None:
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    internal = {"lint", "types"}  # in CONTRIBUTING.md
    for name in set(re.findall(r"\[testenv:(\w+)\]", text)) - internal:
        assert f"tox -e {name}" in REFERENCE, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]+))?\)", text_of(page)):
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), f"{target}#{heading}"


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_every_page_is_listed() -> None:
    listed = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md", "index.md"}
    assert sorted(name for name in pages if f"]({name})" not in listed) == []
