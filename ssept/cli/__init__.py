"""`ssept …`: runs a command, and ends with one line and an exit code whatever happens in it."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ssept.cli.process import (
    TRACEBACK_OPTION,
    TRACEBACK_VARIABLE,
    ArgumentsExit,
    adapt_streams,
    finish_streams,
    is_closed_output,
)
from ssept.errors import SseptError, one_line
from ssept.signals import Interrupted, ended_by_signals

ERROR, USAGE_ERROR = 1, 2  # as argparse has it
BY_SIGNAL = 128  # added to the signal's number, as a shell does
# Of commands for which 1 or 2 are results: the code of all that is no result.
ERROR_STATUS = dict.fromkeys(
    ("choose", "gate", "doctor", "fleet", "history", "promise", "self-test", "verify"), 3
)
LONGEST = 2000  # characters of an error
PACKAGE = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    Whatever is raised in it, also while it is imported, gives one line and the command's code of
    ERROR_STATUS. Of other commands the code is 1; 128 and the number of the signal that ended it;
    or 141 without a line, as by SIGPIPE, if nobody reads standard output any more.
    """
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    own_status = ERROR_STATUS.get(next((word for word in words if not word.startswith("-")), ""))
    adapt_streams()
    try:
        with ended_by_signals():
            from ssept.cli.commands import run

            status = run(words)
            if failed := finish_streams():
                raise failed
    except ArgumentsExit as end:
        finish_streams()
        raise SystemExit((own_status or USAGE_ERROR) if end.code else 0) from None
    except BaseException as error:  # noqa: BLE001 - the last door: the exit code must be right
        status = own_status or _status(error)
        with suppress(Exception):  # where standard error fails too, the code is all that is left
            _tell(error, silent=is_closed_output(error) and own_status is None, words=words)
            finish_streams()
    return status


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        return BY_SIGNAL + number
    return BY_SIGNAL + signal.SIGPIPE if is_closed_output(error) else ERROR


def _tell(error: BaseException, *, silent: bool, words: Sequence[str]) -> None:
    """Print the line of an error, and its traceback if that is asked for."""
    if TRACEBACK_OPTION in words or os.environ.get(TRACEBACK_VARIABLE, "0") not in ("", "0"):
        traceback.print_exception(error)
    if not silent:
        print(f"ssept: {one_line(_line(error), LONGEST)}", file=sys.stderr)


def _line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SseptError):
        return f"error: {error}"
    if is_closed_output(error):
        return "error: standard output was closed before all output was written"
    if isinstance(error, OSError) and error.filename and error.strerror:
        from ssept.files import explained

        return f"error: {explained(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    where = f" in {Path(own[-1].filename).relative_to(PACKAGE)}:{own[-1].lineno}" if own else ""
    text = one_line(str(error), LONGEST // 4)
    return (
        f"error: unexpected {type(error).__name__}{where}{text and ': '}{text} "
        f"({TRACEBACK_OPTION} shows more)"
    )
