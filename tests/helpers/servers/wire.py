"""HTTP protocols at work on bytes in memory, and what they answer."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import h11
import uvicorn

from ssept.serving.core.batcher import Job
from ssept.serving.http_api.asgi import Headers, respond
from ssept.serving.http_api.direct import Answer, Pending, Route
from ssept.serving.runtime.protocol.http_protocol import LimitedProtocol
from ssept.serving.runtime.sockets import listen_at
from ssept.serving.runtime.uvicorn_server import UvicornServer

QUIET_TURNS = 12  # of the loop, after which nothing more comes
REFUSED = "refused"

Answers = tuple[Any, ...]  # (200, body) of an answer, or REFUSED


@dataclass(frozen=True)
class Outcome:
    """What became of a stream of bytes.

    Attributes:
        answers: in their order.
        closed: whether the server has closed its half.
    """

    answers: Answers
    closed: bool


class Echo:
    """An application that answers with what it has understood; some paths without ASGI too."""

    telemetry = SimpleNamespace(answered=lambda *_: None)
    deadline = 60.0

    def __init__(self) -> None:
        self.registry = SimpleNamespace(draining=False)

    def without_asgi(self, url: bytes, _: Any) -> Route | None:
        if len(url) % 2:
            return None
        return Route("echo", lambda: 1 << 30, None, partial(self._begin, url))

    def _begin(self, url: bytes, body: bytes, _: Headers) -> Pending:
        loop = asyncio.get_running_loop()
        job = Job([], [], None, None, loop.create_future())
        loop.call_soon(job.answer.set_result, echo(b"POST", url, body))
        return Pending([job], lambda found: Answer(found[0]))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        status = status_of(scope["method"].encode())
        await respond(send, status, echo(scope["method"].encode(), scope["raw_path"] + query, body))


def echo(method: bytes, target: bytes, body: bytes) -> bytes:
    return b"" if method == b"HEAD" else b"%s %s %s" % (method, target, body)


def status_of(method: bytes) -> int:
    return 405 if method == b"CONNECT" else 200


class MemoryTransport(asyncio.Transport):
    """The server's side of a connection in memory."""

    def __init__(self, protocol: Any) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.sent = b""
        self.paused = self.closing = self.half_closed = False
        self._protocol = protocol

    def write(self, data: Any) -> None:
        if not self.closing:
            self.sent += data

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0


async def played(make: Callable[[], Any], parts: Sequence[bytes], half_closes: bool) -> Outcome:
    """Let a protocol read the parts, one after the other, and perhaps the end of the stream."""
    protocol = make()
    transport = MemoryTransport(protocol)
    protocol.connection_made(transport)
    for part in parts:
        await _quiet(transport)
        if not transport.closing and not transport.paused:
            protocol.data_received(part)
    await _quiet(transport)
    if half_closes and not transport.closing and not protocol.eof_received():
        transport.close()
    await _quiet(transport)
    outcome = Outcome(read_answers(transport.sent), transport.closing or transport.half_closed)
    transport.close()
    await _quiet(transport)
    return outcome


async def _quiet(transport: MemoryTransport) -> None:
    """Wait until nothing happens any more."""
    last, turns = b"", 0
    while turns < QUIET_TURNS:
        turns = turns + 1 if last == transport.sent else 0
        last = transport.sent
        await asyncio.sleep(0)


def read_answers(sent: bytes) -> Answers:
    """Read whole answers, strictly; informational ones are left out."""
    answers: list[Any] = []
    while sent:
        head, end, rest = sent.partition(b"\r\n\r\n")
        assert end
        status_line, *lines = head.split(b"\r\n")
        status = int(status_line.removeprefix(b"HTTP/1.1 ")[:3])
        if status < 200:
            sent = rest
            continue
        fields = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
        length = int(fields.get(b"content-length", len(rest)))  # uvicorn's last one has none
        assert len(rest) >= length
        answers.append((status, rest[:length]) if status == 200 else REFUSED)
        sent = rest[length:]
    return tuple(answers)


def by_h11(stream: bytes, half_closes: bool) -> Outcome:
    """What a server answers that parses with h11 all that there will be."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    answers: list[Any] = []
    request, body = None, b""
    connection.receive_data(stream)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return Outcome((*answers, REFUSED), True)
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request
            status = status_of(request.method)
            served = (200, echo(request.method, request.target, body))
            answers.append(served if status == 200 else REFUSED)
            connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return Outcome(tuple(answers), True)
            connection.start_next_cycle()
        else:
            assert event in (h11.NEED_DATA, h11.PAUSED)
            return Outcome(tuple(answers), half_closes)


async def over_socket(port: int, parts: Sequence[bytes]) -> Outcome:
    """What a server on a port answers to the parts and the end of the stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        writer.write_eof()
        return Outcome(read_answers(await reader.read()), True)


def config(app: Any, http: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        date_header=False,
        access_log=False,  # with it nothing is answered without ASGI
    )


@contextlib.contextmanager
def served(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[int, "asyncio.Task[None]"]]:
    """`Echo` behind our whole server, on a port; in the main thread, with its signal handlers."""
    app: Any = Echo()
    with listen_at("127.0.0.1", 0) as listener:
        server = UvicornServer(
            config(app, partial(LimitedProtocol, app, 1000)), app, True, lambda: None
        )
        task = loop.create_task(server.serve([listener]))
        while not server.started:
            loop.run_until_complete(asyncio.sleep(0.01))
        yield listener.getsockname()[1], task
        server.should_exit = True
        loop.run_until_complete(task)
