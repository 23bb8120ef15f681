"""Clients that keep a server busy, and count what they were not answered."""

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

ADDRESS = "127.0.0.1"
BODY = json.dumps({"user_id": 1, "sequence": [], "top_k": 5}).encode()


def request_of(body: bytes = BODY, *headers: str) -> bytes:
    """A whole `POST /predict`, as bytes."""
    always = ("Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}")
    lines = ("POST /predict HTTP/1.1", *always, *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


@dataclass
class Counts:
    """What became of the requests.

    Attributes:
        statuses: of those that got a whole answer, by HTTP status.
        lost: what went wrong with requests that were sent whole and got none.
        closing: answers that said that the connection ends, though the client had not asked for it.
        seconds: how long a client waits for an answer; None for ever.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    closing: int = 0
    seconds: float | None = None

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())


@dataclass(frozen=True)
class Client:
    """How one client behaves.

    Attributes:
        reuse: whether it sends more than one request on a connection.
        pause: seconds between an answer and the next request.
        halves: seconds between the two halves of a request; the cut is within the body, or the
            headers where `within_headers`.
    """

    reuse: bool = True
    pause: float = 0
    halves: float = 0
    within_headers: bool = False

    async def run(self, port: int, counts: Counts, stop: asyncio.Event) -> None:
        """Send requests until the server refuses connections, or `stop` is set."""
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection(ADDRESS, port)
            except OSError:
                return
            try:
                await self._use(reader, writer, counts, stop)
            finally:
                writer.close()

    async def _use(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        counts: Counts,
        stop: asyncio.Event,
    ) -> None:
        """Send requests on a connection until it ends."""
        request = request_of() if self.reuse else request_of(BODY, "Connection: close")
        cut = 20 if self.within_headers else len(request) - 5
        while not stop.is_set():
            if self.halves:
                writer.write(request[:cut])
                await asyncio.sleep(self.halves)
                if gone(reader):
                    return  # before it was sent whole
            writer.write(request[cut:] if self.halves else request)
            try:
                status, closing = await asyncio.wait_for(read_answer(reader), counts.seconds)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                counts.lost.append(repr(error))
                return
            counts.statuses[status] += 1
            counts.closing += closing and self.reuse
            if closing:
                return
            if self.pause:
                await asyncio.sleep(self.pause)
                if gone(reader):
                    return


def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the server has ended the connection, as far as is known here."""
    return reader.at_eof() or reader.exception() is not None


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read a whole answer: its status, and whether it says that the connection ends.

    Raises:
        EOFError, OSError: the connection ended before.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status, *headers = head.strip().split("\r\n")
    fields = dict(line.split(": ", 1) for line in headers)
    await reader.readexactly(int(fields["content-length"]))
    return int(status.split()[1]), fields.get("connection") == "close"


BUSY = (
    *[Client()] * 4,
    *[Client(reuse=False)] * 2,
    *[Client(pause=0.005)] * 2,
    Client(pause=0.2),
    Client(halves=0.2),
    Client(halves=0.2, within_headers=True),
)


@contextmanager
def load(
    port: int, clients: tuple[Client, ...] = BUSY, seconds: float | None = None
) -> Iterator[Counts]:
    """Clients at work in a thread, until the block ends; each waits so long for an answer."""
    counts = Counts(seconds=seconds)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        await asyncio.gather(*(client.run(port, counts, stop) for client in clients))

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield counts
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def refused(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as one:
        one.settimeout(0.2)  # while it shuts down, attempts are dropped at first
        return one.connect_ex((ADDRESS, port)) != 0


def ask(url: str, path: str, body: object = None) -> Any:
    """The JSON that it answers to GET, or to POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{url}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)
