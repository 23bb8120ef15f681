"""What the gate compares: found, isolated, given its packages, and nothing left of it."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import ssept
from ssept.decide.gate.sides.side import Side, opened
from ssept.errors import GateError
from tests.helpers.repositories import commit, git, holding, started, write_tree
from tests.helpers.wheels import install_only_from, write_wheel

EXTRAS = ("cpu", "train")
HERE = Path(sys.executable)
LATER = "99.0"
ENDED_SECONDS = 60


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sides keep what they need while they are open; git as nobody has configured it."""
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path / "cache" / "gate"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, and the current folder in them."""
    folder = tmp_path / "repository"
    git("init", "--quiet", "--initial-branch=main", str(folder))
    (folder / ".gitignore").write_text("__pycache__/\n")
    commit(write_tree(folder, "first"), "first")
    commit(write_tree(folder, "second"), "second")
    monkeypatch.chdir(folder)
    return folder


def asked(side: Side, code: str) -> str:
    """What a program prints that runs as this side's worker does."""
    done = subprocess.run(
        [side.python, "-c", code],
        cwd="/",
        env=side.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def label(side: Side) -> str:
    return asked(side, "import ssept; print(ssept.LABEL)")


def assert_nothing_left(runs: Path, repository: Path) -> None:
    assert not list(runs.glob("*/"))
    assert git("worktree", "list", "--porcelain", folder=repository).count("worktree ") == 1
    assert git("status", "--porcelain", folder=repository) == ""


def test_a_revision_is_its_commit_for_as_long_as_it_is_open(repository: Path, runs: Path) -> None:
    first = git("rev-parse", "--short", "HEAD~1")
    with opened("HEAD~1", extras=EXTRAS) as base, opened("main", extras=EXTRAS) as head:
        assert base.name == f"HEAD~1 ({first})"
        assert (label(base), label(head)) == ("first", "second")
        assert base.python == head.python == HERE
        assert base.model is None
        assert base.packages == head.packages
        assert base.packages["numpy"] == version("numpy")
        assert base.tree is not None
        assert git("status", "--porcelain", folder=base.tree) == ""
    assert not base.tree.exists()
    assert_nothing_left(runs, repository)


def test_a_hash_is_named_once(repository: Path) -> None:
    short, full = git("rev-parse", "--short", "HEAD"), git("rev-parse", "HEAD")
    for text in (short, full):
        with opened(text, extras=EXTRAS) as side:
            assert side.name == short


def test_a_folder_is_measured_as_it_stands_and_a_revision_as_committed(repository: Path) -> None:
    write_tree(repository, "not committed")
    with opened(".", extras=EXTRAS) as head, opened("HEAD", extras=EXTRAS) as base:
        assert (label(head), label(base)) == ("not committed", "second")
        assert (head.name, head.tree) == (".", repository.resolve())
    with opened(str(repository), extras=EXTRAS) as side:
        assert label(side) == "not committed"
    assert (repository / "ssept/__init__.py").exists()


def test_a_subfolder_of_the_repository_is_in_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "ssept")
    with opened("HEAD~1", extras=EXTRAS) as side:
        assert label(side) == "first"


def test_models_run_with_the_ssept_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/manifest.json").write_text("{}")
    (tmp_path / "model.onnx").write_bytes(b"")
    for path in (tmp_path / "artifacts", tmp_path / "model.onnx"):
        with opened(str(path), extras=EXTRAS) as side:
            assert (side.tree, side.model, side.python) == (None, path.resolve(), HERE)
            assert side.name == str(path)
            assert asked(side, "import ssept; print(ssept.__file__)") == ssept.__file__


def test_a_path_wins_over_a_revision_of_its_name(repository: Path) -> None:
    git("branch", "model.onnx", "HEAD~1")
    Path("model.onnx").write_bytes(b"")
    with opened("model.onnx", extras=EXTRAS) as side:
        assert side.model == repository.resolve() / "model.onnx"
    with opened("refs/heads/model.onnx", extras=EXTRAS) as side:
        assert label(side) == "first"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no-such-branch", "no such file or folder, and the repository of .* no such revision"),
        ("", "no such revision"),
        ("-h", "no such file or folder"),
        ("^HEAD", "no such revision"),
        ("--all", "no such revision"),
        ("--end-of-options", "no such revision"),
        ("--git-dir=/tmp", "no such revision"),
        ("--output=taken", "no such revision"),
        ("HEAD~1..HEAD", "no such revision"),
        ("HEAD^@", "no such revision"),
        ("HEAD HEAD", "no such revision"),
        ("HEAD\n", "no such revision"),
        ("HEAD:ssept", "no such revision"),
        ("missing/model.onnx", "no such revision"),
        ("ssept", "ssept: neither a source tree nor an artifacts folder"),
        ("pyproject.toml", "pyproject.toml: not an ONNX file"),
        ("before", r"before \(\w+\): is not a version of this project"),
    ],
)
def test_what_cannot_be_compared_is_told_with_what_can(
    repository: Path, runs: Path, text: str, reason: str
) -> None:
    git("checkout", "--quiet", "--orphan", "before")
    git("rm", "--quiet", "--cached", "-r", ".")
    git("commit", "--quiet", "--allow-empty", "--message", "before")
    git("checkout", "--quiet", "--force", "main")
    with pytest.raises(GateError, match=f"{reason}.*expected a git revision") as told:
        opened(text, extras=EXTRAS).__enter__()
    assert "\n" not in str(told.value)
    for kind in ("pyproject.toml and ssept/", "manifest.json", "an ONNX file"):
        assert kind in str(told.value)
    assert_nothing_left(runs, repository)


def test_outside_a_repository_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GateError, match=r"'HEAD': no such file or folder, and .*not a git repos"):
        opened("HEAD", extras=EXTRAS).__enter__()


def test_without_git_a_revision_is_refused_with_the_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(GateError, match="git, which is not installed"):
        opened("HEAD", extras=EXTRAS).__enter__()


def test_a_shallow_clone_is_told(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shallow = tmp_path / "shallow"
    git("clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    monkeypatch.chdir(shallow)
    with pytest.raises(GateError, match="shallow clone: `git fetch --unshallow`"):
        opened("HEAD~1", extras=EXTRAS).__enter__()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(
    repository: Path, runs: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        with opened("HEAD~1", extras=EXTRAS):
            assert list(runs.glob("*/"))
            raise error

    with pytest.raises(error):
        fail()
    assert_nothing_left(runs, repository)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(
    repository: Path, runs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with holding("HEAD~1", tmp_path / "holder.py") as (process, tree):
        assert (tree / "ssept/__init__.py").exists()
        process.send_signal(number)
        assert process.wait(ENDED_SECONDS) in (128 + number, -number)
    assert_nothing_left(runs, repository)


def test_handlers_are_as_they_were(repository: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with opened("HEAD", extras=EXTRAS), opened("HEAD~1", extras=EXTRAS):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_killed_run_left_goes_with_the_next_and_a_living_one_stays(
    repository: Path, tmp_path: Path
) -> None:
    script = tmp_path / "holder.py"
    elsewhere = repository.with_name("unplugged")
    git("worktree", "add", "--quiet", "--detach", str(elsewhere))
    shutil.rmtree(elsewhere)  # the user's own, on a disk that is not there now
    with holding("HEAD", script) as (_, living):
        with holding("HEAD~1", script) as (process, killed):
            git("worktree", "lock", str(killed))  # as git has it while it checks out
            process.kill()
            process.wait()
        assert killed.exists()
        with opened("HEAD~1", extras=EXTRAS) as side:
            assert not killed.parent.exists()
            assert (living / "ssept/__init__.py").exists()
            listed = git("worktree", "list", "--porcelain")
            assert str(killed) not in listed
            for tree in (living, side.tree, elsewhere):
                assert f"worktree {tree}\n" in listed


def test_a_killed_run_is_found_also_where_the_cache_was(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding("HEAD~1", tmp_path / "holder.py") as (process, killed):
        process.kill()
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "another"))
    with opened("HEAD", extras=EXTRAS):
        pass
    assert not killed.exists()
    assert_nothing_left(tmp_path / "another/gate", repository)


def test_a_gate_in_a_hook_touches_neither_the_index_nor_the_hooks(
    repository: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with monkeypatch.context() as within:
        within.setenv("GIT_DIR", ".git")
        within.setenv("GIT_INDEX_FILE", ".git/index")
        with opened("HEAD~1", extras=EXTRAS) as side:
            assert label(side) == "first"
    assert not (tmp_path / "ran").exists()
    assert_nothing_left(runs, repository)


@pytest.mark.parametrize("name", ["plain", "with.dots", "with=equals"])
@pytest.mark.parametrize("kind", ["smudge", "process"])
def test_no_command_of_the_user_s_configuration_runs_on_a_revision(
    repository: Path, runs: Path, tmp_path: Path, name: str, kind: str
) -> None:
    (repository / ".gitattributes").write_text(f"*.py filter={name}\n")
    commit(repository, "asks for a filter")
    ran = f"touch {tmp_path}/ran && cat"
    for key, value in ((kind, ran), ("clean", ran), ("required", "true")):
        git("config", f"filter.{name}.{key}", value)
    git("config", "core.fsmonitor", ran)
    with opened("HEAD", extras=EXTRAS) as side:
        assert label(side) == "second"
    assert not (tmp_path / "ran").exists()
    for key in (kind, "clean", "required"):
        git("config", "--unset", f"filter.{name}.{key}")
    git("config", "--unset", "core.fsmonitor")
    assert_nothing_left(runs, repository)


# As build tools write it that map a package's name to its source: a finder behind the others.
FINDER = """
import importlib.util, sys
class Finder:
    @staticmethod
    def find_spec(name, *_):
        if name == "ssept":
            return importlib.util.spec_from_file_location(name, "{folder}/ssept/__init__.py")
sys.meta_path.append(Finder)
"""


@pytest.mark.parametrize("editable", ["{folder}", "import finder"])
def test_a_side_s_tree_comes_before_an_editable_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editable: str
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    installed = write_tree(tmp_path / "installed", "editable")
    (packages / "finder.py").write_text(FINDER.format(folder=installed))
    (packages / "ssept.pth").write_text(editable.format(folder=installed))
    tree = write_tree(tmp_path / "tree", "tree")
    python = environment / "bin/python"
    assert label(Side("installed", python, None, None, {})) == "editable"
    assert label(Side("tree", python, tree, None, {})) == "tree"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before 3.11 nothing keeps it from that")
def test_a_worker_imports_nothing_from_beside_its_script(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", "tree")
    (tmp_path / "beside/ssept").mkdir(parents=True)
    (tmp_path / "beside/ssept/__init__.py").write_text("LABEL = 'beside'")
    script = tmp_path / "beside/worker.py"
    script.write_text("import ssept; print(ssept.LABEL)")
    side = Side("tree", HERE, tree, None, {})
    ran = subprocess.check_output([side.python, script], env=side.environment(), text=True)
    assert ran == "tree\n"


def test_this_python_s_path_is_kept_behind_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "own", "own")
    (tmp_path / "own/helper.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    side = Side("tree", HERE, write_tree(tmp_path / "tree", "tree"), None, {})
    assert asked(side, "import helper, ssept; print(ssept.LABEL)") == "tree"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    another = Side("tree", Path("/another/python"), side.tree, None, {})
    assert another.environment()["PYTHONPATH"] == str(side.tree)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    install_only_from(tmp_path / "shelf", monkeypatch)
    return tmp_path / "shelf"


@pytest.mark.slow
def test_a_tree_with_other_requirements_gets_an_environment_and_nothing_else_changes(
    repository: Path, runs: Path, shelf: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert importlib.util.find_spec("tiny") is None
    write_wheel(shelf, "tiny")
    for number in (version("numpy"), LATER):
        write_wheel(shelf, "numpy", number)
    asks = ("numpy>=1.26", "absent; python_version < '3'")
    commit(write_tree(repository, "third", dependencies=asks, cpu=("tiny>=1",)), "third")
    before = os.environ.get("TMPDIR")
    with opened("HEAD~1", extras=EXTRAS) as base, opened("HEAD", extras=EXTRAS) as head:
        assert base.python == HERE
        assert f"{head.name} needs tiny>=1 (here: none): installing" in capfd.readouterr().err
        assert head.python != HERE
        assert head.packages == {"numpy": version("numpy")}  # not the later one
        assert asked(head, "import ssept, tiny; print(ssept.LABEL, tiny.ANSWER)") == "third 42"
        assert runs in head.python.parents
    assert not head.python.exists()
    assert os.environ.get("TMPDIR") == before
    assert_nothing_left(runs, repository)


@pytest.mark.slow
def test_packages_that_cannot_stay_are_chosen_by_pip(
    shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(shelf, "tiny")
    write_wheel(shelf, "numpy", LATER)
    tree = write_tree(tmp_path / "tree", "tree", dependencies=("numpy>=1.26", "tiny"))
    with opened(str(tree), extras=EXTRAS) as side:
        assert side.packages == {"numpy": LATER}
    assert "letting pip choose" in capfd.readouterr().err
    assert sorted(path.name for path in tree.iterdir()) == ["pyproject.toml", "ssept"]


@pytest.mark.slow
def test_a_requirement_that_cannot_be_had_is_told_with_what_pip_said(
    repository: Path, runs: Path, shelf: Path
) -> None:
    commit(write_tree(repository, "third", dependencies=("tiny==9",)), "third")
    with pytest.raises(GateError, match=r"^HEAD \(\w+\): its req(.|\n)*No matching.*tiny==9"):
        opened("HEAD", extras=EXTRAS).__enter__()
    assert_nothing_left(runs, repository)


@pytest.mark.parametrize(
    "asked",
    [
        "tiny @ file:///tmp/tiny",
        "tiny @ git+https://example.org/tiny.git",
        "numpy @ https://example.org/numpy-99.0-py3-none-any.whl",
    ],
)
def test_a_package_from_an_address_is_refused_and_not_built(
    repository: Path, runs: Path, asked: str
) -> None:
    commit(write_tree(repository, "third", cpu=("absent", asked)), "third")
    with pytest.raises(
        GateError, match=r"HEAD \(\w+\): its pyproject.toml installs \w+ from a URL"
    ):
        opened("HEAD", extras=EXTRAS).__enter__()
    assert_nothing_left(runs, repository)
    commit(write_tree(repository, "fourth", cpu=(f"{asked} ; python_version < '3'",)), "fourth")
    with opened("HEAD", extras=EXTRAS) as side:
        assert side.python == HERE


@pytest.mark.slow
def test_an_installation_that_is_ended_leaves_nothing(
    repository: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(write_tree(repository, "third", dependencies=("tiny",)), "third")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        more = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "NO_PROXY": "*"}
        for name, value in more.items() | {("TMPDIR", str(temporary))}:
            monkeypatch.setenv(name, value)
        with started("HEAD", tmp_path / "holder.py") as process:
            connection, _ = silent.accept()  # pip asks for the package, and gets no answer
            process.terminate()
            assert process.wait() == 128 + signal.SIGTERM
        connection.close()
    assert not list(temporary.iterdir())
    assert_nothing_left(runs, repository)


def test_only_the_extras_asked_for_count(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", "tree", cpu=("tiny",))
    with opened(str(tree), extras=("train",)) as side:
        assert side.python == HERE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train = []", "has no 'train'; expected .* cpu, train"),
        ("[project", "has no 'project'"),
        ("version =", "cannot be read: .*line"),
        ("[]", "cannot be read: .*"),
        (">=3.10", "needs Python >=3.99; run the gate with such a Python"),
    ],
)
def test_a_project_that_cannot_be_run_here_is_told(
    tmp_path: Path, change: str, message: str
) -> None:
    tree = write_tree(tmp_path / "tree", "tree")
    file = tree / "pyproject.toml"
    changed = {">=3.10": ">=3.99", "[]": '["a =="]', "version =": "version", "[project": "[tool"}
    file.write_text(file.read_text().replace(change, changed.get(change, "")))
    with pytest.raises(GateError, match=f"tree: .*{message}"):
        opened(str(tree), extras=EXTRAS).__enter__()
