"""However a server ends or reloads, no request that has arrived goes without its whole answer."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import uvloop

from ssept.data.dataset import Dataset
from ssept.errors import ServerError
from ssept.serving.launch import supervised
from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.runtime.sockets import listen_at, readable, refuse_new, take_all_of
from ssept.serving.settings import ServerSettings
from tests.conftest import untrained
from tests.helpers.servers.serve_clients import (
    ADDRESS,
    Client,
    Counts,
    ask,
    load,
    refused,
    request_of,
)
from tests.helpers.servers.wire import served

# SSEPT_TEST_TIMES=20 for the full promise, 300 for the storm.
TIMES = range(int(os.environ.get("SSEPT_TEST_TIMES", "3")))
WAIT_SECONDS = 60
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def until(what: Callable[[], object]) -> None:
    """Poll until it is so."""
    end = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(server: SseptServer, words: str, times: int = 1) -> bool:
    """Whether its log has a text a number of times."""
    return server.log.read_text().count(words) == times


def has_answered(counts: Counts, times: int) -> bool:
    return counts.answered >= times


@contextlib.contextmanager
def small_server(
    checkpoint: Path, log: Path, workers: int = 1, deadline_ms: float = 10_000
) -> Iterator[SseptServer]:
    """A server of the small model; that it is too slow is no matter of these tests."""
    settings = ServerSettings(model=checkpoint, max_wait_ms=10_000, deadline_ms=deadline_ms)
    with running(settings, log, workers=workers) as server:
        yield server


def processes_of(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def ended(server: SseptServer) -> str:
    """Wait for its end; returns how it did."""
    with pytest.raises(ServerError) as caught:
        server.wait()
    return str(caught.value)


@pytest.mark.slow
@WORKERS
@pytest.mark.parametrize("time", TIMES)
def test_told_to_end_under_load_it_answers_all_that_arrived(
    tmp_path: Path, small_checkpoint: Path, workers: int, time: int
) -> None:
    with small_server(small_checkpoint, tmp_path / "log", workers) as server:
        processes = processes_of(server.pid)
        with load(server.port) as counts:
            until(lambda: has_answered(counts, 200))
            os.kill(server.pid, signal.SIGTERM)
            assert "ended with 0" in ended(server)
    print(f"SIGTERM: {counts}")
    assert not counts.lost
    assert set(counts.statuses) == {200}
    assert counts.closing
    assert refused(server.port)
    assert not psutil.wait_procs(processes, WAIT_SECONDS)[1]
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_told_to_end_in_a_storm_of_new_connections_it_resets_none() -> None:
    storm = (*[Client(reuse=False)] * 30, *[Client()] * 5)
    total = Counts()
    for _ in TIMES:
        with (
            contextlib.closing(uvloop.new_event_loop()) as loop,
            served(loop) as (port, task),
            load(port, storm) as counts,
        ):
            loop.call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
            loop.run_until_complete(task)
            assert refused(port)
        total.statuses += counts.statuses
        total.lost += counts.lost
    print(f"{len(TIMES)} SIGTERMs: {total}")
    assert not total.lost
    assert set(total.statuses) == {200}
    assert total.answered > len(TIMES)


@pytest.mark.slow
def test_answers_while_it_ends_say_so_and_it_is_not_ready(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with (
        small_server(small_checkpoint, tmp_path / "log") as server,
        socket.create_connection((ADDRESS, server.port)) as probe,
        socket.create_connection((ADDRESS, server.port)) as late,
    ):
        whole = request_of()
        late.sendall(whole[:-1])
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: refused(server.port))
        probe.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = probe.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        late.sendall(whole[-1:])
        with late.makefile("rb") as file:
            answer = file.read()  # to the end of the connection
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert "ended with 0" in ended(server)


def test_connections_that_wait_to_be_accepted_are_answered(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with small_server(small_checkpoint, tmp_path / "log") as server, contextlib.ExitStack() as all_:
        process = psutil.Process(server.pid)
        process.suspend()  # so that it accepts none of them before it is told to end
        clients = [
            all_.enter_context(socket.create_connection((ADDRESS, server.port))) for _ in range(50)
        ]
        for client in clients:
            client.sendall(request_of())
        process.terminate()
        process.resume()
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert "ended with 0" in ended(server)


def test_told_twice_it_ends_at_once(tmp_path: Path, small_checkpoint: Path) -> None:
    with (
        small_server(small_checkpoint, tmp_path / "log", deadline_ms=600_000) as server,
        socket.create_connection((ADDRESS, server.port)) as slow,
    ):
        slow.sendall(request_of()[:-1])
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: refused(server.port))
        os.kill(server.pid, signal.SIGTERM)
        assert "ended with 0" in ended(server)


@pytest.mark.slow
@WORKERS
def test_reloads_under_load_fail_no_request(
    tmp_path: Path, small_checkpoint: Path, workers: int
) -> None:
    with (
        small_server(small_checkpoint, tmp_path / "log", workers) as server,
        load(server.port) as counts,
    ):
        for time in TIMES:
            os.kill(server.pid, signal.SIGHUP)
            until(partial(said, server, "reloaded: ", workers * (time + 1)))
            until(partial(has_answered, counts, counts.answered + 20))
    print(f"SIGHUP: {counts}")
    assert not counts.lost
    assert set(counts.statuses) == {200}
    assert not counts.closing


def version(server: SseptServer) -> str:
    """Which model answers."""
    answer = ask(server.url, "/predict", {"user_id": 1, "sequence": [], "top_k": 1})
    return str(answer["model_version"])


@pytest.mark.slow
def test_a_reload_takes_what_replaced_the_checkpoint(
    tmp_path: Path, small: Dataset, small_checkpoint: Path
) -> None:
    path = Path(shutil.copy(small_checkpoint, tmp_path / "model.safetensors"))
    with small_server(path, tmp_path / "log") as server:
        before = version(server)
        untrained(small, path, item_dim=4, user_dim=4)
        assert version(server) == before
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: said(server, "reloaded: "))
        assert version(server) != before


@WORKERS
def test_a_reload_of_a_broken_checkpoint_keeps_the_model_and_says_so(
    tmp_path: Path, small_checkpoint: Path, workers: int
) -> None:
    path = Path(shutil.copy(small_checkpoint, tmp_path / "model.safetensors"))
    with small_server(path, tmp_path / "log", workers) as server:
        before = version(server)
        path.write_bytes(b"broken")
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: said(server, "reload failed", workers))
        log = server.log.read_text()
        assert f"{before} stays loaded: {path}: not a whole checkpoint file" in log
        assert "Traceback" not in log
        assert version(server) == before


def test_a_worker_that_dies_is_replaced(tmp_path: Path, small_checkpoint: Path) -> None:
    with small_server(small_checkpoint, tmp_path / "log", workers=2) as server:
        _, *before = processes_of(server.pid)
        assert len(before) == 2
        before[0].kill()
        until(lambda: {*processes_of(server.pid)[1:]} - {*before})
        (new,) = {*processes_of(server.pid)[1:]} - {*before}
        before[1].kill()
        assert version(server)  # of the new one, or the next
        for worker in before:
            assert f"worker {worker.pid} ended with -9; starting" in server.log.read_text()
        assert new.is_running()


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, small_checkpoint: Path) -> None:
    with small_server(small_checkpoint, tmp_path / "log", workers=2) as server:
        processes = processes_of(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        assert not psutil.wait_procs(processes, WAIT_SECONDS)[1]
        assert refused(server.port)


OWNER = """
import sys
from pathlib import Path
from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
with running(ServerSettings(model=Path(sys.argv[1])), Path(sys.argv[2]), workers=2) as server:
    print(server.pid, flush=True)
    {what}
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["sys.stdin.read()", "raise SystemExit(3)"])
def test_it_ends_with_its_owner(tmp_path: Path, small_checkpoint: Path, what: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER.format(what=what), small_checkpoint, tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout
        processes = processes_of(int(owner.stdout.readline()))
        assert len(processes) == 3
        watchdog = processes[0].parent()
        assert watchdog
        if "read" in what:
            owner.kill()  # no chance to clean up
    assert owner.returncode == (-signal.SIGKILL if "read" in what else 3)
    assert not psutil.wait_procs([watchdog, *processes], WAIT_SECONDS)[1]


@pytest.mark.slow
@WORKERS
def test_it_ends_with_its_watchdog(tmp_path: Path, small_checkpoint: Path, workers: int) -> None:
    with small_server(small_checkpoint, tmp_path / "log", workers) as server:
        processes = processes_of(server.pid)
        watchdog = processes[0].parent()
        assert watchdog
        watchdog.kill()
        assert "ssept serve: was stopped, because its watchdog was killed: " in ended(server)
    assert not [one for one in processes if one.is_running()]
    assert refused(server.port)


WATCHDOG = """
import errno, os, runpy
def refused(*_):
    raise OSError(errno.EPERM, "Operation not permitted")
os.pidfd_open = refused
runpy.run_path({path!r}, run_name="__main__")
"""


@pytest.mark.parametrize("what", ["its own end", "stop", "owner"])
def test_the_watchdog_does_without_file_descriptors_of_processes(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    program = tmp_path / "watchdog.py"
    program.write_text(WATCHDOG.format(path=str(supervised.WATCHDOG)))
    monkeypatch.setattr(supervised, "WATCHDOG", program)
    with small_server(small_checkpoint, tmp_path / "log") as server:
        processes = processes_of(server.pid)
        if what == "its own end":
            os.kill(server.pid, signal.SIGKILL)
            assert "was ended by signal 9" in ended(server)
        elif what == "owner":
            server._watchdog.stdin.close()  # as the system does
            assert not psutil.wait_procs(processes, WAIT_SECONDS)[1]
    assert not [one for one in processes if one.is_running()]


@pytest.mark.parametrize("host", [ADDRESS, "::1"])
def test_what_waits_to_be_accepted_stays_when_new_connections_are_refused(host: str) -> None:
    with listen_at(host, 0) as listener, socket.socket(listener.family) as late:
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as early:
            early.sendall(b"early")
            refuse_new(listener)
            late.setblocking(False)
            assert late.connect_ex(listener.getsockname()) == errno.EINPROGRESS
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(5) == b"early"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()
        late.setblocking(True)
        late.settimeout(WAIT_SECONDS)
        with pytest.raises(ConnectionRefusedError):
            late.recv(1)


@pytest.mark.parametrize("host", [ADDRESS, "::1"])
def test_a_handshake_that_has_begun_goes_on_when_new_ones_are_refused(host: str) -> None:
    with listen_at(host, 0) as listener:
        # So that the kernel completes it with the first data, after new ones are refused.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, WAIT_SECONDS)
        listener.listen()
        listener.settimeout(WAIT_SECONDS)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            assert not readable(listener)
            refuse_new(listener)
            client.sendall(b"first")
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(WAIT_SECONDS)
                assert accepted.recv(5) == b"first"
                client.sendall(b"dropped once")
                assert not readable(accepted)
                take_all_of(accepted)
                assert accepted.recv(12) == b"dropped once"
