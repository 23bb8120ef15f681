"""uvicorn's protocol, with limits on a request's head and an answer at once to what is too much."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ssept.serving.app import Application

MOST_HEAD_BYTES = 1 << 16
HEAD_SECONDS = 10


class Protocol(HttpToolsProtocol):
    """A connection.

    Under more load than can be served most of the work would be to refuse: reading a request into
    an ASGI scope, a task for it, the answer by messages. So that there is time left to serve, a
    request that is to be refused gets its answer here, as soon as its head has been read.
    """

    def __init__(self, app: Application, **of_uvicorn: Any) -> None:
        """Prepare it.

        Args:
            app: the application, which knows when it has too much to do.
            of_uvicorn: what uvicorn gives.
        """
        super().__init__(**of_uvicorn)
        self._application = app
        self._head_bytes = 0  # of a request whose head has not all come
        self._passing = False  # over the body of a request that was refused
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._allow(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read; a head that is too long, or does not come to its end, ends the connection."""
        if self._is_free and not self._passing:
            if not self._head_bytes:
                self._stop_timer()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes and self.parser is not None:  # it would be 0 with the head complete
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response(f"The head is longer than {MOST_HEAD_BYTES} bytes.")
            elif self._timer is None:
                self._allow(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Refuse the request at once, or have it answered."""
        self._head_bytes = 0
        self._stop_timer()
        answer = self._application.refusal(self.url)
        if answer is None or not self._is_free or not self.parser.should_keep_alive():
            super().on_headers_complete()
            return
        self.cycle = REFUSED  # so that uvicorn passes over the body
        self._passing = True
        self._allow(HEAD_SECONDS)
        self.transport.write(answer)
        self.on_response_complete()

    def on_message_complete(self) -> None:
        """Go on to the next request."""
        if self._passing:
            self._passing = False
            self._stop_timer()
        super().on_message_complete()

    @property
    def _is_free(self) -> bool:
        """Whether no request waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def _allow(self, seconds: float) -> None:
        """Close the connection when so many seconds have passed."""
        self._timer = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Refused:
    """In the place of uvicorn's cycle of a request that has been answered."""

    response_complete = True
    disconnected = False
    message_event = asyncio.Event()


REFUSED: Any = _Refused()
