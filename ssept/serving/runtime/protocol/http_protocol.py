"""uvicorn's HTTP protocol with limits on head size, time, pipelining and connections."""

import asyncio
from typing import Any
from weakref import WeakSet

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ssept.serving.app import Application
from ssept.serving.http_api.asgi import CLOSE, RefusedError, refused
from ssept.serving.runtime.protocol.direct_cycle import REFUSED, DirectCycle
from ssept.serving.runtime.protocol.heads import origin_form, size, without_upgrade
from ssept.serving.runtime.protocol.lingering import LingeringTransport
from ssept.serving.runtime.protocol.room import longest_waiting
from ssept.serving.runtime.sockets import take_all_of

MOST_HEAD_BYTES = 1 << 16
HEAD_SECONDS = 10
MOST_PIPELINED = 64
TOO_LONG = f"The head is longer than {MOST_HEAD_BYTES} bytes."
NO_REQUEST = "The data are not a valid HTTP request."
VERSIONS = ("1.1", "1.0")
NO_VERSION = "The HTTP version is not supported; expected 1.1 or 1.0."
NOTHING, HEAD, BODY = range(3)  # of a request, that has begun to come


class StopError(Exception):
    """The rest of what has been received is not to be parsed."""


class LimitedProtocol(HttpToolsProtocol):
    """An HTTP/1.1 connection with limits.

    Under overload most of the work would be to refuse requests: an ASGI scope, a task and messages
    for each of them. So a refused request gets its answer here, as soon as its head has been read,
    and one to the routes under load that arrives whole is answered without ASGI too.

    However the input ends (the client closes its half, bad data, too many requests), the requests
    that have arrived whole are answered first.

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
        self._begun_bytes = 0  # read before the others, behind a request
        self._waited_for: WeakSet[Any] = WeakSet()  # cycles that pipelined ones waited for
        self._timer: asyncio.TimerHandle | None = None
        self._input_ended = False
        self._last = b""  # an answer behind all others
        self.url = b""
        self.transport: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        take_all_of(transport.get_extra_info("socket"))
        super().connection_made(LingeringTransport(transport, self.loop))
        self._allow(HEAD_SECONDS)
        if len(self.connections) > self._most:
            self._make_room()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, LimitedProtocol)]
        others.remove(self)
        for one in longest_waiting(others, self._most) or [self]:
            self.connections.discard(one)  # the loop closes it later, and may accept more before
            one.timeout_keep_alive_handler()

    def waiting_since(self) -> float:
        """Return when the connection began to wait for its client, on the loop's clock."""
        if self._timer is not None:
            return self._timer.when() - HEAD_SECONDS
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and let no request write an answer."""
        self._stop_timer()
        self._unset_keepalive_if_required()  # after a reset uvicorn lets it hold the connection
        self.transport.connection_lost()
        self.pipeline.clear()
        for cycle in self._waited_for:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data; a head that is too long, or stays incomplete, closes the connection."""
        before, self._read_bytes = self._read_bytes, len(data)
        if self._input_ended or self.transport.is_closing():
            self.transport.discard(self._read_bytes)
            return
        if self._coming == NOTHING:
            self._stop_timer()
            self._coming, self._other_bytes, self._begun_bytes = HEAD, 0, before
        self._other_bytes += self._read_bytes
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._coming and not self._input_ended and not self.transport.is_closing():
            if self._coming == BODY and isinstance(self.cycle, DirectCycle):
                self._pass_to_asgi(self.cycle)
            if self._other_bytes > MOST_HEAD_BYTES:
                self._refuse(431, TOO_LONG)
            elif self._timer is None and (self._coming == HEAD or self.is_free):
                self._allow(HEAD_SECONDS)

    def _parse(self, data: bytes) -> None:
        """Parse data.

        The parser takes all that is behind the head of an Upgrade for another protocol. So it gets
        that head again, without Upgrade.
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method, version = self.parser.get_method(), self.parser.get_http_version()
                head = without_upgrade(method, self.url, version, self.headers)
                data = head + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                # As uvicorn does it: else it fails at what follows `Connection: close`.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self._refuse(400, NO_REQUEST)
                return

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what has arrived whole, although the client closed its sending half."""
        self.transport.eof_received()
        if not self._input_ended and not self.transport.is_closing():
            self._end_input()
        return not self.transport.is_closing()  # whether it stays open

    def on_headers_complete(self) -> None:
        """Refuse the request at once, or pass it to the application."""
        # Each of them may be a part of the head; counting it exactly takes longer.
        most = self._begun_bytes + self._other_bytes + self._read_bytes
        if most > MOST_HEAD_BYTES and size(self.url, self.headers) > MOST_HEAD_BYTES:
            self._refuse(431, TOO_LONG)
            raise StopError
        self._check_head()
        if self.parser.should_upgrade():
            return  # it comes again
        self._other_bytes = 0
        if self._timer is not None:
            self._stop_timer()
        before = self.cycle
        if (
            (before is None or before.response_complete)
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
            and (found := self._application.without_asgi(self.url, self.scope))  # type: ignore[arg-type]
        ):
            if isinstance(found, bytes):
                self._coming = BODY
                self.cycle = REFUSED  # so that uvicorn passes over the body
                self.transport.write(found)
                self.on_response_complete()
                return
            if self._is_plain:
                self._coming = BODY
                path = self.url.decode("ascii")
                self.cycle = DirectCycle(self._application, found, self, path)  # type: ignore[assignment]
                return
        super().on_headers_complete()
        self._coming = BODY
        if self.pipeline:
            self._waited_for.add(before)
            if len(self.pipeline) > MOST_PIPELINED:
                self._end_input()
                raise StopError

    @property
    def _is_plain(self) -> bool:
        """Whether a request wants nothing that ASGI, or uvicorn's cycle, is needed for."""
        return (
            self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.access_log
        )

    def _pass_to_asgi(self, waiting: DirectCycle) -> None:
        """Let ASGI answer a request whose body comes in parts."""
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        super().on_body(bytes(waiting.body))  # some, or none yet

    def _check_head(self) -> None:
        """Refuse versions, methods and targets that uvicorn would let through."""
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            self._refuse(505, NO_VERSION)
            raise StopError
        if self.parser.get_method() == b"CONNECT":  # only a proxy can do it
            raise StopError
        if version == "1.0":
            self.expect_100_continue = False  # which HTTP/1.0 does not know
        if not self.url.startswith((b"/", b"*")):
            target = origin_form(self.url, self.headers)
            if target is None:
                raise StopError
            self.url = target

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._other_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on to the next request."""
        if self.parser.should_upgrade():
            return
        self._coming = NOTHING
        if self._timer is not None:
            self._stop_timer()
        super().on_message_complete()
        if isinstance(self.cycle, DirectCycle):
            self.cycle.start(self.headers)
            if self.transport.is_closing():
                raise StopError

    def on_response_complete(self) -> None:
        """Go on to the next answer; after the last one of an input that has ended, close."""
        is_last = self._input_ended and not self.pipeline
        super().on_response_complete()
        if is_last:
            self._finish()

    def _refuse(self, status: int, message: str) -> None:
        """Refuse data, after the answers to requests before it."""
        if not self._input_ended and not self.transport.is_closing():
            path = self.url.decode("latin-1")
            self._end_input(refused(RefusedError(status, message, [CLOSE]), path))

    def _end_input(self, last: bytes = b"") -> None:
        """Take no more requests; write `last` after the answers to those that are whole."""
        waits = not self.is_free
        if self._coming == BODY:  # of a request that never becomes whole
            if self.cycle.response_started:
                last = b""  # that would be its second answer
            elif self.pipeline:
                self.pipeline.popleft()
            else:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                waits = False
        self._input_ended, self._last = True, last
        if not waits:
            self._finish()

    def _finish(self) -> None:
        if self._last and not self.transport.is_closing():
            self.transport.write(self._last)
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection, after the answer to a request."""
        waits = self.is_free and not self.transport.is_closing()
        if waits and not self.transport.get_write_buffer_size():
            self.transport.close_now()
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection; what its client has not read by now is lost."""
        self.transport.close_now()

    @property
    def is_free(self) -> bool:
        """Whether no request waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def _allow(self, seconds: float) -> None:
        """Close the connection after some seconds, unless a request is being answered."""
        self._timer = self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        if not self.is_free:
            self._allow(seconds)
        elif self._coming == BODY:
            self.transport.close()  # its answer may still be on the way
        else:
            self.timeout_keep_alive_handler()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
