"""Which names an expression takes, as of pytest's -k: the option of `ssept gate` and `compare`."""

import re
from collections.abc import Iterator

from ssept.errors import SseptError

SHOWN = 100  # characters of an expression in an error
_WORD = re.compile(r"[()]|[^\s()]+")


def chosen(name: str, expression: str) -> bool:
    """Whether an expression takes a name.

    Args:
        name: a cell's id, or a test's name.
        expression: as pytest's -k: substrings, in any case, with `and`, `or`, `not` and
            parentheses; an empty one takes all.

    Raises:
        SseptError: it is no such expression.
    """
    words = _WORD.findall(expression)
    if not words:
        return True
    # One evaluation reads all words: no operand is skipped, so every error is found.
    rest = iter([*words, ""])
    try:
        value, word = _any_of(name.lower(), rest, expression)
    except RecursionError as error:
        raise _error(expression, words[0]) from error
    if word:
        raise _error(expression, word)
    return value


def _any_of(name: str, words: Iterator[str], text: str) -> tuple[bool, str]:
    """Parse a chain of `or`: its value, and the word after it."""
    value, word = _all_of(name, words, text)
    while word == "or":
        other, word = _all_of(name, words, text)
        value = value or other
    return value, word


def _all_of(name: str, words: Iterator[str], text: str) -> tuple[bool, str]:
    value, word = _operand(name, words, text), next(words)
    while word == "and":
        other, word = _operand(name, words, text), next(words)
        value = value and other
    return value, word


def _operand(name: str, words: Iterator[str], text: str) -> bool:
    word = next(words)
    if word == "not":
        return not _operand(name, words, text)
    if word == "(":
        value, word = _any_of(name, words, text)
        if word != ")":
            raise _error(text, word)
        return value
    if word in ("", ")", "and", "or"):
        raise _error(text, word)
    return word.lower() in name


def _error(text: str, word: str) -> SseptError:
    where = f"{word[:SHOWN]!r} is not expected there" if word else "the expression is incomplete"
    return SseptError(
        f"-k {text[:SHOWN]!r}: {where}; expected parts of cells' names with and, or, not and "
        "parentheses"
    )
