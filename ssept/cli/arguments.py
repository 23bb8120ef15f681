"""Values of command-line options that several commands read, and the matrix too."""

import argparse
import math
import sys
from collections.abc import Collection
from pathlib import Path

from ssept.errors import SseptError
from ssept.percent import EXPECTED
from ssept.percent import share as read_share

LARGEST_WHOLE = 2**31 - 1
DIGITS = 20  # of a whole number, zeros in front of it included
SMALLEST, LARGEST = 5e-324, sys.float_info.max
MOST_OF_AMOUNT = 1e12
MOST_SHOWN = 80


def add_runs(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the saved runs that a command reads; `what` begins the help."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help=f"{what}; a folder means all runs in it, in the order of their numbers",
    )


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return _whole(text, 1)


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    return _whole(text, 0)


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


def number(text: str) -> float:
    """Read a finite number."""
    return _number(text, "a number", -LARGEST, LARGEST)


def number_above_zero(text: str) -> float:
    """Read a finite number above 0."""
    return _number(text, "a number above 0", SMALLEST, LARGEST)


def amount(text: str) -> float:
    """Read a number above 0 that products may be made of."""
    return _number(text, f"a number above 0, at most {MOST_OF_AMOUNT:g}", SMALLEST, MOST_OF_AMOUNT)


def price(text: str) -> float:
    """Read a number from 0 up that products may be made of."""
    return _number(text, f"a number from 0 to {MOST_OF_AMOUNT:g}", 0, MOST_OF_AMOUNT)


def minutes(text: str) -> float:
    """Read a finite number above 0."""
    return _number(text, "minutes above 0", SMALLEST, LARGEST)


def seconds(text: str) -> float:
    """Read a finite number above 0."""
    return _number(text, "seconds above 0", SMALLEST, LARGEST)


def seconds_from_zero(text: str) -> float:
    """Read a finite number of at least 0."""
    return _number(text, "seconds, 0 or more", 0, LARGEST)


def milliseconds(text: str) -> float:
    """Read a finite number above 0."""
    return _number(text, "milliseconds above 0", SMALLEST, LARGEST)


def probability(text: str) -> float:
    """Read a number from 0 to 1."""
    return _number(text, "a number from 0 to 1", 0, 1)


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


def _whole(text: str, least: int) -> int:
    value = int(text) if text.isdecimal() and len(text) <= DIGITS else -1
    if not least <= value <= LARGEST_WHOLE:
        expected = f"a whole number of at least {least}"
        if value > LARGEST_WHOLE or len(text) > DIGITS:
            expected = f"a whole number from {least} to {LARGEST_WHOLE}"
        raise argparse.ArgumentTypeError(f"{text[:MOST_SHOWN]}: expected {expected}")
    return value


def _number(text: str, expected: str, least: float, largest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= largest:
        raise argparse.ArgumentTypeError(f"{text[:MOST_SHOWN]}: expected {expected}")
    return value
