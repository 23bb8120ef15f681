"""The process of a command: signals that end it, and standard streams that any terminal can show.

Imports the standard library alone, so that an interruption or an error of other imports is met.
"""

import codecs
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
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


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that temporary files are removed.

    One that is ignored, as under `nohup`, stays so. The second must not interrupt the removal.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    both = (signal.SIGTERM, signal.SIGHUP)
    main_thread = threading.current_thread() is threading.main_thread()
    ours = [n for n in both if main_thread and signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


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
