"""Exit codes and messages of commands in which anything at all goes wrong."""

import contextlib
import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssept.cli import main

RUN = next((Path(__file__).parents[1] / "data/runs").glob("*.json"))
ERRORS = [
    RuntimeError("first\nsecond\x1b[31m"),
    MemoryError(),
    RecursionError("too deep"),
    UnicodeEncodeError("ascii", "×", 0, 1, "ordinal not in range"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ENOSPC, "No space left on device", "/some/file"),
    KeyError("x" * 100_000),
    AssertionError(),
    ImportError("no module"),
    SystemExit(0),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
]


def ends(arguments: list[str], error: BaseException, place: str) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def outcome(*arguments: str) -> tuple[int, str]:
    """The exit code of a command, and its lines on standard error that are no progress bar."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # by argparse
            code = int(end.code or 0)
    return code, err.getvalue()
