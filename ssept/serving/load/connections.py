"""Keep-alive connections that post requests, and record when each was answered.

The least that an open loop needs, because the client shares the machine with the server: one epoll,
requests made beforehand, and of an answer only the status and its end are read.
"""

import operator
import random
import select
import socket
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssept.errors import LoadError
from ssept.serving.load.http_answer import body_of, closes, status_of

CLOSED, UNSENT = -1, -2  # in the place of a status
KINDS = {CLOSED: "closed without an answer", UNSENT: "no connection was free"}
OK = 200
SAMPLE = 1000  # answers of a load that are kept
CONNECT_SECONDS = 5
PATIENCE_SECONDS = 10
CHUNK_BYTES = 1 << 16


class Log:
    """Times and status of each request, by its number; `time.perf_counter`, seconds.

    Answers are kept of a random sample, chosen so that no server can know it, and of any request
    whose answer has what JSON writes for NaN.

    Attributes:
        asked: when it was to be sent, by the one who sends.
        sent: when a connection was free and it was written.
        ended: when its answer was there.
        status: the answer's, or one of `KINDS`.
        answers: the bodies of the kept ones, which have a good status.
    """

    def __init__(self, requests: int) -> None:
        self.asked = array("d", bytes(8 * requests))
        self.sent = array("d", bytes(8 * requests))
        self.ended = array("d", bytes(8 * requests))
        self.status = array("h", bytes(2 * requests))
        self.answers: dict[int, bytes] = {}
        chosen = random.SystemRandom().sample(range(requests), min(requests, SAMPLE))
        self._sample = frozenset(chosen)

    def keep(self, number: int, answer: bytes) -> None:
        """Keep an answer if it is to be looked at afterwards."""
        if number in self._sample or (
            (b"null" in answer or b"NaN" in answer) and len(self.answers) < 2 * SAMPLE
        ):
            self.answers[number] = body_of(answer)

    def errors(self) -> dict[str, int]:
        """Count the failed requests by kind."""
        counts = sorted(Counter(self.status).items())
        return {KINDS.get(status, str(status)): n for status, n in counts if status != OK}

    def waited(self) -> int:
        """Count the requests that found no connection free."""
        return sum(map(operator.gt, self.sent, self.asked))


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    number: int | None = None  # of the request under way
    received: bytes = b""


class Connections:
    """A fixed number of connections. One thread may send while another one polls.

    A request that finds no connection free waits for one, and counts as sent when it gets it: the
    log has the delay.
    """

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        bodies: Sequence[bytes],
        count: int,
        log: Log,
        answered: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Connect.

        Args:
            address: the server's host and port.
            path: to post to.
            bodies: request n has the body n modulo their number.
            count: of connections.
            log: to note requests in.
            answered: called with a request's number when it is over, however it ended.

        Raises:
            LoadError: the server cannot be reached.
        """
        self.left = len(log.status)  # requests that are not over
        self._address = address
        self._where = f"{address[0]}:{address[1]}{path}"
        self._requests = [_request(address, path, body) for body in bodies]
        self._log = log
        self._answered = answered
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._open: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[int] = deque()
        self._next_check = 0.0
        for _ in range(count):
            self._idle.append(self._connect())

    def __enter__(self) -> "Connections":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open.values():
            connection.socket.close()
        self._epoll.close()

    def send(self, number: int) -> None:
        """Send a request, or have it wait for a connection."""
        now = self._log.asked[number] = time.perf_counter()
        with self._lock:
            if not self._idle:
                self._waiting.append(number)
                return
            # The one that has been idle longest: the server sees all of its clients.
            connection = self._idle.popleft()
            connection.number = number
        self._write(connection, number, now)

    def drop_waiting(self) -> None:
        """End the requests that still wait for a connection, as not sent."""
        with self._lock:
            dropped = [*self._waiting]
            self._waiting.clear()
        for number in dropped:
            self._log.ended[number] = self._log.sent[number] = time.perf_counter()
            self._note(number, UNSENT)

    def poll(self, seconds: float) -> None:
        """Read the answers that have arrived; wait at most `seconds` for the first.

        Raises:
            LoadError: the server has gone, or a request got no answer in time.
        """
        if seconds > 0:
            # epoll's own wait has whole milliseconds.
            select.select([self._epoll], [], [], seconds)
        for place, _ in self._epoll.poll(0):
            if connection := self._open.get(place):
                self._read(connection)
        self._check_patience()

    def _check_patience(self) -> None:
        now = time.perf_counter()
        if now < self._next_check:
            return
        self._next_check = now + 1
        under_way = [one.number for one in self._open.values() if one.number is not None]
        oldest = min((self._log.sent[number] or now for number in under_way), default=now)
        if now - oldest > PATIENCE_SECONDS:
            raise LoadError(f"{self._where}: no answer within {PATIENCE_SECONDS} s")

    def _write(self, connection: _Connection, number: int, now: float) -> None:
        self._log.sent[number] = now
        try:
            connection.socket.send(self._requests[number % len(self._requests)])
        except OSError:
            return  # closed by the server: polling finds that out

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or connection.number is None:
            self._lost(connection, CLOSED)
            return
        data = connection.received + data
        status = status_of(data)
        if status is None:
            connection.received = data
            return
        connection.received = b""
        if status != OK and closes(data):
            self._lost(connection, status)
        else:
            self._over(connection, status, data)

    def _over(self, connection: _Connection, status: int, answer: bytes = b"") -> None:
        """Note a request's end, and use its connection again."""
        number = connection.number
        now = time.perf_counter()
        with self._lock:
            following = self._waiting.popleft() if self._waiting else None
            connection.number = following
            if following is None:
                self._idle.append(connection)
        if number is not None:
            self._log.ended[number] = now
            self._note(number, status)
        if following is not None:
            self._write(connection, following, now)
        if number is not None and status == OK:
            self._log.keep(number, answer)

    def _note(self, number: int, status: int) -> None:
        self._log.status[number] = status
        self.left -= 1
        self._answered(number)

    def _lost(self, connection: _Connection, status: int) -> None:
        """Replace a connection that cannot be used any more."""
        with self._lock:
            if connection.number is None:
                self._idle.remove(connection)
        self._open.pop(connection.socket.fileno())
        connection.socket.close()  # which takes it out of the epoll too
        another = self._connect()
        another.number = connection.number
        self._over(another, status)

    def _connect(self) -> _Connection:
        try:
            one = socket.create_connection(self._address, CONNECT_SECONDS)
        except OSError as error:
            raise LoadError(f"{self._where}: cannot connect: {error}") from error
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
        connection = _Connection(one)
        self._open[one.fileno()] = connection
        self._epoll.register(one, select.EPOLLIN)
        return connection


def _request(address: tuple[str, int], path: str, body: bytes) -> bytes:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {shown}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
