"""Saved runs that are kept in git: in the files of a branch, or as notes of commits."""

import json
from collections.abc import Iterator
from pathlib import Path

from ssept.errors import RunError
from ssept.git import commit_of, git, said
from ssept.results.cells import MatrixRun
from ssept.results.files import NUMBERED, run_of


def runs_of_branch(name: str, repository: Path) -> list[MatrixRun]:
    """Read the runs among the files of a branch or commit, named as they are saved.

    Raises:
        RunError: one cannot be read, or there is none.
        SseptError: there is no such branch, or no git.
    """
    commit, _ = commit_of(name, repository)
    listed = git(repository, "ls-tree", "-r", "-z", "--name-only", commit).stdout
    files = [each for each in listed.split("\0") if NUMBERED.fullmatch(Path(each).name)]
    if not files:
        raise RunError(f"{name}: no saved runs in it: expected files named <number>_….json")
    return [_run(repository, f"{commit}:{file}", Path(f"{name}:{file}")) for file in files]


def runs_of_notes(name: str, repository: Path) -> list[MatrixRun]:
    """Read the runs that are notes of commits: `git notes --ref=NAME add -F RUN COMMIT`.

    Raises:
        RunError: one cannot be read, or there is none.
        SseptError: there is no git.
    """
    runs = [
        _run(repository, blob, Path(f"notes {name} of {of}"))
        for blob, of in _notes(name, repository)
    ]
    if not runs:
        raise RunError(
            f"notes {name}: there are none in this repository; a clone fetches them only if asked: "
            f"git fetch origin refs/notes/{name}:refs/notes/{name}"
        )
    return runs


def _notes(name: str, repository: Path) -> Iterator[tuple[str, str]]:
    for line in git(repository, "notes", f"--ref={name}", "list").stdout.splitlines():
        blob, _, commit = line.partition(" ")
        yield blob, commit


def _run(repository: Path, blob: str, label: Path) -> MatrixRun:
    found = git(repository, "cat-file", "blob", blob)
    if found.returncode:
        raise RunError(f"{label}: git cannot read it: {said(found)}")
    try:
        content = json.loads(found.stdout)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{label}: not a results file: {error}") from error
    run = run_of(label, content)
    if not isinstance(run, MatrixRun):
        raise RunError(f"{label}: expected a run of the matrix, with a part ssept")
    return run
