"""Text that all reports share: the width of a terminal, marks and filled paragraphs."""

import textwrap

from ssept.estimate import Estimate

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
