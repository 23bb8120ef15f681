"""uvicorn's HTTP protocol with limits on head size, time, pipelining and connections."""

import asyncio
import heapq
import resource
from pathlib import Path
from typing import Any
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ssept.serving.app import Application
from ssept.serving.http_api.asgi import CLOSE, RefusedError, whole

MOST_HEAD_BYTES = 1 << 16
HEAD_SECONDS = 10
MOST_PIPELINED = 64
MOST_CONNECTIONS = 4096  # of a process
AT_ONCE = 64  # the part of them that may be closed together is 1 / AT_ONCE
SPARE_FILES = 32  # file descriptors that are for something else
TOO_LONG = f"The head is longer than {MOST_HEAD_BYTES} bytes."
NOTHING, HEAD, BODY = range(3)  # of a request, that has begun to come


def most_connections() -> int:
    """Return how many connections leave enough file descriptors for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    in_use = len(list(Path("/dev/fd").iterdir()))
    return max(1, min(MOST_CONNECTIONS, limit - in_use - SPARE_FILES))


class StopError(Exception):
    """The rest of what has been received is not to be parsed."""


class LimitedProtocol(HttpToolsProtocol):
    """An HTTP/1.1 connection with limits.

    Under overload most of the work would be to refuse requests: an ASGI scope, a task and messages
    for each of them. So a refused request gets its answer here, as soon as its head has been read.

    The kernel disconnects a client that does not read its answer: see `sockets.listen_at`.
    """

    def __init__(self, app: Application, most: int, **of_uvicorn: Any) -> None:
        """Prepare the connection.

        Args:
            app: the application, which knows when it is overloaded.
            most: the largest number of connections.
            of_uvicorn: uvicorn's own arguments.
        """
        super().__init__(**of_uvicorn)
        self._application = app
        self._most = most
        self._coming = NOTHING
        self._other_bytes = 0  # of a head, or in a row within a body, that are no content
        self._read_bytes = 0  # at a time
        self._waited_for: WeakSet[Any] = WeakSet()  # cycles that pipelined ones waited for
        self._timer: asyncio.TimerHandle | None = None
        self.url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._allow(HEAD_SECONDS)
        if len(self.connections) > self._most:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connections that have waited longest for their clients.

        A client whose connection is closed between requests opens a new one, and an idle client
        keeps nobody out. Several are closed together, because the search for them takes a while.
        """
        free: list[LimitedProtocol] = [
            one
            for one in self.connections
            if isinstance(one, LimitedProtocol) and one is not self and one._is_free
        ]
        count = max(1, self._most // AT_ONCE)
        longest = heapq.nsmallest(count, free, key=LimitedProtocol._waiting_since)
        for one in longest or [self]:
            self.connections.discard(one)  # the loop closes it later, and may accept more before
            one.timeout_keep_alive_handler()

    def _waiting_since(self) -> float:
        """Return when the connection began to wait for its client, on the loop's clock."""
        if self._timer is not None:
            return self._timer.when() - HEAD_SECONDS
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and let no request write an answer."""
        self._stop_timer()
        self.pipeline.clear()
        for cycle in self._waited_for:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data; a head that is too long, or stays incomplete, closes the connection."""
        self._read_bytes = len(data)
        if self._coming == NOTHING:
            self._stop_timer()
            self._coming, self._other_bytes = HEAD, 0
        self._other_bytes += self._read_bytes
        super().data_received(data)
        if self._coming and not self.transport.is_closing():
            if self._other_bytes > MOST_HEAD_BYTES:
                self.send_400_response(TOO_LONG)
            elif self._timer is None and (self._coming == HEAD or self._is_free):
                self._allow(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Refuse the request at once, or pass it to the application."""
        if (
            self._other_bytes > MOST_HEAD_BYTES
            or self._read_bytes > MOST_HEAD_BYTES  # of which the head may be any part
        ) and self._head_bytes() > MOST_HEAD_BYTES:
            self.send_400_response(TOO_LONG)
            raise StopError
        self._coming, self._other_bytes = BODY, 0
        if self._timer is not None:
            self._stop_timer()
        before = self.cycle
        if (
            (before is None or before.response_complete)
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
            and (answer := self._application.refusal(self.url, self.scope))  # type: ignore[arg-type]
        ):
            self.cycle = REFUSED  # so that uvicorn passes over the body
            self.transport.write(answer)
            self.on_response_complete()
            return
        super().on_headers_complete()
        if self.pipeline:
            self._waited_for.add(before)
            if len(self.pipeline) > MOST_PIPELINED:
                self.transport.abort()
                raise StopError

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._other_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on to the next request."""
        self._coming = NOTHING
        if self._timer is not None:
            self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid data; without an answer if that could be taken for another request's."""
        if self.transport.is_closing():
            return
        begun = self.cycle.response_started if self._coming == BODY else not self._is_free
        if not begun and not self.pipeline:
            path = self.url.decode("latin-1")
            self.transport.write(whole(RefusedError(400, msg, [CLOSE]), path))
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection; what its client has not read by now is lost."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    @property
    def _is_free(self) -> bool:
        """Whether no request waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def _allow(self, seconds: float) -> None:
        """Close the connection after some seconds, unless a request is being answered."""
        self._timer = self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        if self._is_free:
            self.timeout_keep_alive_handler()
        else:
            self._allow(seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Refused:
    """A stand-in for uvicorn's cycle of a request that has been answered."""

    response_started = response_complete = True
    disconnected = False
    message_event = asyncio.Event()


REFUSED: Any = _Refused()
