"""Folders that ssept made: each carries a mark, and without that mark none is ever deleted.

A mark names its own folder. So it proves nothing in a copy, in a folder that was renamed, or in
another one that a link leads to.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from ssept.errors import SseptError

MARK = ".made-by-ssept"
FOLDER = "folder"


def open_plain(path: Path, flags: int) -> int:
    """Open a file without following a link; returns the file descriptor.

    Raises:
        SseptError: it is a link, or no file.
    """
    try:  # O_NONBLOCK: a named pipe must not make this wait
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        raise SseptError(f"{path}: is a link or a folder; expected a regular file") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SseptError(f"{path}: is a device or a pipe; expected a regular file")
    return handle


def mark(folder: Path, **about: str | None) -> None:
    """Write into a folder just made that it is ssept's, and so may be deleted.

    Args:
        folder: it has no mark yet.
        about: what else `mark_of` is to return.
    """
    with (folder / MARK).open("x", encoding="utf-8") as file:
        json.dump({FOLDER: str(folder.resolve())} | about, file)


def mark_of(folder: Path) -> dict[str, Any] | None:
    """Read what `mark` wrote into a folder; None where ssept did not make this very folder."""
    try:
        with os.fdopen(open_plain(folder / MARK, os.O_RDONLY), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, SseptError):
        return None
    here = None if folder.is_symlink() else str(folder.resolve())
    return found if isinstance(found, dict) and found.get(FOLDER) == here else None


def remove(folder: Path) -> bool:
    """Delete a folder with all that it holds, if it has a mark; returns whether it is gone.

    The mark goes last: what cannot be deleted now can be deleted later.
    """
    if mark_of(folder) is None:
        return not os.path.lexists(folder)
    with contextlib.suppress(OSError):  # another process may be deleting it too
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MARK:
                path.unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
            folder.rmdir()
    return not folder.exists()
