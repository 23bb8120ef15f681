"""Requests that are answered without ASGI."""

import asyncio
import time
from typing import Any

from ssept.serving.app import LATE, Application
from ssept.serving.http_api.asgi import CLOSE, Headers, RefusedError, too_long, whole
from ssept.serving.http_api.direct import Pending, Route


class DirectCycle:
    """A request to one of the routes under load, which has arrived whole.

    It stands where uvicorn has a cycle for ASGI. A task, the messages and the checks of headers
    that we made ourselves would cost the event loop as much as parsing the request.

    Attributes:
        body: what has come of it.
        keep_alive: whether the connection goes on behind the answer.
        disconnected: whether nobody waits for the answer any more.
        more_body, message_event, response_started, response_complete: as of uvicorn's cycle.
    """

    __slots__ = (
        "__weakref__",
        "_app",
        "_connection",
        "_path",
        "_pending",
        "_route",
        "_start",
        "_timer",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
    )
    message_event = asyncio.Event()  # that nobody waits for

    def __init__(self, app: Application, route: Route, connection: Any, path: str) -> None:
        """Prepare it, at the end of the head.

        Args:
            app: the application.
            route: what answers.
            connection: a `LimitedProtocol`.
            path: of the request.
        """
        self._app = app
        self._connection = connection
        self._path = path
        self._pending: Pending | None = None
        self._route = route
        self._start = time.perf_counter()
        self._timer: asyncio.TimerHandle | None = None
        self.body = bytearray()
        self.disconnected = False
        self.keep_alive = self.more_body = True
        self.response_started = self.response_complete = False

    def start(self, headers: Headers) -> None:
        """Queue the request, now that its body is there."""
        limit = self._route.limit()
        try:
            if len(self.body) > limit:  # which a chunked one has not said before
                raise too_long(limit)
            self._pending = self._route.begin(bytes(self.body), headers)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer
            self._refuse(self._app.refusal(error, "POST", self._path))
            return
        self._timer = self._connection.loop.call_later(self._app.deadline, self._late)
        for job in self._pending.jobs:
            job.answer.add_done_callback(self._look)

    def _look(self, _: "asyncio.Future[Any]") -> None:
        """Answer, if that was the last job."""
        pending, timer = self._pending, self._timer
        assert pending
        assert timer
        if self.response_complete or not pending.is_done:
            return
        timer.cancel()
        try:
            body, headers = pending.answer()
        except Exception as error:  # noqa: BLE001  # as above
            self._refuse(self._app.refusal(error, "POST", self._path))
        else:
            self._write(200, body, headers)
        finally:
            pending.end()

    def _late(self) -> None:
        self._app.telemetry.refused.labels("deadline").inc()
        self._refuse(LATE)
        if self._pending:
            self._pending.end()

    def _refuse(self, error: RefusedError) -> None:
        if CLOSE in error.headers:
            self.keep_alive = False
        headers = [header for header in error.headers if header != CLOSE]
        self._write(error.status, error.body(self._path), headers)

    def _write(self, status: int, body: bytes, headers: Headers) -> None:
        self.response_started = self.response_complete = True
        self._app.telemetry.answered(self._route.name, status, time.perf_counter() - self._start)
        if self.disconnected:
            return
        # The date; CLOSE too once the server shuts down.
        first: list[tuple[bytes, bytes]] = self._connection.server_state.default_headers
        closes = not self.keep_alive or CLOSE in first
        more = [CLOSE] if closes and CLOSE not in first else []
        transport = self._connection.transport
        transport.write(whole(status, body, [*first, *headers, *more]))
        if closes:
            transport.close()
        self._connection.on_response_complete()


class _Refused:
    """A stand-in for uvicorn's cycle of a request that has been answered."""

    response_started = response_complete = True
    disconnected = False
    message_event = asyncio.Event()


REFUSED: Any = _Refused()
