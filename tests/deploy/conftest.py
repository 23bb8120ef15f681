"""A user's repository, and a runner with stand-ins for what its steps start."""

import os
from pathlib import Path

import pytest

from tests.helpers.deploy.ci_runner import GitHubRunner
from tests.helpers.deploy.ci_stand_ins import write_programs
from tests.helpers.repositories import commit, git, write_tree


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the stand-ins write what they were given."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the stand-ins first."""
    folder = tmp_path / "bin"
    write_programs(folder)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a branch, and a change of it."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    for label in ("first", "base"):
        commit(write_tree(folder, label), label)
    git("switch", "--quiet", "--create", "change", folder=folder)
    commit(write_tree(folder, "head"), "head")
    return folder


@pytest.fixture
def runner(tmp_path: Path, origin: Path, notes: Path, path: str) -> GitHubRunner:
    """A runner with the change checked out as shallow as can be."""
    folder, temp = tmp_path / "checkout", tmp_path / "temp"
    temp.mkdir()
    git("clone", "--quiet", "--depth=1", "--branch=change", f"file://{origin}", str(folder))
    variables = {"PATH": path, "NOTES": str(notes), "STATUS": "0", "SILENT": ""}
    return GitHubRunner(folder, temp, variables)
