"""The pages and the help use plain words: codespell has the single ones, this the phrases."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssept.cli.commands import parser_of_all
from tests.project.test_docs import PAGES, text_of

# What a reader who learnt English late stumbles over.
PHRASES = (
    "so many",
    "so much",
    "hangs? on",
    "comes? to",
    "by turns",
    "what for",
    "stands for",
    "it ends",
    "at will",
    "anew",
    "tells?",
    "in vain",
    "thereof",
    "whereof",
)
PHRASE = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.I)
HISTORY = "CHANGELOG.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_none_of_the_phrases(page: Path) -> None:
    if page.name != HISTORY:
        assert PHRASE.findall(text_of(page)) == []


def texts(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield what the help of a parser and of its subcommands says."""
    yield from (each for each in (parser.description, parser.epilog) if each)
    for action in parser._actions:
        if action.help and action.help != argparse.SUPPRESS:
            yield action.help
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from texts(subparser)


def test_the_help_has_none_of_the_phrases() -> None:
    assert [text for text in texts(parser_of_all()) if PHRASE.search(text)] == []
