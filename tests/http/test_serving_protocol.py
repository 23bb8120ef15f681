"""What a connection does before there is a request: refusals at once, heads without an end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from ssept.serving.http_api.asgi import RETRY_AFTER, RefusedError, read_body, refused, respond
from ssept.serving.runtime.protocol import http_protocol as protocol
from ssept.serving.runtime.protocol.http_protocol import LimitedProtocol

SECONDS = 20
BUSY = refused(RefusedError(503, "too much", [RETRY_AFTER]), "/predict")


class Toy:
    """An application that answers with the body's length, unless it is busy."""

    busy = False
    asked = 0
    state: Any = None  # of the server

    def without_asgi(self, url: bytes, _: Any) -> bytes | None:
        return BUSY if self.busy and url == b"/predict" else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        body = await read_body(scope, receive, 1 << 30)
        await respond(send, 200, b"%d" % len(body))


def go(
    test: Callable[[Any, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    app: Callable[[], Any] = Toy,
) -> None:
    """Run a test with an application and a connection to it."""
    made = app()

    async def run() -> None:
        config = uvicorn.Config(made, lifespan="off", ws="none", log_config=None, access_log=False)
        config.load()
        state = made.state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: LimitedProtocol(made, 10, config=config, server_state=state, app_state={}),
            "127.0.0.1",
        )
        port = server.sockets[0].getsockname()[1]
        async with server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await test(made, reader, writer)
            writer.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def head(length: int, path: str = "/predict", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of an answer, by its length."""
    told = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(told.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return told, await reader.readexactly(length)


def test_a_refusal_is_a_whole_answer_and_the_connection_goes_on() -> None:
    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for app.busy in (True, False, True, True, False):
            writer.write(head(5) + b"12345")
            told, body = await answer(reader)
            if app.busy:
                assert told.startswith(b"http/1.1 503 service unavailable\r\n")
                assert b"\r\nretry-after: 1\r\n" in told
                assert body == b'{"detail":"too much"}'
            else:
                assert (told[:12], body) == (b"http/1.1 200", b"5")
        assert app.asked == 2

    go(main)


def test_the_body_of_a_refused_request_is_passed_over_whenever_it_comes() -> None:
    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.busy = True
        size = 3 * protocol.MOST_HEAD_BYTES
        writer.write(head(size))
        assert (await answer(reader))[0].startswith(b"http/1.1 503")  # its body is not waited for
        for _ in range(3):
            writer.write(b"POST /predict HTTP/1.1\r\n".ljust(size // 3, b"x"))
            await writer.drain()
        app.busy = False
        writer.write(head(2) + b"ab")
        assert (await answer(reader))[1] == b"2"
        assert app.asked == 1

    go(main)


def test_other_paths_and_what_is_to_be_closed_are_answered_as_ever() -> None:
    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.busy = True
        writer.write(head(0, "/health/live"))
        assert (await answer(reader))[0].startswith(b"http/1.1 200")
        writer.write(head(0, more="Connection: close\r\n"))
        assert (await answer(reader))[0].startswith(b"http/1.1 200")
        assert await reader.read() == b""

    go(main)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(head(n) + b"x" * n for n in range(5)))
        assert [(await answer(reader))[1] for _ in range(5)] == [b"%d" % n for n in range(5)]

    go(main)


def test_a_head_that_is_too_long_ends_the_connection() -> None:
    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(0)[:-2] + b"x-long: " + b"x" * protocol.MOST_HEAD_BYTES)
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        assert app.asked == 0

    go(main)


@pytest.mark.parametrize("begun", [b"", b"POST /pre", head(0)[:-2]])
def test_a_head_that_does_not_end_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async def main(app: Toy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(1) + b"x")
        assert (await answer(reader))[1] == b"1"
        if begun:
            writer.write(begun)
            assert await reader.read() == b""
        else:  # between requests there is more time
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(), 0.3)

    go(main)
