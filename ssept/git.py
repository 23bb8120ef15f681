"""git, run without the user's hooks and filters: revisions and the settings of a repository."""

import os
import re
import subprocess
from pathlib import Path

from ssept.errors import SseptError

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git sets these for a hook, which a gate may be. They would point its other commands elsewhere.
HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
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


def commit_here() -> str | None:
    """Return the commit of the running code; None for an installed package, or without git."""
    try:
        return commit_of("HEAD", Path(__file__).parent)[0]
    except SseptError:
        return None


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
    return " ".join(done.stderr.split())[:SHOWN]


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a repository, without the user's hooks."""
    variables = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    command = ["git", "-C", str(repository), *settings, *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command,
            env=variables | {NOTHING: ""},
            capture_output=True,
            text=True,
            errors="surrogateescape",  # names of files and filters need not be UTF-8
            check=False,
        )
    except FileNotFoundError as error:
        raise SseptError("comparing revisions needs git, which is not installed") from error
