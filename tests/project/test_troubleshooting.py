"""Each message of docs/troubleshooting.md is one that the program prints, as the page has it.

The page is the only place of the texts. A case here has the name of an entry's anchor, and brings
the program to print the message: by a command, with bad input or on a machine that lacks something.
The cases of each section of the page are in a file of `messages/`.
"""

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT
from tests.project.messages.user import CASES, User

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ENTRY = re.compile(r'^<a id="([a-z0-9-]+)"></a>\*\*(`+) ?(.+?) ?\2\*\*$', flags=re.M)
FOUND = [(name, message) for name, _, message in ENTRY.findall(PAGE)]
ENTRIES = dict(FOUND)
ANY = "…"
CASES_OF_SECTIONS = sorted((ROOT / "tests/project/messages").glob("*.py"))
LEAST_FIXED = 12  # characters of a message that are no placeholder: fewer could be any message

for room in CASES_OF_SECTIONS:
    importlib.import_module(f"tests.project.messages.{room.stem}")


@pytest.fixture
def user(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[User]:
    before = dict(os.environ)
    yield User(tmp_path, small_folder, small_checkpoint, monkeypatch)
    os.environ.clear()  # `ssept serve` sets variables for its workers
    os.environ.update(before)


def pattern(message: str) -> str:
    """What a message looks like, on one line, with whatever stands for its placeholders."""
    return ".*?".join(re.escape(part) for part in message.split(ANY))


def test_each_entry_has_a_case_and_each_case_an_entry() -> None:
    assert [name for name, _ in FOUND] == [*ENTRIES]
    assert PAGE.count("<a id=") == len(FOUND), "an entry is not of the form that this test reads"
    assert ENTRIES.keys() == CASES.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_a_message_is_more_than_placeholders(name: str) -> None:
    assert len(ENTRIES[name].replace(ANY, "").replace(" ", "")) >= LEAST_FIXED


@pytest.mark.parametrize("name", CASES)
def test_the_program_prints_it(
    name: str, user: User, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    CASES[name](user)
    captured = capsys.readouterr()
    said = " ".join(" ".join([captured.out, captured.err, caplog.text, *user.said]).split())
    message = ENTRIES[name]
    assert re.search(pattern(message), said), f"{message}\nis not in\n{said}"
