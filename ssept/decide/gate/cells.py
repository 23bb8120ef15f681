"""The cells of a gate, and which of them an expression chooses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ssept.errors import GateError

_WORD = re.compile(r"[()]|[^\s()]+")


@dataclass(frozen=True)
class Cell:
    """A variant on a provider at a batch size."""

    variant: str
    provider: str
    batch: int

    @property
    def pair(self) -> str:
        """Variant and provider: `onnx-cpu`."""
        return f"{self.variant}-{self.provider}"

    @property
    def id(self) -> str:
        """As in the matrix: `onnx-cpu-b001`."""
        return f"{self.pair}-b{self.batch:03}"


def chosen(name: str, expression: str) -> bool:
    """Whether an expression takes a name.

    Args:
        name: a cell's id.
        expression: as pytest's -k: substrings, in any case, with `and`, `or`, `not` and
            parentheses; an empty one takes all.

    Raises:
        GateError: it is no such expression.
    """
    words = _WORD.findall(expression)
    if not words:
        return True
    # One evaluation reads all words: no operand is skipped, so every error is found.
    rest = iter([*words, ""])
    value, word = _any_of(name.lower(), rest, expression)
    if word:
        raise _error(expression, word)
    return value


def _any_of(name: str, words: Iterator[str], text: str) -> tuple[bool, str]:
    """A chain of `or`: its value, and the word after it."""
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


def _error(text: str, word: str) -> GateError:
    where = f"{word!r} does not belong there" if word else "it ends too early"
    return GateError(
        f"-k {text!r}: {where}; expected parts of cells' names with and, or, not and parentheses"
    )
