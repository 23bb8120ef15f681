"""The supervisor: it starts, replaces and stops several server processes on one address.

`python -m ssept.serving.runtime.supervisor LISTENER STARTED PARENT ACCESS_LOG` runs a worker:
LISTENER and STARTED are inherited file descriptors, PARENT is the supervisor's process id.
"""

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prometheus_client import multiprocess

from ssept.children import command
from ssept.errors import ServerError, SseptError
from ssept.files.owned import mark, remove
from ssept.serving.core.registry import load_models
from ssept.serving.core.telemetry import METRICS_VARIABLE
from ssept.serving.runtime.sockets import refuse_new
from ssept.serving.runtime.uvicorn_server import configure_logging, describe
from ssept.serving.runtime.uvicorn_server import serve as answer
from ssept.serving.settings import ServerSettings, from_environment
from ssept.signals import handled

LOG = logging.getLogger("ssept.serving")
RETRY_SECONDS = 5
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


@dataclass(eq=False)
class WorkerProcess:
    """A server process, ready or still starting.

    Attributes:
        place: its number, which decides its CPUs.
        ended: a file descriptor that is readable once it has ended.
        started: a file descriptor that is readable once it answers.
        answers: whether it answers.
    """

    process: "subprocess.Popen[bytes]"
    place: int
    ended: int
    started: int
    answers: bool = False


class Supervisor:
    """Supervises a fixed number of workers.

    A worker that ends by itself is replaced. SIGTERM and SIGINT stop all workers, a second signal
    stops them at once; SIGHUP makes each worker reload its models.
    """

    def __init__(
        self, listener: socket.socket, count: int, access_log: bool, ready: Callable[[], None]
    ) -> None:
        """Prepare it.

        Args:
            listener: of `ssept.serving.runtime.sockets.listen_at`.
            count: how many workers.
            access_log: whether they log each request.
            ready: called once, when all of them answer.
        """
        self._listener = listener
        self._count = count
        self._access_log = access_log
        self._ready = ready
        self._workers: set[WorkerProcess] = set()
        self._selector = selectors.DefaultSelector()
        self._was_ready = self._ending = self._failed = False
        self._next_start = 0.0  # on the clock of `time.monotonic`, seconds

    def run(self) -> None:
        """Start the workers; returns when they have ended after SIGTERM or SIGINT.

        Raises:
            ServerError: a worker ended before all workers were ready; its error is in the log.
        """
        configure_logging(self._access_log)
        with self._selector, _signals() as signals, _metrics_folder():
            self._selector.register(
                signals, selectors.EVENT_READ, lambda: self._receive(signals.recv(1)[0])
            )
            while self._workers or not self._ending:
                self._fill()
                missing = not self._ending and len(self._workers) < self._count
                for key, _ in self._selector.select(RETRY_SECONDS if missing else None):
                    key.data()
        if self._failed:
            raise ServerError("a worker did not start, see above; the others were stopped")

    def _fill(self) -> None:
        """Start the missing workers, unless the last one has just failed to start."""
        if not self._ending and time.monotonic() >= self._next_start:
            for _ in range(self._count - len(self._workers)):
                self._start()

    def _start(self) -> None:
        reader, writer = os.pipe()
        arguments = (self._listener.fileno(), writer, os.getpid(), int(self._access_log))
        process = subprocess.Popen(  # noqa: S603
            command("ssept.serving.runtime.supervisor", *arguments),
            pass_fds=(self._listener.fileno(), writer),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
        )
        os.close(writer)
        place = min(set(range(self._count)) - {worker.place for worker in self._workers})
        # Workers that the kernel moves between CPUs lose their caches and wait for one another.
        if cpus := cpus_of(place, self._count):
            os.sched_setaffinity(process.pid, cpus)
        worker = WorkerProcess(process, place, os.pidfd_open(process.pid), reader)
        self._workers.add(worker)
        for descriptor, react in (
            (worker.started, self._answers),
            (worker.ended, self._ended),
        ):
            self._selector.register(
                descriptor, selectors.EVENT_READ, lambda react=react: react(worker)
            )

    def _answers(self, worker: WorkerProcess) -> None:
        worker.answers = bool(os.read(worker.started, 1))  # nothing if it has ended instead
        self._selector.unregister(worker.started)
        all_answer = len(self._workers) == self._count and all(one.answers for one in self._workers)
        if all_answer and not self._was_ready:
            self._was_ready = True
            self._ready()

    def _ended(self, worker: WorkerProcess) -> None:
        for descriptor in (worker.started, worker.ended):
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
            os.close(descriptor)
        self._workers.remove(worker)
        status = worker.process.wait()
        multiprocess.mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
        if self._ending:
            return
        if not self._was_ready:
            self._failed = True
            self._end()
            return
        LOG.error("worker %d ended with %d; another one starts", worker.process.pid, status)
        if not worker.answers:
            self._next_start = time.monotonic() + RETRY_SECONDS

    def _receive(self, number: int) -> None:
        if number == signal.SIGHUP:
            for worker in self._workers:
                if worker.answers:  # else it loads what is newest anyway
                    worker.process.send_signal(signal.SIGHUP)
        elif self._ending:
            for worker in self._workers:
                worker.process.kill()
        else:
            self._end()

    def _end(self) -> None:
        self._ending = True
        refuse_new(self._listener)
        for worker in self._workers:
            worker.process.terminate()


def cpus_of(place: int, count: int) -> list[int]:
    """Return the CPUs of one of `count` workers; none if there are fewer CPUs than workers."""
    cpus = sorted(os.sched_getaffinity(0))
    each = len(cpus) // count
    return cpus[place * each : (place + 1) * each]


def serve(
    listener: socket.socket,
    settings: ServerSettings,
    access_log: bool,
    ready: Callable[[str], None],
    count: int,
) -> None:
    """Serve as `ssept.serving.runtime.uvicorn_server.serve`, with several processes.

    Raises:
        SseptError: as there; or a worker does not start.
    """
    # Load them here first: models are built once, and an error is reported once.
    line = describe(settings, load_models(settings), listener)
    Supervisor(listener, count, access_log, lambda: ready(line)).run()


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield a socket that receives the number of each signal to this process, as a byte."""
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    before = signal.set_wakeup_fd(pythons.fileno())
    try:
        with handled(lambda *_: None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            yield ours
    finally:
        signal.set_wakeup_fd(before)
        ours.close()
        pythons.close()


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    """Make the folder of the workers' counters, which any of them can sum."""
    with tempfile.TemporaryDirectory(prefix="ssept-metrics-", ignore_cleanup_errors=True) as name:
        mark(Path(name))
        os.environ[METRICS_VARIABLE] = name
        try:
            yield
        finally:
            del os.environ[METRICS_VARIABLE]


def main() -> int:
    """Run a worker as the arguments describe it."""
    listener, ready, parent, access_log = map(int, sys.argv[1:])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    # A parent that is killed cannot stop its workers.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    try:
        with socket.socket(fileno=listener) as one, os.fdopen(ready, "wb", 0) as parents:
            answer(one, from_environment(), bool(access_log), lambda _: _report(parents), False)
    except SseptError as error:
        print(f"ssept: error: {error}", file=sys.stderr)
        return 1
    finally:
        if os.getppid() != parent:
            remove(Path(os.environ[METRICS_VARIABLE]))
    return 0


def _report(parent: IO[bytes]) -> None:
    parent.write(b"1")


if __name__ == "__main__":
    sys.exit(main())
