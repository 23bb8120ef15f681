"""Python programs that are started from here, none of which runs files that happen to lie about.

Python puts the current folder, or the script's own, first in `sys.path`: a file `json.py` or
`numpy.py` in there, of a download or a colleague, would be run by whatever is started there.
"""

import sys
from pathlib import Path

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
