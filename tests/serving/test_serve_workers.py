"""Workers that end, start badly or are refused a system call: the server goes on, or says why."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from ssept.errors import ServerError
from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.runtime import cpus
from ssept.serving.settings import ServerSettings, to_environment
from tests.helpers.servers.serve_clients import ADDRESS, BODY, ask, load, request_of

# SSEPT_TEST_TIMES=50 for the full promise.
TIMES = int(os.environ.get("SSEPT_TEST_TIMES", "6"))
WAIT_SECONDS = 60
CLIENT_SECONDS = 5  # no client waits longer
ROOT = Path(__file__).parents[2]


def until(what: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Poll until it is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def settings_of(checkpoint: Path) -> ServerSettings:
    return ServerSettings(model=checkpoint, max_wait_ms=10_000, deadline_ms=10_000)


@contextlib.contextmanager
def two_workers(checkpoint: Path, log: Path) -> Iterator[SseptServer]:
    with running(settings_of(checkpoint), log, workers=2) as server:
        yield server


def workers_of(server: SseptServer) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def counted(server: SseptServer, name: str) -> float:
    """The sum of a counter over its labels and the workers; /metrics itself is not counted."""
    from urllib.request import urlopen

    from prometheus_client.parser import text_string_to_metric_families

    with urlopen(f"{server.url}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(one.value for one in samples if one.labels.get("route") != "/metrics")


def answer_to(port: int) -> bytes:
    """All that a client gets, from connecting to the end."""
    with socket.create_connection((ADDRESS, port), CLIENT_SECONDS) as client:
        client.sendall(request_of(BODY, "Connection: close"))
        with client.makefile("rb") as file:
            return file.read()


PATIENT = """
import sys
if "ssept.serving.runtime.worker" in sys.orig_argv:
    from ssept.serving.runtime import acceptor
    acceptor.PATIENCE_SECONDS = 3600
"""


@contextlib.contextmanager
def two_patient_workers(checkpoint: Path, folder: Path) -> Iterator[SseptServer]:
    """Those that wait however late a busy machine lets the other one accept its connections."""
    (folder / "sitecustomize.py").write_text(PATIENT)
    server = started(folder / "log", settings_of(checkpoint), {"PYTHONPATH": python_path(folder)})
    with server.ready_within(WAIT_SECONDS):
        yield server


def python_path(folder: Path) -> str:
    """A PYTHONPATH with a folder in front of this clone."""
    return os.pathsep.join([str(folder), str(ROOT)])


class OpenClients:
    """Clients whose connections stay open, by their ports."""

    def __init__(self, server: SseptServer) -> None:
        self._port = server.port
        self._clients: dict[int, HTTPConnection] = {}
        for worker in workers_of(server):
            until(lambda worker=worker: not ports_of(worker))  # type: ignore[misc]  # probes have gone

    def open(self, count: int, in_turn: bool = False) -> None:
        """Open more, and ask on each: before the next one is opened, or when all are open."""
        more = [HTTPConnection(ADDRESS, self._port, timeout=WAIT_SECONDS) for _ in range(count)]
        for client in more:
            client.connect()
            self._clients[client.sock.getsockname()[1]] = client
            if in_turn:
                check_answer(client)
        for client in more:
            check_answer(client)

    def close_those_of(self, worker: psutil.Process) -> None:
        for port in ports_of(worker) & self._clients.keys():
            self._clients.pop(port).close()
        until(lambda: not ports_of(worker))

    def close(self) -> None:
        """Close all."""
        for client in self._clients.values():
            client.close()


@contextlib.contextmanager
def suspended(worker: psutil.Process) -> Iterator[None]:
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def check_answer(client: HTTPConnection) -> None:
    client.request("GET", "/health/live")
    with client.getresponse() as answer:
        assert answer.status == 200
        answer.read()


def ports_of(worker: psutil.Process) -> set[int]:
    """The clients' ports of a worker's connections."""
    return {one.raddr.port for one in worker.net_connections() if one.raddr}


def split(server: SseptServer) -> list[int]:
    """How many connections each worker has."""
    return [len(ports_of(worker)) for worker in workers_of(server)]


def test_workers_share_connections_evenly(tmp_path: Path, small_checkpoint: Path) -> None:
    with (
        two_patient_workers(small_checkpoint, tmp_path) as server,
        contextlib.closing(OpenClients(server)) as clients,
    ):
        first, second = workers_of(server)
        for count, in_turn in itertools.product((8, 64), (False, True)):
            clients.open(count, in_turn)
            assert split(server) == [count // 2, count // 2]
            clients.close_those_of(first)
            clients.open(3, in_turn)
            assert split(server) == [3, count // 2]
            clients.open(count // 2, in_turn)
            assert sorted(split(server)) == [count // 2 + 1, count // 2 + 2]
            clients.close_those_of(first)
            clients.close_those_of(second)


def test_a_worker_that_replaces_another_one_gets_the_next_connections(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with (
        two_patient_workers(small_checkpoint, tmp_path) as server,
        contextlib.closing(OpenClients(server)) as clients,
    ):
        clients.open(8)
        first, second = workers_of(server)
        first.kill()
        until(lambda: "ended with -9" in server.log.read_text())
        until(lambda: len(workers_of(server)) == 2)
        (new,) = {*workers_of(server)} - {second}
        with suspended(new):  # before it accepts
            clients.open(4)
            assert len(ports_of(second)) == 8
        until(lambda: clients.open(1) or ports_of(new))
        had = len(ports_of(second))
        clients.open(had - 1)
        assert len(ports_of(second)) == len(ports_of(new)) == had


def test_a_suspended_worker_keeps_no_connection_from_the_others(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with (
        two_workers(small_checkpoint, tmp_path / "log") as server,
        contextlib.closing(OpenClients(server)) as clients,
    ):
        first, second = workers_of(server)
        with suspended(first):
            clients.open(8)
            clients.open(8, in_turn=True)
            assert len(ports_of(second)) == 16


@pytest.mark.slow
def test_workers_killed_under_load_leave_nobody_waiting_and_the_counts_right(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with two_workers(small_checkpoint, tmp_path / "log") as server:
        before, answered, lost = 0.0, 0, 0
        for time_ in range(TIMES):
            with load(server.port, seconds=CLIENT_SECONDS) as counts:
                until(lambda counts=counts: counts.answered >= 20)  # type: ignore[misc]
                victim = workers_of(server)[time_ % 2]
                victim.kill()
                ended = f"worker {victim.pid} ended with -9"
                until(lambda ended=ended: ended in server.log.read_text())  # type: ignore[misc]
                until(lambda: len(workers_of(server)) == 2)
                until(lambda counts=counts, now=counts.answered: counts.answered > now + 20)  # type: ignore[misc]
            assert set(counts.statuses) <= {200, 503}
            assert not [error for error in counts.lost if "Timeout" in error]
            answered += counts.statuses[200]  # the others are of the supervisor
            lost += len(counts.lost)
            until(lambda: answer_to(server.port).startswith(b"HTTP/1.1 200 "))
            answered += 1
            now = counted(server, "ssept_requests_total")
            assert now >= before  # nothing is forgotten with a worker
            before = now
        # A worker may be killed between an answer and its count, or between the count and the end.
        assert abs(counted(server, "ssept_requests_total") - answered) <= lost + 12 * TIMES
        exact = counted(server, "ssept_requests_total")
        for _ in range(20):
            ask(server.url, "/predict", {"user_id": 1, "sequence": [], "top_k": 1})
        assert counted(server, "ssept_requests_total") == exact + 20
        assert counted(server, "ssept_request_seconds_count") == exact + 20


@pytest.mark.slow
def test_while_no_worker_answers_a_client_is_told_so_and_then_all_goes_on(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(small_checkpoint.read_bytes())
    with two_workers(path, tmp_path / "log") as server:
        ask(server.url, "/predict", {"user_id": 1, "sequence": [], "top_k": 1})
        for worker in workers_of(server):
            worker.suspend()  # so that a client waits unaccepted when they die
        with socket.create_connection((ADDRESS, server.port), CLIENT_SECONDS) as early:
            early.sendall(request_of())
            path.write_bytes(b"broken")
            for worker in workers_of(server):
                worker.kill()
            answers = [early.recv(65536), *(answer_to(server.port) for _ in range(5))]
        path.write_bytes(small_checkpoint.read_bytes())
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"connection: close" in answer.lower()
            assert b"retry-after: 1" in answer.lower()
        until(lambda: answer_to(server.port).startswith(b"HTTP/1.1 200 "))
        assert counted(server, "ssept_requests_total") >= 2  # with that of the first workers


def test_a_client_that_comes_while_workers_start_again_is_answered(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with two_workers(small_checkpoint, tmp_path / "log") as server:
        for worker in workers_of(server):
            worker.kill()
        until(lambda: server.log.read_text().count("ended with -9") == 2)
        with socket.create_connection((ADDRESS, server.port), 2 * CLIENT_SECONDS) as client:
            client.sendall(request_of())
            assert client.recv(65536)[:13] in (b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")


@pytest.mark.slow
def test_workers_that_cannot_start_again_are_given_up_with_the_reason(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(small_checkpoint.read_bytes())
    with two_workers(path, tmp_path / "log") as server:
        path.write_bytes(b"broken")
        first, second = workers_of(server)
        first.kill()
        until(lambda: server.log.read_text().count("not a whole checkpoint file") >= 2)
        assert answer_to(server.port).startswith(b"HTTP/1.1 200 ")  # the other one goes on
        second.kill()
        with pytest.raises(ServerError, match="ended with 1: ") as caught:
            server.wait()
        assert "ended with 1, like those before it, see above; no worker is left" in str(
            caught.value
        )
        log = server.log.read_text()
        assert 10 <= log.count("not a whole checkpoint file") < 30
        assert "Traceback" not in log


CRASHING = """
import os, signal, sys, threading
def crash():
    os.kill(os.getpid(), signal.SIGBUS)
if "ssept.serving.runtime.worker" in sys.orig_argv and os.path.exists(os.environ["CRASH"]):
    threading.Timer(float(os.environ["CRASH_AFTER"]), crash).start()
"""


@pytest.mark.slow
def test_workers_that_crash_soon_after_they_answer_are_given_up_too(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    crash = tmp_path / "crash"
    variables = {"PYTHONPATH": python_path(tmp_path), "CRASH": str(crash), "CRASH_AFTER": "4"}
    server = started(tmp_path / "log", settings_of(small_checkpoint), variables)
    with server.ready_within(WAIT_SECONDS):
        crash.touch()
        for worker in workers_of(server):
            worker.kill()
        with pytest.raises(ServerError, match="ended with 1"):
            server.wait()
    log = server.log.read_text()
    assert "no worker is left" in log
    assert log.count("starting another one") < 30


def started(log: Path, settings: ServerSettings, variables: dict[str, str]) -> SseptServer:
    """A server of two workers with more variables."""
    given = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        return SseptServer(settings, ["--port=0", "--workers=2"], log)
    finally:
        for name, text in given.items():
            os.environ.pop(name)
            if text is not None:
                os.environ[name] = text


REFUSING = """
import ctypes, errno, os, signal, socket, sys
def refused(*_, **__):
    raise OSError(errno.{code}, os.strerror(errno.{code}))
for name in ("pidfd_open", "sched_setaffinity", "sched_getaffinity", "memfd_create"):
    setattr(os, name, refused)
socket.socket.setsockopt = refused
real = ctypes.CDLL
class Library(real):
    def __getattr__(self, name):
        return (lambda *_: -1) if name == "prctl" else super().__getattr__(name)
ctypes.CDLL = Library
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_system_calls_that_a_sandbox_refuses_are_done_without(
    tmp_path: Path, small_checkpoint: Path, code: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSING.format(code=code))
    server = started(
        tmp_path / "log", settings_of(small_checkpoint), {"PYTHONPATH": python_path(tmp_path)}
    )
    with server.ready_within(WAIT_SECONDS):
        processes = [psutil.Process(server.pid), *workers_of(server)]
        assert len(processes) == 3
        processes[1].kill()
        until(lambda: {*workers_of(server)} - {*processes} and len(workers_of(server)) == 2)
        processes += workers_of(server)
        assert answer_to(server.port).startswith(b"HTTP/1.1 200 ")
        os.kill(server.pid, signal.SIGKILL)
        assert not psutil.wait_procs(processes, WAIT_SECONDS)[1]
    assert "this system refuses TCP_USER_TIMEOUT" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_temporary_folder_that_is_full_or_cleaned_changes_nothing(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounts are not allowed here")
    try:
        variables = {"TMPDIR": str(folder)}
        server = started(tmp_path / "log", settings_of(small_checkpoint), variables)
        with server.ready_within(WAIT_SECONDS):
            before = workers_of(server)
            with contextlib.suppress(OSError), (folder / "full").open("wb", 0) as file:
                while True:
                    file.write(bytes(4096))
            for number in range(300):  # more paths and statuses than were counted before
                with contextlib.suppress(OSError):
                    ask(server.url, f"/nothing/{number}")
            ask(server.url, "/v2/models/recommender_model_onnx/stats")
            subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True)
            ask(server.url, "/predict", {"user_id": 1, "sequence": [], "top_k": 1})
            assert counted(server, "ssept_requests_total") >= 302
            assert workers_of(server) == before
        assert "another one" not in server.log.read_text()
    finally:
        subprocess.run(["umount", folder], check=True)


IDLE = [0.0] * 8


@pytest.mark.parametrize(
    ("workers", "allowed", "quota", "percents", "wanted"),
    [
        (2, {0, 1, 2, 3}, None, IDLE, [[0, 1], [2, 3]]),
        (2, {1, 5, 6}, None, IDLE, [[1], [5]]),
        (3, {0, 1}, None, IDLE, [[], [], []]),
        (1, {2}, None, IDLE, [[2]]),
        (2, {0, 1, 2, 3}, 0.5, IDLE, [[], []]),
        (2, {0, 1}, None, [0.0, 90.0], [[], []]),
        (2, {0, 1}, None, [0.0, 3.0, 99.0], [[0], [1]]),
    ],
)
def test_workers_have_cpus_of_their_own_where_nothing_else_needs_them(
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    allowed: set[int],
    quota: float | None,
    percents: list[float],
    wanted: list[list[int]],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    monkeypatch.setattr(cpus, "_quota", lambda: quota)
    monkeypatch.setattr(psutil, "cpu_percent", lambda *_, **__: percents)
    assert cpus.cpus_of_workers(workers) == wanted


def test_the_terminal_of_a_server_may_be_closed(tmp_path: Path, small_checkpoint: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "ssept.cli", "serve", "--port=0", "--workers=2"]
    program = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    program += "os.execv(sys.argv[1], sys.argv[1:])"
    variables = os.environ | to_environment(settings_of(small_checkpoint))
    with subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables,
        cwd=ROOT,
    ) as process:
        os.close(theirs)
        text = ""
        while "Ctrl-C" not in text:
            text += os.read(ours, 4096).decode()
        port = int(text.partition(f"{ADDRESS}:")[2].partition(",")[0])
        workers = psutil.Process(process.pid).children()
        os.close(ours)
        for _ in range(3):
            assert answer_to(port).startswith(b"HTTP/1.1 200 ")
        assert process.poll() is None
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
        assert not psutil.wait_procs(workers, WAIT_SECONDS)[1]
