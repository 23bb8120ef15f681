"""A commit checked out for a while, in a folder that goes with the process that asked for it.

Only folders of runs are deleted: direct children of our cache's `gate`, with the mark that a gate
wrote there when it made them, and with nothing in them that a gate did not put there. No name, and
no entry in a repository's list of worktrees, is a reason to delete anything.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ssept.errors import GateError, SseptError
from ssept.files import cache_folder, locked
from ssept.files.owned import MARK, mark, mark_of, open_plain, remove
from ssept.git import common_folder, git, said, without_filters

RUN_PREFIX = "ssept-gate-"
TREE, ENVIRONMENT = "tree", "environment"  # what a run's folder may hold, beside its mark
REPOSITORY = "repository"  # in the mark: whose worktree the tree is


@contextmanager
def own_folder(repository: Path | None = None) -> Iterator[Path]:
    """Make a folder for this side, removed at the end; folders of killed runs are removed first.

    Its owner holds a lock on the mark in it. The system frees that when the process dies, and does
    not give it to another, as it does a process number.

    Args:
        repository: any folder in the one whose commit will be checked out there, if one will be.
    """
    common = common_folder(repository) if repository else None
    root = _root()
    with ExitStack() as stack:
        with locked(root / "lock"):  # no other run looks between the making and the locking
            for left in root.glob(f"{RUN_PREFIX}*"):
                with _held(left) as found:
                    if found:
                        _remove(left, found)
            folder = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=root))
            mark(folder, **{REPOSITORY: common})
            found = stack.enter_context(_held(folder))
            if found is None:
                raise GateError(f"{folder}: cannot be locked; choose another SSEPT_CACHE_DIR")
            stack.callback(_remove, folder, found)
        yield folder


def check_out(repository: Path, commit: str, folder: Path) -> Path:
    """Check a commit out as a worktree; it goes with the folder.

    Filters of the user's configuration do not run: a file of Git LFS stays a pointer.

    Args:
        repository: any folder in it.
        commit: its full hash.
        folder: of `own_folder`, for this repository.

    Raises:
        GateError: git cannot check it out.
    """
    quiet = without_filters(repository)
    _remove_elsewhere(repository, quiet)
    tree = folder / TREE
    add = ("worktree", "add", "--detach", "--quiet", str(tree), commit)
    added = git(repository, *quiet, *add)
    if added.returncode:
        raise GateError(f"{commit}: cannot be checked out: {said(added)}")
    return tree


def _root() -> Path:
    """Return the folder of all runs, with links resolved."""
    root = (cache_folder() / "gate").resolve()
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextmanager
def _held(folder: Path) -> Iterator[dict[str, Any] | None]:
    """Lock the mark of a run's folder for the block, and yield its content.

    None for a folder that no gate made, and for one whose process lives.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(os.fdopen(open_plain(folder / MARK, os.O_RDWR), "r+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = mark_of(folder)
        except (OSError, SseptError):
            found = None
        yield found if found and REPOSITORY in found else None


def _remove(folder: Path, found: dict[str, Any]) -> None:
    """Remove a run's folder, and let its repository forget the worktree in it."""
    if other := _foreign(folder):
        kept = f"{folder} is not deleted: it contains {other}, which no gate made"
        print(f"ssept: {kept}", file=sys.stderr, flush=True)
        return
    tree = folder / TREE
    with suppress(OSError):
        shutil.rmtree(tree)
    if found[REPOSITORY] and not os.path.lexists(tree):
        # Forced twice: git locks a worktree while it makes it, and a killed git leaves that lock.
        # There is no file left that this could delete. Not `git worktree prune`: that would also
        # forget the user's own on a disk that is not there.
        forget = ("--git-dir=.", "worktree", "remove", "--force", "--force", str(tree))
        with suppress(SseptError):  # no git any more: nothing to forget it
            git(Path(found[REPOSITORY]), *forget)
    remove(folder)


def _foreign(folder: Path) -> str:
    """Return something in a run's folder that no gate made: a name, a link or a repository."""
    known = {MARK, TREE, ENVIRONMENT}
    names = {path.name for path in folder.iterdir() if path.name not in known or path.is_symlink()}
    nested = {str(path.relative_to(folder)) for path in folder.rglob(".git")} - {f"{TREE}/.git"}
    return min(names | nested, default="")


def _remove_elsewhere(repository: Path, quiet: list[str]) -> None:
    """Ask git to remove worktrees of killed runs that lie in another cache than today's.

    Unforced: git keeps one that was changed. What else is in that cache stays.
    """
    listed = git(repository, "worktree", "list", "--porcelain").stdout.splitlines()
    trees = [Path(line.partition(" ")[2]) for line in listed if line.startswith("worktree ")]
    common = common_folder(repository)
    for tree in trees[1:]:  # the first is the repository's main one
        folder = tree.parent
        if tree.name != TREE or not folder.name.startswith(RUN_PREFIX) or folder.parent == _root():
            continue
        with _held(folder) as found:
            if found and found[REPOSITORY] == common and not _foreign(folder):
                git(repository, *quiet, "worktree", "remove", str(tree))
