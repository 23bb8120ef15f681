"""What runs on a host of the fleet: the matrix, whose file is sent on as it grows.

Only the standard library is imported here, and by what is imported here: the Python of a cluster
need have no other package.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssept.children import in_clone

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_SECONDS = 1.0
TRIES = 20
SELECTED = re.compile(r"collected (\d+) items?(?:.* (\d+) selected)?")
LOG_BYTES = 200_000  # of the end of what pytest printed


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became of a host's matrix since the last update.

    Attributes:
        file: the saved run as it is now; None if it has not changed.
        tests: how many there are to measure here; None while they are not known.
        code: the exit code of pytest; None while it runs.
        log: the end of what it printed, once it has ended.
    """

    file: bytes | None = None
    tests: int | None = None
    code: int | None = None
    log: str = ""


def measured(
    options: Sequence[str],
    *,
    host: str,
    python: str,
    cpus: int | None,
    earlier: bytes | None,
    variables: Mapping[str, str],
) -> Iterator[Update]:
    """Run the matrix in a copy of the current folder, a clone; yield its file when it has grown.

    Args:
        options: of the matrix.
        host: the name of this kind of host, which the saved run keeps.
        python: that has the packages; empty for this one.
        cpus: that it may use; None for all.
        earlier: a saved run to go on with.
        variables: more of its environment.
    """
    with tempfile.TemporaryDirectory(prefix="ssept-fleet-") as folder:
        results, log = Path(folder) / "results", Path(folder) / "log"
        clone = _copied(Path.cwd(), Path(folder) / "clone")
        command = in_clone(
            *("-c", "pyproject.toml", "-p", "fixtures.options", "-p", "no:cacheprovider"),
            f"--benchmark-storage=file://{results}",
            f"--host={host}",
            *options,
            python=python,
        )
        results.mkdir()
        if earlier:
            started = results / "0001_earlier.json"
            started.write_bytes(earlier)
            command.append(f"--resume={started}")
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=clone,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables, "COLUMNS": "100"},
                preexec_fn=lambda: _before(cpus),
            )
        try:
            yield from _updates(process, results, log)
        finally:
            process.kill()
            process.wait()


def _copied(clone: Path, copy: Path) -> Path:
    """Copy a clone, whole.

    Ray removes the folder that it has made, and makes it again, also while it is in use, when
    another node of the same machine starts: the two share it.

    Raises:
        RuntimeError: the folder was never whole.
    """
    for _ in range(TRIES):
        with suppress(OSError, shutil.Error):
            before = _sizes(clone)
            shutil.copytree(clone, copy, symlinks=True)
            if (copy / "pyproject.toml").is_file() and before == _sizes(clone) == _sizes(copy):
                return copy
        shutil.rmtree(copy, ignore_errors=True)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{clone}: Ray has not kept the clone that it was given")


def _sizes(folder: Path) -> dict[Path, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.stat().st_size for path in files}


def _updates(process: "subprocess.Popen[bytes]", results: Path, log: Path) -> Iterator[Update]:
    known, sent = b"", False
    code = None
    while code is None:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(POLL_SECONDS)
        file = next((each.read_bytes() for each in results.rglob("[0-9]*.json")), b"")
        tests = None if sent else _tests(log)
        if file != known or tests is not None:
            yield Update(file=file if file != known else None, tests=tests)
            known, sent = file, sent or tests is not None
    text = log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace")
    yield Update(code=code, log=text)


def _tests(log: Path) -> int | None:
    found = SELECTED.search(log.read_text("utf-8", "replace"))
    return int(found[2] or found[1]) if found else None


def _before(cpus: int | None) -> None:
    """End with the worker, however that ends: an orphan would spoil what is measured next."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
