"""A transport that closes in stages, so that the last answer reaches its client."""

import asyncio
from typing import Any

DRAIN_BYTES = 64 << 20  # that are read and discarded after the last answer
DRAIN_SECONDS = 30
QUIET_SECONDS = 2  # a client that sends nothing for so long, and has the answer, sends no more


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` discards what the client still sends.

    The kernel resets a connection that is closed with unread input or that receives more, and most
    clients report a reset instead of the answer before it. So first only the sending half is
    closed, see RFC 9112, section 9.6.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Wrap a transport of this loop."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._at_eof = False
        self._draining = False
        self._discarded = self._seen = 0
        self._end = 0.0  # of draining, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        # Bound here, so that a call costs no more than without this class.
        own: Any = self
        own.write = transport.write
        own.abort = transport.abort
        own.pause_reading = transport.pause_reading
        own.resume_reading = transport.resume_reading
        own.get_extra_info = transport.get_extra_info
        own.get_write_buffer_size = transport.get_write_buffer_size

    def is_closing(self) -> bool:
        """Return whether nothing more can be written."""
        return self._draining or self._transport.is_closing()

    def close(self) -> None:
        """Send what is buffered, discard input until the client closes too, then close."""
        if self.is_closing():
            return
        if self._at_eof:
            self._transport.close()
            return
        self._draining = True
        own: Any = self
        own.write = _discard  # of a request that was cut off
        self._transport.write_eof()
        self._transport.resume_reading()
        self._end = self._loop.time() + DRAIN_SECONDS
        self._timer = self._loop.call_later(QUIET_SECONDS, self._check)

    def close_now(self) -> None:
        """Close at once; a client that has not read its answer by now has lost it."""
        if self.get_write_buffer_size():
            self.abort()
        else:
            self._transport.close()

    def eof_received(self) -> None:
        """Note that the client sends no more."""
        self._at_eof = True

    def discard(self, count: int) -> None:
        """Count bytes that are not used; too many of them close the connection."""
        self._discarded += count
        if self._discarded > DRAIN_BYTES:
            self.abort()

    def connection_lost(self) -> None:
        """Stop the timer."""
        if self._timer:
            self._timer.cancel()

    def _check(self) -> None:
        quiet = self._seen == self._discarded
        self._seen = self._discarded
        # The kernel disconnects a client that does not read its answer: see `sockets.listen_at`.
        if not self.get_write_buffer_size() and (quiet or self._loop.time() >= self._end):
            self.close_now()
        else:
            self._timer = self._loop.call_later(QUIET_SECONDS, self._check)


def _discard(_: bytes) -> None:
    pass
