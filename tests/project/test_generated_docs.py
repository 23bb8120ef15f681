"""The pages of the reference that are made from the code have all of it."""

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ssept.cli import ERROR_STATUS
from ssept.cli.commands import COMMANDS, parser_of
from tests.helpers.matrix import ROOT


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("made", ROOT / "docs/made_from_code.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(parser: argparse.ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        found |= {each for each in action.option_strings if each.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                found |= options(subparser)
    return found


def test_every_command_and_option_is_there(made: ModuleType, tmp_path: Path) -> None:
    made.write_pages(tmp_path)
    text = (tmp_path / "commands.md").read_text()
    for command in COMMANDS:
        assert f"## ssept {command}\n" in text
        missing = [each for each in options(parser_of(command)) if f"{each}" not in text]
        assert missing == []
    for command in ERROR_STATUS:
        assert f"`{command}`" in text


def test_lines_are_short(made: ModuleType) -> None:
    blocks = made.commands_page().split("```")[1::2]
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 100
