"""Standard streams of a command, which any terminal can show.

Imports the standard library alone, so that an error of other imports is met.
"""

import codecs
import io
import os
import select
import sys
from typing import TextIO

TRACEBACK_OPTION, TRACEBACK_VARIABLE = "--traceback", "SSEPT_TRACEBACK"
STDOUT = "standard output"
PLAIN = "ssept-plain"  # the name of an error handler, see `codecs.register_error`
# For a terminal without these. Of one character where it can be, so that tables stay aligned.
REPLACEMENTS = {
    **{"×": "x", "–": "-", "—": "-", "±": "+-", "Δ": "d", "µ": "u", "…": "...", "·": "-"},
    **{"→": "->", "≤": "<=", "≥": ">=", "²": "2", "√": "sqrt "},
}


class ArgumentsExit(SystemExit):
    """argparse has printed its help, or what is wrong with the arguments."""


def adapt_streams() -> None:
    """Let the standard streams replace what their encoding lacks, instead of raising an error.

    A stream that was closed before the start goes nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def finish_streams() -> OSError | None:
    """Write what the standard streams still hold; returns the error of standard output, if any.

    Python would do this after the exit code is decided, and replace that by 120.
    """
    failed = {stream: _flushed(stream) for stream in (sys.stdout, sys.stderr)}
    return failed[sys.stdout]


def is_closed_output(error: BaseException) -> bool:
    """Whether an error means that nobody reads standard output any more."""
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except (OSError, ValueError):  # it has no descriptor
        return False
    return error.filename == STDOUT or any(event & select.POLLERR for _, event in poll.poll(0))


def _flushed(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        # What it still holds must go somewhere: Python tries again at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        error.filename = STDOUT
        return error
    return None


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    escaped = (each.encode("ascii", "backslashreplace").decode() for each in refused)
    return "".join(map(REPLACEMENTS.get, refused, escaped)), error.end


codecs.register_error(PLAIN, _plain)
