"""Tests see nothing of the user's: no variables, no home, no cache, and not the saved runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT, environment

USERS = {
    **{"SSEPT_MAX_BATCH": "x", "SSEPT_THREADS": "x", "SSEPT_DOWNLOAD_URL": "x"},
    **{"MOVIELENS_DATA_DIR": "x", "PROMETHEUS_MULTIPROC_DIR": "x", "http_proxy": "x"},
    **{"HTTPS_PROXY": "x", "PYTEST_ADDOPTS": "-v", "XDG_CONFIG_HOME": "x", "GIT_DIR": "x"},
    **{"COLUMNS": "40", "FORCE_COLOR": "1", "PIP_CONSTRAINT": "x", "WEB_CONCURRENCY": "7"},
}
INNER = """
import os, subprocess, sys
from pathlib import Path
from ssept.files import cache_folder

USERS = {names!r}
IMPORTED = [name for name in USERS if name in os.environ]  # before any fixture

def test_variables():
    assert not IMPORTED
    assert os.environ["SSEPT_TEST_FUZZ"] == "5"

def test_places():
    for folder in (Path.home(), cache_folder()):
        assert not folder.is_relative_to({home!r})
        (folder / "left").touch()
        with open({seen!r}, "a") as file:
            file.write(f"{{folder}}\\n")

def test_the_users_own_when_asked_for(guard):
    with guard.users_environment() as cache:
        assert cache == Path({home!r}) / "cache"
        assert os.environ["HTTPS_PROXY"] == "x"
    assert "HTTPS_PROXY" not in os.environ

"""
CONFTEST = """
import pytest
from tests import guard as own

def pytest_configure(config):
    own.begin(config)

@pytest.fixture
def guard(pytestconfig):
    return pytestconfig.stash[own.GUARD]
"""
ALONE, TWO = (), ("-p", "xdist", "-n2")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a saved run, and tests that are guarded."""
    folder = tmp_path / "project"
    (folder / "results" / "Linux").mkdir(parents=True)
    (folder / "results" / "Linux" / "0001_x.json").write_text("{}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    (tmp_path / "home").mkdir()
    return folder


def run(project: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of tests in a user's environment."""
    (project / "test_inner.py").write_text(test)
    home = project.parent / "home"
    own = {"HOME": str(home), "SSEPT_CACHE_DIR": str(home / "cache"), "SSEPT_TEST_FUZZ": "5"}
    python = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "pytest.ini", *arguments],
        cwd=project,
        env=environment() | USERS | own | python,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", [ALONE, TWO], ids=len)
def test_nothing_of_the_users_is_seen_or_left(project: Path, workers: tuple[str, ...]) -> None:
    home, seen = project.parent / "home", project.parent / "seen"
    test = INNER.format(names=tuple(USERS), home=str(home), seen=str(seen))
    done = run(project, test, *workers)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert not list(home.iterdir())
    folders = [Path(line) for line in seen.read_text().splitlines()]
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    ("change", "workers"),
    [
        ("echo >> results/Linux/0001_x.json", ALONE),
        ("rm results/Linux/0001_x.json", ALONE),
        ("touch results/new", TWO),
    ],
)
def test_a_test_that_changes_results_fails_the_session(
    project: Path, change: str, workers: tuple[str, ...]
) -> None:
    test = f"import subprocess\ndef test_it(): subprocess.run({change!r}, shell=True, check=True)\n"
    done = run(project, test, *workers)
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    assert f"a test has changed the user's {project}/results" in done.stdout


@pytest.mark.parametrize("mode", ["r", "a"])
def test_a_test_that_opens_a_saved_run_fails(project: Path, mode: str) -> None:
    path = project / "results" / "Linux" / "0001_x.json"
    done = run(project, f"def test_it(): open({str(path)!r}, {mode!r}).close()\n")
    assert done.returncode == 1, done.stdout
    assert "tests bring their own runs" in done.stdout
    assert path.read_text() == "{}"
