"""A commit checked out for a while, in a folder that goes with the process that asked for it."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ssept.errors import GateError
from ssept.files import cache_folder, locked

RUN_PREFIX = "ssept-gate-"
LOCK = "lock"
# git sets these for a hook, which a gate may well be: they would bend its other commands.
HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for this side alone, removed at the end; those of killed runs are removed first.

    Its owner holds a lock on a file in it. The system frees that when the process dies, and does
    not give it to another, as it does a process number.
    """
    root = cache_folder() / "gate"
    with ExitStack() as stack:
        with locked(root / LOCK):  # no other run looks between the making and the locking
            for left in root.glob(f"{RUN_PREFIX}*"):
                _removed_if_abandoned(left)
            folder = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=root)).resolve()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(locked(folder / LOCK))
        yield folder


def _removed_if_abandoned(folder: Path) -> bool:
    """Remove a run's folder whose process is dead; returns whether it is gone."""
    try:
        with (folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def commit_of(text: str, repository: Path) -> tuple[str, str]:
    """The full and the short hash of a revision.

    Args:
        text: whatever git takes for a commit.
        repository: any folder in it.

    Raises:
        GateError: it is none, the folder is in no repository, or git is not installed.
    """
    found = _git(repository, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    if found.returncode == 0:
        commit = found.stdout.strip()
        return commit, _git(repository, "rev-parse", "--short", commit).stdout.strip()
    shallow = _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    reason = found.stderr.strip() or f"the repository of {repository} has no such revision" + (
        " (it is a shallow clone: `git fetch --unshallow` gets the rest)" if shallow else ""
    )
    raise GateError(reason)


@contextmanager
def worktree(repository: Path, commit: str, tree: Path) -> Iterator[Path]:
    """Check a commit out as a worktree, until the block ends; those of killed runs are forgotten.

    Not by `git worktree prune`: it would also forget the user's own on a disk that is not there.

    Args:
        repository: any folder in it.
        commit: its hash.
        tree: where, in a folder of `own_folder`.

    Raises:
        GateError: git cannot check it out.
    """
    for line in _git(repository, "worktree", "list", "--porcelain").stdout.splitlines():
        kind, _, path = line.partition(" ")
        run = Path(path).parent
        if kind == "worktree" and run.name.startswith(RUN_PREFIX) and _removed_if_abandoned(run):
            _forget(repository, path)
    try:
        added = _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        if added.returncode:
            raise GateError(f"{commit}: cannot be checked out: {added.stderr.strip()}")
        yield tree
    finally:
        _forget(repository, str(tree))


def _forget(repository: Path, tree: str) -> None:
    # Forced twice: git locks a worktree while it makes it, and a killed git leaves that lock.
    _git(repository, "worktree", "remove", "--force", "--force", tree)


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git, without the user's hooks: a checkout for measuring is no business of theirs."""
    variables = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command, cwd=repository, env=variables, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise GateError("comparing revisions needs git, which is not installed") from error
