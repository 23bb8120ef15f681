"""What a user can type is in the README."""

import re

import pytest

from fixtures import options
from ssept.cli.commands import COMMANDS
from ssept.providers import PROVIDERS
from ssept.variants import VARIANTS
from tests.helpers.matrix import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    assert f"`{name}" in README


@pytest.mark.parametrize("name", [*VARIANTS, *PROVIDERS])
def test_every_variant_and_provider_is_documented(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"`ssept {name}" in README


def test_every_tox_environment_is_documented() -> None:
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    internal = {"lint", "types"}  # in CONTRIBUTING.md
    for name in set(re.findall(r"\[testenv:(\w+)\]", text)) - internal:
        assert f"tox -e {name}" in README, name


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
