"""A gate deletes what a gate made, and nothing else, wherever it lies and whatever its name."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.decide.gate.sides.side import opened
from ssept.errors import SseptError
from ssept.files.owned import MARK
from tests.helpers.repositories import commit, git, holding, started, write_tree

EXTRAS = ("cpu", "train")
ENDED_SECONDS = 60


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a gate's runs; git as nobody has configured it."""
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path / "cache/gate"


def clone(folder: Path) -> Path:
    """A repository with two commits, and work in it that is not committed."""
    git("init", "--quiet", "--initial-branch=main", str(folder))
    (folder / ".gitignore").write_text("__pycache__/\nignored/\n")
    commit(write_tree(folder, "first"), "first")
    commit(write_tree(folder, "second"), "second")
    (folder / "notes.txt").write_text("not committed")
    (folder / "ignored").mkdir()
    (folder / "ignored/kept.bin").write_text("in no commit either")
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, and the current folder in it."""
    monkeypatch.chdir(clone(tmp_path / "repository"))
    return tmp_path / "repository"


def contents(folder: Path) -> dict[str, str]:
    """All files and links below a folder, but git's own notes."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and ".git/" not in name:
            found[name] = path.read_text()
    return found


def gate() -> None:
    """Open both sides and close them."""
    with opened("HEAD~1", extras=EXTRAS), opened("HEAD", extras=EXTRAS):
        pass


@pytest.fixture
def killed(repository: Path, tmp_path: Path) -> Path:
    """The folder of a run that was killed."""
    with holding("HEAD~1", tmp_path / "holder.py") as (process, tree):
        process.kill()
        process.wait()
    assert (tree / "ssept/__init__.py").exists()
    return tree.parent


def worktrees(repository: Path) -> list[str]:
    listed = git("worktree", "list", "--porcelain", folder=repository).splitlines()
    return [line.removeprefix("worktree ") for line in listed if line.startswith("worktree ")]


@pytest.mark.parametrize("name", ["ssept-gate-eval/ssept", "ssept-gate-eval/tree", "ssept-gate-a"])
def test_the_repository_itself_stays_whatever_its_folders_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    top = tmp_path / "work"
    monkeypatch.chdir(clone(top / name))
    (top / "beside.txt").write_text("beside the clone")
    before = contents(top)
    gate()
    assert contents(top) == before


@pytest.mark.parametrize("lock", [None, "lock", MARK])
def test_a_worktree_of_the_user_s_stays_whatever_its_folders_are_called(
    repository: Path, tmp_path: Path, lock: str | None
) -> None:
    mine = tmp_path / "ssept-gate-mine/tree"
    git("worktree", "add", "--quiet", "-b", "mine", str(mine))
    (mine / "notes.txt").write_text("not committed")
    if lock:
        (mine.parent / lock).touch()  # as one that nobody holds
    before = contents(tmp_path / "ssept-gate-mine")
    gate()
    assert contents(tmp_path / "ssept-gate-mine") == before
    assert worktrees(repository) == [str(repository), str(mine)]


def test_a_clone_within_the_repository_stays(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = clone(repository / "ssept-gate-x/tree")
    before = contents(repository)
    gate()
    monkeypatch.chdir(inner)
    gate()
    assert contents(repository) == before


def test_folders_of_like_names_in_the_cache_stay(
    repository: Path, runs: Path, killed: Path
) -> None:
    for name, files in {
        "ssept-gate-empty": (),
        "ssept-gate-mine": ("notes.txt",),
        "ssept-gate-locked": ("lock", "tree/notes.txt"),
        "ssept-gate-marked": (MARK, "tree/notes.txt"),
        "gate": (MARK, "notes.txt"),
    }.items():
        (runs / name).mkdir()
        for file in files:
            (runs / name / file).parent.mkdir(exist_ok=True)
            (runs / name / file).write_text("mine")
    shutil.copytree(killed, runs / "ssept-gate-copied")  # with the mark of another folder
    before = contents(runs)
    gate()
    after = contents(runs)
    assert not killed.exists()
    assert (runs / "ssept-gate-empty").is_dir()
    assert after == {
        name: text for name, text in before.items() if not name.startswith(f"{killed.name}/")
    }


def test_what_a_killed_run_left_is_the_user_s_once_it_was_renamed(runs: Path, killed: Path) -> None:
    killed.rename(runs / "ssept-gate-kept")
    before = contents(runs)
    gate()
    assert contents(runs) == before


def test_links_are_not_followed(repository: Path, runs: Path, killed: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    write_tree(mine / "tree", "mine")
    (mine / MARK).write_text(f'{{"folder": "{mine}", "repository": null}}')
    (runs / "ssept-gate-link").symlink_to(mine)
    (runs / "ssept-gate-inner").mkdir()
    (runs / "ssept-gate-inner" / MARK).symlink_to(mine / MARK)
    shutil.rmtree(killed / "tree")
    (killed / "tree").symlink_to(mine / "tree")
    before = contents(tmp_path / "mine"), contents(runs)
    gate()
    assert (contents(tmp_path / "mine"), contents(runs)) == before


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(
    repository: Path, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    runs.mkdir(parents=True)
    (runs / "lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(SseptError, match="lock: is a link or a folder; expected a regular file"):
        gate()
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("place", ["mine", "tree/mine", "tree/ignored/mine", "environment/mine"])
def test_a_worktree_that_the_user_put_into_a_killed_run_s_folder_stays(
    repository: Path, killed: Path, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = killed / place
    git("worktree", "add", "--quiet", "-b", "mine", str(mine))
    (mine / "notes.txt").write_text("not committed")
    before = contents(killed)
    gate()
    assert contents(killed) == before
    assert str(mine) in worktrees(repository)
    kept = f"{killed} is not deleted: it contains {place}"
    assert kept in capfd.readouterr().err
    shutil.rmtree(mine)
    gate()
    assert not killed.exists()


# Ends itself at a point of its work, as if it were killed there.
DIES = """
import os, signal, sys
from pathlib import Path
from ssept.decide.gate.sides import side, worktrees
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def torn(folder, **_):
    (folder / worktrees.MARK).write_text('{"folder": "/')
    die()
at = sys.argv[1]
if at == "before the mark":
    worktrees.mark = die
elif at == "within the mark":
    worktrees.mark = torn
elif at == "before the checkout":
    side.check_out = die
with side.opened("HEAD~1", extras=("cpu", "train")):
    pass
"""
# In the place of git: ends the gate in the middle of a checkout.
GIT = """#!/bin/sh
for word in "$@"; do
    if [ "$word" = add ]; then
        {git} "$@" && rm {git_dir}/worktrees/tree/index
        {git} worktree lock "$(ls -d {runs}/ssept-gate-*/tree)"
        kill -KILL $PPID
        exit
    fi
done
exec {git} "$@"
"""


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("before the mark", 1),  # an empty folder, and nothing that could be told from a user's
        ("within the mark", 1),
        ("before the checkout", 0),
        ("within the checkout", 0),
    ],
)
def test_a_run_killed_anywhere_costs_nothing_and_the_next_cleans_up(
    repository: Path, runs: Path, tmp_path: Path, at: str, left: int
) -> None:
    before = contents(repository)
    (tmp_path / "dies.py").write_text(DIES)
    (tmp_path / "bin").mkdir()
    where = {"git": shutil.which("git"), "git_dir": repository / ".git", "runs": runs}
    (tmp_path / "bin/git").write_text(GIT.format(**where))
    (tmp_path / "bin/git").chmod(0o755)
    path = f"{tmp_path / 'bin'}:" if at == "within the checkout" else ""
    done = subprocess.run(
        [sys.executable, tmp_path / "dies.py", at],
        env=os.environ | {"PATH": path + os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(runs.glob("*/"))) == 1
    assert len(worktrees(repository)) == (2 if at == "within the checkout" else 1)
    gate()
    assert len(list(runs.glob("*/"))) == left
    assert worktrees(repository) == [str(repository)]
    assert contents(repository) == before


def test_gates_at_once_clean_up_once_and_leave_each_other_alone(
    repository: Path, killed: Path, runs: Path, tmp_path: Path
) -> None:
    with (
        started("HEAD", tmp_path / "a.py") as one,
        started("HEAD", tmp_path / "b.py") as two,
    ):
        trees = [Path(process.stdout.readline().strip()) for process in (one, two)]  # type: ignore[union-attr]
        gate()
        assert not killed.exists()
        assert all((tree / "ssept/__init__.py").exists() for tree in trees)
        assert set(worktrees(repository)) == {str(repository), *map(str, trees)}
        for process in (one, two):
            process.terminate()
            assert process.wait(ENDED_SECONDS) == 128 + signal.SIGTERM
    assert not list(runs.glob("*/"))
    assert worktrees(repository) == [str(repository)]


@pytest.mark.parametrize("state", ["clean", "changed", "with a clone that is ignored"])
def test_in_another_cache_only_git_removes_and_only_what_is_unchanged(
    repository: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "changed":
        (killed / "tree/notes.txt").write_text("not committed")
    if state.startswith("with"):
        clone(killed / "tree/ignored/clone")
    (killed.parent / "ssept-gate-mine").mkdir()
    before = contents(killed)
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "another"))
    gate()
    if state == "clean":
        assert worktrees(repository) == [str(repository)]
        assert not (killed / "tree").exists()
    else:
        assert worktrees(repository) == [str(repository), str(killed / "tree")]
        assert contents(killed) == before
    assert (killed.parent / "ssept-gate-mine").is_dir()
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    gate()
    assert killed.exists() == state.startswith("with")


def test_what_cannot_be_deleted_now_is_deleted_later(repository: Path, killed: Path) -> None:
    (killed / "tree/ssept").chmod(0o500)  # which does not hinder root
    gate()
    if killed.exists():
        (killed / "tree/ssept").chmod(0o700)
        assert (killed / MARK).is_file()
        gate()
    assert not killed.exists()
    assert worktrees(repository) == [str(repository)]


def test_a_killed_run_of_another_repository_is_forgotten_there(
    repository: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(worktrees(repository)) == 2
    monkeypatch.chdir(clone(tmp_path / "second"))
    gate()
    assert not killed.exists()
    assert worktrees(repository) == [str(repository)]


def test_a_killed_run_of_a_repository_that_is_gone_is_removed(
    repository: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone(tmp_path / "second"))
    shutil.rmtree(repository)
    gate()
    assert not killed.exists()
