"""The supervisor: it starts, replaces and stops several server processes on one address."""

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ssept.children import command
from ssept.errors import ServerError
from ssept.serving.core.registry import load_models
from ssept.serving.core.worker_memory import allocated
from ssept.serving.runtime.cpus import cpus_of_workers
from ssept.serving.runtime.open_connections import shared_bytes
from ssept.serving.runtime.sockets import refuse_new
from ssept.serving.runtime.substitute import Substitute
from ssept.serving.runtime.uvicorn_server import configure_logging, describe
from ssept.serving.settings import ServerSettings
from ssept.signals import handled

LOG = logging.getLogger("ssept.serving")
STEADY_SECONDS = 60  # a worker that has answered for so long was sound
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
MOST_FAILURES = 5  # of each place in a row; the pauses between them take 4 s
PATIENCE_SECONDS = 4  # that clients wait for a worker that starts, before they get 503
KILLED = (-signal.SIGKILL, -signal.SIGTERM)


@dataclass(eq=False)
class WorkerProcess:
    """A server process, ready or still starting.

    Attributes:
        pipe: a file descriptor that is readable once it answers, and ends with it.
        answers_since: on the clock of `time.monotonic`; None while it starts.
    """

    process: "subprocess.Popen[bytes]"
    pipe: int
    answers_since: float | None = None


@dataclass(eq=False)
class Place:
    """The place of a worker.

    Attributes:
        number: which one.
        cpus: its worker's; none to let the kernel choose.
        worker: None before it is started.
        failures: of its workers in a row.
        next_start: on the clock of `time.monotonic`; none starts before.
    """

    number: int
    cpus: list[int]
    worker: WorkerProcess | None = None
    failures: int = 0
    next_start: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether its worker answers."""
        return self.worker is not None and self.worker.answers_since is not None

    def count(self, status: int) -> None:
        """Count the end of its worker, and decide when another one starts.

        To kill a worker that answers is somebody's right, and no fault of the worker.
        """
        since = self.worker.answers_since if self.worker else None
        steady = since is not None and time.monotonic() - since > STEADY_SECONDS
        if since is not None and status in KILLED:
            self.failures = 0
        else:
            self.failures = 1 if steady else self.failures + 1
            pause = FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10)
            self.next_start = time.monotonic() + min(pause, LONGEST_PAUSE_SECONDS)
        self.worker = None


class Supervisor:
    """Supervises a fixed number of workers.

    A worker that ends by itself is replaced: again and again with growing pauses while others
    answer, and up to MOST_FAILURES times while none does. SIGTERM and SIGINT stop all workers, a
    second signal stops them at once; SIGHUP makes each worker reload its models.
    """

    def __init__(
        self,
        listener: socket.socket,
        count: int,
        memory: int,
        access_log: bool,
        ready: Callable[[], None],
    ) -> None:
        """Prepare it.

        Args:
            listener: of `ssept.serving.runtime.sockets.listen_at`.
            count: how many workers.
            memory: a descriptor of `allocated`, for what they count.
            access_log: whether they log each request.
            ready: called once, when all of them answer.
        """
        self._listener = listener
        self._memory = memory
        self._access_log = access_log
        self._ready = ready
        self._places = [Place(*one) for one in enumerate(cpus_of_workers(count))]
        self._selector = selectors.DefaultSelector()
        self._substitute = Substitute(listener, self._selector)
        self._parent, self._own_end = os.pipe()  # which only the end of this process closes
        self._was_ready = self._ending = False
        self._silent_since: float | None = None  # when the last worker that answered ended
        self._failure = ""

    def run(self) -> None:
        """Start the workers; returns when they have ended after SIGTERM or SIGINT.

        Raises:
            ServerError: a worker ended before all workers were ready, or none stays; the error of
                the worker is in the log.
        """
        configure_logging(self._access_log)
        with self._selector, _signals() as signals:
            self._selector.register(
                signals, selectors.EVENT_READ, lambda: self._receive(signals.recv(1)[0])
            )
            while self._workers or not self._ending:
                self._fill()
                for key, _ in self._selector.select(self._pause()):
                    key.data()
        if self._failure:
            raise ServerError(self._failure)

    @property
    def _workers(self) -> list[WorkerProcess]:
        return [place.worker for place in self._places if place.worker]

    def _fill(self) -> None:
        """Start the missing workers whose time it is."""
        for place in self._places:
            if not self._ending and not place.worker and place.next_start <= time.monotonic():
                self._start(place)

    def _pause(self) -> float | None:
        """Return the seconds until there is something to do without being told; None for never."""
        if self._ending:
            return None
        now = time.monotonic()
        times = [place.next_start for place in self._places if not place.worker]
        if self._silent_since is not None:
            until = self._silent_since + PATIENCE_SECONDS
            self._substitute.switch(now >= until)
            times += [until] if now < until else []
        return max(min(times) - now, 0) if times else None

    def _start(self, place: Place) -> None:
        pipe, writer = os.pipe()
        inherited = (self._listener.fileno(), writer, self._parent, self._memory)
        others = (place.number, len(self._places), int(self._access_log))
        try:
            process = subprocess.Popen(  # noqa: S603
                command("ssept.serving.runtime.worker", *inherited, *others),
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which passes it on
            )
        except OSError as error:
            os.close(pipe)
            self._replace(place, error.errno or 1, f"a worker cannot be started: {error.strerror}")
            return
        finally:
            os.close(writer)
        if place.cpus:
            with contextlib.suppress(OSError):  # a sandbox may refuse it; it costs a little speed
                os.sched_setaffinity(process.pid, place.cpus)
        place.worker = WorkerProcess(process, pipe)
        self._selector.register(pipe, selectors.EVENT_READ, partial(self._read, place))

    def _read(self, place: Place) -> None:
        """React to a worker that answers from now on, or has ended."""
        worker = place.worker
        assert worker is not None
        if os.read(worker.pipe, 1):
            worker.answers_since = time.monotonic()
            self._silent_since = None
            self._substitute.switch(False)
            if not self._was_ready and all(one.answers for one in self._places):
                self._was_ready = True
                self._ready()
            return
        self._selector.unregister(worker.pipe)
        os.close(worker.pipe)
        status = worker.process.wait()
        self._replace(place, status, f"worker {worker.process.pid} ended with {status}")

    def _replace(self, place: Place, status: int, what: str) -> None:
        """Decide what follows the end of a worker."""
        place.count(status)
        if self._ending:
            return
        answered = any(one.answers for one in self._places)
        if not self._was_ready:
            self._failure = f"{what} before the server was ready, see above; others were stopped"
        elif not answered and all(one.failures >= MOST_FAILURES for one in self._places):
            self._failure = f"{what}, like those before it, see above; no worker is left"
        if self._failure:
            self._end()
            return
        LOG.error("%s; starting another one", what)
        if not answered and self._silent_since is None:
            self._silent_since = time.monotonic()

    def _receive(self, number: int) -> None:
        if number == signal.SIGHUP:
            for place in self._places:
                if place.worker and place.answers:  # else it loads what is newest anyway
                    place.worker.process.send_signal(signal.SIGHUP)
        elif self._ending:
            for worker in self._workers:
                worker.process.kill()
        else:
            self._end()

    def _end(self) -> None:
        self._ending = True
        refuse_new(self._listener)
        self._substitute.switch(False)
        for worker in self._workers:
            worker.process.terminate()


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
    with allocated(count * shared_bytes(settings)) as memory:
        Supervisor(listener, count, memory, access_log, lambda: ready(line)).run()


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
