"""A home, a cache and an environment for the tests alone, and `results/` left as it was.

The process that started the session makes one folder for all of its workers, and removes it at the
end.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from ssept.files import cache_folder

FOLDER = "ssept_folder"  # what a worker is given
# What a user may have set that changes what ssept does, or where something keeps its files.
USERS_OWN = (
    *("SSEPT_*", "MOVIELENS_DATA_DIR", "PROMETHEUS_MULTIPROC_DIR", "WEB_CONCURRENCY"),
    *("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "XDG_*", "MPLCONFIGDIR", "TORCHINDUCTOR_*"),
    *("*_proxy", "*_PROXY", "PIP_CONSTRAINT", "FORWARDED_ALLOW_IPS"),
    *("COLUMNS", "LINES", "FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE"),
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"),
)
FOR_TESTS = ("SSEPT_TEST_*", "SSEPT_REQUIRE_*")


class Guard:
    """What holds from before the first test is read to the end of the session.

    Attributes:
        cache: ssept's, shared by all workers: its entries have locks, and name their content.
    """

    def __init__(self, folder: Path) -> None:
        self.cache, home = folder / "cache", folder / "home"
        for made in (self.cache, home):
            made.mkdir(exist_ok=True)
        self._users, self._users_cache = dict(os.environ), cache_folder()
        kept = {name: value for name, value in self._users.items() if not _is_users_own(name)}
        own = {
            "HOME": str(home),
            "SSEPT_CACHE_DIR": str(self.cache),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
            "PIP_NO_INDEX": "1",  # what a test installs lies in a folder that it made
        }
        self._set(kept | own)

    @contextmanager
    def users_environment(self) -> Iterator[Path]:
        """The user's own variables, which pip may need to reach its index; yields ssept's cache.

        For what is too large to be made for each session.
        """
        own = dict(os.environ)
        self._set(self._users)
        try:
            yield self._users_cache
        finally:
            self._set(own)

    def end(self) -> None:
        """Give the user's variables back."""
        self._set(self._users)

    @staticmethod
    def _set(variables: Mapping[str, str]) -> None:
        os.environ.clear()
        os.environ.update(variables)


GUARD = pytest.StashKey[Guard]()


def begin(config: pytest.Config) -> None:
    """Guard a session, from before the modules of the tests are imported.

    With workers, only they run tests, and only they are guarded.
    """
    results = config.rootpath / "results"
    given = getattr(config, "workerinput", {}).get(FOLDER)
    if given is None:
        given = tempfile.mkdtemp(prefix="ssept-tests-")
        config.pluginmanager.register(Session(Path(given), results), "ssept-guard-session")
        if config.getoption("numprocesses", None):
            return
    config.stash[GUARD] = Guard(Path(given))
    config.add_cleanup(config.stash[GUARD].end)
    _refuse(results)


class Session:
    """The part of the process that started the session."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder, self.results = folder, results
        self._before = _state(results)
        self._changed: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist the folder."""
        node.workerinput[FOLDER] = str(self.folder)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if a test has changed the user's saved runs."""
        self._changed = sorted({str(path) for path, *_ in self._before ^ _state(self.results)})
        if self._changed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was changed."""
        for path in self._changed:
            terminalreporter.write_line(f"FAILED: a test has changed the user's {path}", red=True)

    def pytest_unconfigure(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _refuse(results: Path) -> None:
    """Let no test of this process open a file of the user's results."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(f"{results}{os.sep}"):
            raise AssertionError(f"{arguments[0]}: tests bring their own runs: tests/data/runs")

    sys.addaudithook(refuse)


def _state(folder: Path) -> set[tuple[Path, int, int]]:
    """Each file below a folder with its size and time of change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _is_users_own(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in USERS_OWN) and not any(
        fnmatch(name, pattern) for pattern in FOR_TESTS
    )
