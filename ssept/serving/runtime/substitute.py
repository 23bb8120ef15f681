"""A substitute for the workers: it answers 503 while none of them can accept connections."""

import contextlib
import selectors
import socket
from functools import partial

from ssept.serving.http_api.asgi import CLOSE, RETRY_AFTER, RefusedError, refused

ANSWER = refused(
    RefusedError(503, "the server is restarting; try again", [RETRY_AFTER, CLOSE]), "/"
)
MOST_CONNECTIONS = 100  # that have their answer, and are not closed by their clients yet
READ_BYTES = 1 << 16


class Substitute:
    """Accepts from a listening socket, while it is on, and answers whatever is asked.

    The kernel completes connections as long as the socket exists: without an `accept` their
    clients would wait until a worker has started.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        """Prepare it, off; the selector's data are functions to call."""
        self._listener = listener
        self._selector = selector
        self._on = False
        self._connections: list[socket.socket] = []  # the oldest first

    def switch(self, on: bool) -> None:
        """Switch it on or off."""
        if on and not self._on:
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif self._on and not on:
            self._selector.unregister(self._listener)
            for connection in [*self._connections]:
                self._close(connection)
        self._on = on

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # a worker that has started meanwhile may have it
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._connections.append(connection)
            self._selector.register(
                connection, selectors.EVENT_READ, partial(self._drain, connection)
            )
            connection.sendall(ANSWER)
            connection.shutdown(socket.SHUT_WR)
        if len(self._connections) > MOST_CONNECTIONS:
            self._close(self._connections[0])

    def _drain(self, connection: socket.socket) -> None:
        """Read the request: to close a connection with unread bytes would reset it."""
        try:
            ended = not connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection)
        connection.close()
