"""git, run without the user's hooks and filters: revisions and the settings of a repository."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ssept.errors import SseptError, one_line

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git sets these for a hook, which a gate may be, and a user may have set others of them. They would
# point git elsewhere. (`git rev-parse --local-env-vars`, less those of the configuration.)
LOCAL_VARIABLES = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_GRAFT_FILE"),
    *("GIT_SHALLOW_FILE", "GIT_NAMESPACE", "GIT_IMPLICIT_WORK_TREE", "GIT_NO_REPLACE_OBJECTS"),
    *("GIT_REPLACE_REF_BASE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_CONFIG"),
}
# A checkout for measuring runs no command of the user's configuration. (`submodule.recurse` would
# check out other repositories, with the commands of those.)
SETTINGS = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "submodule.recurse=false",
)
NOTHING = "SSEPT_NOTHING"  # an empty variable, for `git --config-env`
SHOWN = 300


def commit_of(text: str, repository: Path) -> tuple[str, str]:
    """Return the full and the short hash of a revision.

    Args:
        text: whatever git takes for a commit.
        repository: any folder in it.

    Raises:
        SseptError: it is none, the folder is in no repository, or git is not installed.
    """
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    found = git(repository, *asked)
    commit = found.stdout.strip()
    if found.returncode == 0 and COMMIT.fullmatch(commit):  # `^HEAD` gives one with a ^
        return commit, git(repository, "rev-parse", "--short", commit).stdout.strip()
    shallow = git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    reason = said(found) or f"the repository of {repository} has no such revision" + (
        " (it is a shallow clone: `git fetch --unshallow` gets the rest)" if shallow else ""
    )
    raise SseptError(reason)


@dataclass(frozen=True)
class Checkout:
    """The code in a folder, as git knows it.

    Attributes:
        commit: its full hash.
        dirty: whether files of it are changed.
        branch: its name, or "(detached head)".
        committed, authored: when, in ISO 8601.
    """

    commit: str
    dirty: bool
    branch: str
    committed: str
    authored: str


def checkout_of(path: Path) -> Checkout | None:
    """Look at the checkout that a file or folder belongs to.

    None where it belongs to none: it is installed, perhaps into a folder of another project's
    repository, whose commit says nothing about it; or git is not there, or refuses.
    """
    folder = path if path.is_dir() else path.parent
    try:
        if git(folder, "ls-files", "--error-unmatch", "--", str(path)).returncode:
            return None
        commit, _ = commit_of("HEAD", folder)
        shown = git(folder, "show", "-s", "--no-show-signature", "--format=%cI%n%aI", commit)
        committed, authored = shown.stdout.split()
        changed = git(folder, "status", "--porcelain", "--untracked-files=no").stdout
        branch = git(folder, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    except (SseptError, ValueError):
        return None
    return Checkout(commit, bool(changed), branch or "(detached head)", committed, authored)


def commit_here() -> str | None:
    """Return the commit of the running code; None for an installed package, or without git."""
    found = checkout_of(Path(__file__))
    return found.commit if found else None


def common_folder(repository: Path) -> str:
    """Return the folder that all worktrees of a repository share."""
    found = git(repository, "rev-parse", "--git-common-dir").stdout.strip()
    return str((repository / found).resolve())


def without_filters(repository: Path) -> list[str]:
    """Return options by which git runs no configured filter, whatever .gitattributes asks for.

    Not by `-c`: a filter's name may have a `=` in it.
    """
    listed = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    names = {key.rpartition(".")[0] for key in git(repository, *listed).stdout.split("\0") if key}
    keys = ("clean", "smudge", "process", "required")
    return [f"--config-env={name}.{key}={NOTHING}" for name in sorted(names) for key in keys]


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return what git wrote about an error, as one line."""
    return one_line(done.stderr, SHOWN)


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a repository, without the user's hooks."""
    variables = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    command = ["git", "-C", str(repository), *settings, *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command,
            env=variables | {NOTHING: "", "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # names of files and filters need not be UTF-8
            check=False,
        )
    except FileNotFoundError as error:
        raise SseptError("comparing revisions needs git, which is not installed") from error
    except OSError as error:
        raise SseptError(f"git cannot be run: {error.strerror}") from error
