"""Whose commit is saved: that of the code, wherever a command was started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.provenance import pytest_benchmark_generate_commit_info as commit_info
from ssept.git import checkout_of
from tests.helpers.repositories import commit, git

TEST = "def test_one(benchmark):\n    benchmark(int)\n"


def repository(folder: Path) -> str:
    """A repository of one file and one commit, whose hash it returns."""
    folder.mkdir(parents=True)
    (folder / "test_one.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    return commit(folder, str(folder))


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A clone and its commit; the current folder is another repository."""
    folder = tmp_path / "clone with a space"
    found = repository(folder)
    repository(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    return folder, found


def commit_of(folder: Path) -> str | None:
    found = checkout_of(folder)
    return found and found.commit


def test_pytest_saves_the_commit_of_the_root_folder(both: tuple[Path, str]) -> None:
    folder, found = both
    config = pytest.Config.fromdictargs({}, [str(folder / "test_one.py")])
    said = commit_info(config)
    assert config.rootpath == folder
    assert (said["id"], said["dirty"], said["branch"]) == (found, False, "main")
    assert said["time"]
    (folder / "test_one.py").write_text(TEST + "\n")
    assert commit_info(config)["dirty"] is True


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"]
)
def test_variables_of_another_repository_do_not_count(
    both: tuple[Path, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(Path.cwd() / ".git"))
    assert commit_of(both[0]) == both[1]


def test_a_submodule_a_worktree_and_a_shallow_clone_have_their_own(
    both: tuple[Path, str], tmp_path: Path
) -> None:
    folder, first = both
    (folder / "more").write_text("")
    second = commit(folder, "second")
    git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(folder), "sub")
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), first, folder=folder)
    shallow = tmp_path / "shallow"
    git("clone", "--quiet", "--depth=1", f"file://{folder}", str(shallow))
    assert commit_of(Path("sub").absolute()) == second
    assert commit_of(tmp_path / "tree") == first
    assert commit_of(shallow) == second


def test_what_is_installed_inside_a_repository_is_not_of_it(both: tuple[Path, str]) -> None:
    folder, _ = both
    installed = folder / ".venv/lib/ssept"
    installed.mkdir(parents=True)
    (installed / "git.py").write_text("")
    assert commit_of(installed / "git.py") is None
    assert commit_of(installed) is None


@pytest.mark.parametrize("kind", ["no repository", "no commit", "no git", "a broken one"])
def test_without_a_commit_there_is_none(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    if kind == "no repository":
        folder.mkdir()
    else:
        repository(folder)
    if kind == "no commit":
        (folder / ".git/HEAD").write_text("ref: refs/heads/none\n")
    elif kind == "a broken one":
        (folder / ".git/HEAD").write_bytes(b"\xff\xfe")
    elif kind == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_of(folder) is None
    config = pytest.Config.fromdictargs({}, [str(folder)])
    assert commit_info(config)["id"] == "unversioned"


def test_pytest_prints_its_table_in_ascii(tmp_path: Path) -> None:
    """The streams that pytest's own terminal uses are adapted too."""
    test = tmp_path / "test_one.py"
    test.write_text("def test_one(request):\n    assert '×' == 'Δ'\n")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", root / "pyproject.toml", "--rootdir", root,
         "-p", "fixtures.options", "-p", "fixtures.selection", "-p", "fixtures.results",
         "-p", "no:cacheprovider", "-p", "no:xdist", test],
        cwd=root,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert b"assert 'x' == 'd'" in done.stdout, done.stdout
