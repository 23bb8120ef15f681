"""Text that all reports share: the width of a terminal, marks and filled paragraphs."""

import textwrap

from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.results.cells import MatrixRun
from ssept.results.schema import ServedRatio, Timed

WIDTH = 100
NOTHING = "–"  # no figure
UNTOLD = "~"  # a ratio that may be 1, by its interval
BYTES_PER_MEGABYTE = 1e6


def filled(text: str) -> str:
    """Break a paragraph into lines of at most WIDTH."""
    return textwrap.fill(text, WIDTH)


def mark(ratio: Estimate) -> str:
    """Return UNTOLD for a ratio whose interval holds 1, else an empty text."""
    return UNTOLD if ratio.low <= 1 <= ratio.high else ""


def how_intervals_were_made(run: MatrixRun) -> str:
    """Say how a run's intervals of ratios were made; older ones left out what sessions differ by.

    Empty if it has none.
    """
    made = [each.interval for each in run.facts if isinstance(each, Timed) and each.speedup]
    made += [each.interval for each in run.facts if isinstance(each, ServedRatio)]
    if not made:
        return ""
    if None in made:
        return (
            "This run is older: its intervals of ratios come from blocks of calls of one pair of "
            "sessions. They ignore the differences between sessions of the same file, and so they "
            "are too narrow."
        )
    (first, *_) = [each for each in made if each]
    confidence = percent(first.confidence)
    return f"Intervals of ratios: {first.method}, {confidence}, one observation per {first.unit}."
