"""Programs that are started from here: what they write is text, whatever bytes it is made of.

None of the Python programs runs files that happen to lie about.

Python puts the current folder, or the script's own, first in `sys.path`: a file `json.py` or
`numpy.py` in there, of a download or a colleague, would be run by whatever is started there.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssept.errors import one_line

LAST_LINES, LONGEST_LINE = 8, 200  # of what a program wrote, in an error
HAS_OPTION = sys.version_info >= (3, 11)  # `-P`, which keeps that folder out
# Python 3.10 puts it first, as '', all the same; nothing is imported from there before it is out.
WITHOUT_FOLDER = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; import runpy; "
    "runpy.{run}(sys.argv[0], run_name='__main__'{more})"
)


def command(
    program: str | Path, *arguments: object, python: str | Path = sys.executable
) -> list[str]:
    """Return a command that runs a program with its Python's packages and PYTHONPATH.

    Args:
        program: a module, by its full name, or the path of a script.
        arguments: of the program.
        python: a Python of this one's version.
    """
    is_script = isinstance(program, Path)
    words = [str(word) for word in (program, *arguments)]
    if HAS_OPTION:
        return [str(python), "-P", *([] if is_script else ["-m"]), *words]
    run, more = ("run_path", "") if is_script else ("run_module", ", alter_sys=True")
    return [str(python), "-c", WITHOUT_FOLDER.format(run=run, more=more), *words]


def isolated(*arguments: object, python: str | Path = sys.executable) -> list[str]:
    """Return a command that runs a Python with its own packages only, not PYTHONPATH.

    Args:
        arguments: as Python takes them: a script, or `-m` and a module, and theirs.
        python: any Python.
    """
    return [str(python), "-I", *map(str, arguments)]


def in_clone(*arguments: object, python: str = "") -> list[str]:
    """Return a command that runs pytest in the current folder, a clone, which it imports from.

    Args:
        arguments: of pytest.
        python: any Python with the packages; empty for this one.
    """
    return [python or sys.executable, "-m", "pytest", *map(str, arguments)]


def finished(
    command: Sequence[str],
    *,
    input: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, and return what it wrote; bytes that are no UTF-8 are replaced.

    Args:
        command: the program and its arguments.
        input, cwd, env, timeout: as of `subprocess.run`.

    Raises:
        subprocess.TimeoutExpired: it ran longer than that, and was killed.
    """
    return subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        input=input,
        cwd=cwd,
        env=env,
        timeout=timeout,
    )


def last_words(text: str, lines: int = LAST_LINES) -> str:
    """Return the last lines of what a program wrote, as one line."""
    last = text.strip().splitlines()[-lines:]
    return " ".join(one_line(line, LONGEST_LINE) for line in last) or "(it wrote nothing)"
