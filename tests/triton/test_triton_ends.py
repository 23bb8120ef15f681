"""However a server ends, it leaves no process, no shared memory and no folder."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from ssept.errors import LoadError, ServerError
from ssept.serving.triton.client import Client
from ssept.serving.triton.perf_analyzer import Load, measure
from ssept.serving.triton.server import TritonServer, free_ports, running
from tests.helpers.matrix import ROOT, command, environment
from tests.helpers.servers.triton_files import (
    ITEMS,
    LENGTH,
    NAME,
    matrix_options,
    needs_server,
    repository,
)

pytestmark = [needs_server, pytest.mark.slow, pytest.mark.usefixtures("triton_tools")]
GONE_SECONDS = 60


def processes_of(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def kept(pid: int) -> list[psutil.Process]:
    """A server, what it started, and the process that looks after it."""
    return [psutil.Process(pid).parent(), *processes_of(pid)]


def pids_named(name: str, pid: int) -> list[int]:
    """Those of the processes that a process started which have this name."""
    found = []
    for process in processes_of(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == name:
                found.append(process.pid)
    return found


def traces(name: str) -> list[Path]:
    """What a server of that name has outside the process table."""
    return [*Path("/dev/shm").glob(f"{name}*"), *Path("/tmp").glob(f"{name}*")]


def name_of(pid: int) -> str:
    """The name that a server was given."""
    (name,) = [word for word in psutil.Process(pid).cmdline() if word.startswith("--id=")]
    return name.removeprefix("--id=")


def assert_gone(processes: Sequence[psutil.Process], name: str) -> None:
    _, alive = psutil.wait_procs(processes, GONE_SECONDS)
    assert not alive
    assert not traces(name)


def test_stopped_it_leaves_nothing(tmp_path: Path) -> None:
    with running(repository(tmp_path / "models"), tmp_path / "log", free_ports()) as server:
        processes, name = kept(server.pid), name_of(server.pid)
        assert len(processes) == 4
        assert len(traces(name)) >= 3
    assert not [process for process in processes if process.is_running()]
    assert not traces(name)
    for port in asdict(server.ports).values():
        with socket.socket() as one, pytest.raises(ConnectionRefusedError):
            one.connect(("127.0.0.1", port))


def test_killed_under_load_it_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with running(repository(tmp_path / "models"), tmp_path / "log", free_ports()) as server:
        processes, name = kept(server.pid), name_of(server.pid)
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(measure, Load(server.http, NAME, concurrency=4))
            wait_for_load(server)
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(LoadError, match=rf"{NAME}.*(.|\n)*HTTP client failed"):
                load.result()
        with pytest.raises(ServerError, match="ended by signal 9"):
            server.wait()
        with pytest.raises(ServerError, match="ended by signal 9"):
            server.check()
        assert_gone(processes, name)


def wait_for_load(server: TritonServer) -> None:
    """Return when the server has answered something."""
    while True:
        with urlopen(f"http://{server.http}/v2/models/{NAME}/stats", timeout=30) as answer:
            if json.load(answer)["model_stats"][0]["inference_count"]:
                return


def test_its_watchdog_killed_it_ends_and_leaves_nothing(tmp_path: Path) -> None:
    with running(repository(tmp_path / "models"), tmp_path / "log", free_ports()) as server:
        watchdog, *processes = kept(server.pid)
        name = name_of(server.pid)
        watchdog.kill()
        with pytest.raises(ServerError, match="was stopped, because its watchdog was killed"):
            server.wait()
    assert_gone(processes, name)


OWNER = """
import sys
from pathlib import Path
from ssept.serving.triton.server import free_ports, running
with running(Path(sys.argv[1]), Path(sys.argv[2]), free_ports()) as server:
    print(server.pid, flush=True)
    {what}
"""


@pytest.mark.parametrize("what", ["sys.stdin.read()", "raise SystemExit(3)"])
def test_it_ends_with_its_owner(tmp_path: Path, what: str) -> None:
    models = repository(tmp_path / "models")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER.format(what=what), models, tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        processes, name = kept(pid), name_of(pid)
        if "read" in what:
            owner.kill()  # no chance to clean up
    assert owner.returncode == (-signal.SIGKILL if "read" in what else 3)
    assert_gone(processes, name)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_serve_says_when_it_is_ready_and_stops_when_told(
    tmp_path: Path, stop: signal.Signals
) -> None:
    models = repository(tmp_path / "models", instances=1)
    with subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "triton", "serve", models, "--ports", "free"],
        stdout=subprocess.PIPE,
        text=True,
    ) as serve:
        assert serve.stdout
        assert serve.stdout.readline() == f"{NAME} version 1 READY\n"
        where = serve.stdout.readline()
        assert where.startswith("HTTP 127.0.0.1:")
        with Client("http", where.split()[1].strip(",")) as client:
            assert client.scores([1], [[1] * LENGTH]).shape == (1, ITEMS + 1)
        processes = processes_of(serve.pid)
        serve.send_signal(stop)
        assert serve.stdout.read().endswith("stopped\n")
    assert serve.returncode == 0
    assert not psutil.wait_procs(processes, GONE_SECONDS)[1]


@contextlib.contextmanager
def matrix(folder: Path, *options: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A run of the matrix, once its tritonserver is there."""
    with subprocess.Popen(
        command(folder, *options), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL
    ) as run:
        try:
            wait_for("tritonserver", run)
            yield run
        finally:
            run.kill()


def wait_for(name: str, run: "subprocess.Popen[bytes]") -> None:
    while not pids_named(name, run.pid):
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(0.1)
        assert run.poll() is None


def test_a_failing_matrix_leaves_no_server(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    options = [*matrix_options(small_folder, small_checkpoint), "--triton", "-k", "test_answers"]
    with matrix(tmp_path, *options, "-p", "tests.helpers.toys.toy_failing") as run:
        _, *processes = processes_of(run.pid)
        pid, *_ = pids_named("tritonserver", run.pid)  # what it forks is called so for a moment
        name = name_of(pid)
        assert run.wait(GONE_SECONDS) == pytest.ExitCode.TESTS_FAILED
    assert_gone(processes, name)


def test_a_killed_matrix_leaves_no_server(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    options = [*matrix_options(small_folder, small_checkpoint), "--triton", "-k", "test_load"]
    with matrix(tmp_path, *options) as run:
        wait_for("perf_analyzer", run)
        _, *processes = processes_of(run.pid)
        pid, *_ = pids_named("tritonserver", run.pid)  # what it forks is called so for a moment
        name = name_of(pid)
        run.kill()
    assert len(processes) > 5  # the watchdog, the server, its instances, the load
    assert_gone(processes, name)
