"""Values of command-line options that several commands read, and the matrix too."""

import argparse
import math
from collections.abc import Collection

from ssept.errors import SseptError
from ssept.percent import EXPECTED
from ssept.percent import share as read_share


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def positives(text: str) -> list[int]:
    """Read whole numbers of at least 1, separated by commas."""
    return [positive(number.strip()) for number in text.split(",")]


def names(text: str) -> list[str]:
    """Read names separated by commas, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def known_names(option: str, text: str, known: Collection[str]) -> list[str]:
    """Read names separated by commas, out of those that are known.

    Raises:
        SseptError: there is none, or another one.
    """
    chosen = names(text)
    if not chosen or not set(chosen) <= set(known):
        raise SseptError(f"{option} {text}: expected names from {', '.join(known)}")
    return chosen


def seconds(text: str) -> float:
    """Read a finite number above 0."""
    return _time(text, "seconds")


def milliseconds(text: str) -> float:
    """Read a finite number above 0."""
    return _time(text, "milliseconds")


def some_names(text: str) -> list[str]:
    """Read at least one name; whether the names are known is checked later."""
    if not (found := names(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected names separated by commas")
    return found


def share(text: str) -> float:
    """Read a share, as 3% or 0.03."""
    try:
        return read_share(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: expected {EXPECTED}") from error


def share_below_one(text: str) -> float:
    """Read a share below 100%."""
    try:
        number = read_share(text)
    except ValueError:
        number = 1.0
    if number >= 1:
        raise argparse.ArgumentTypeError(
            f"{text}: expected a share from 0 up and below 100%, as 1% or 0.01"
        )
    return number


def _time(text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected {unit} above 0")
    return number
