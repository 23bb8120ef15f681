"""Requests that arrive whole are answered without ASGI: which, with what, and what may go wrong."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from ssept.serving.app import FAILED, LATE
from ssept.serving.core.batcher import Job
from ssept.serving.http_api.asgi import CLOSE, Headers, RefusedError
from ssept.serving.http_api.direct import Answer, Pending, Route
from tests.http.test_serving_protocol import Toy, answer, go, head

LIMIT = 1000
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Direct(Toy):
    """Answers /predict without ASGI too: with the body's length and a star."""

    def __init__(self) -> None:
        self.deadline = 60.0
        self.counted: list[int] = []
        self.fails: Exception | None = None
        self.waits: asyncio.Event | None = None
        self.jobs: list[Job] = []
        self.telemetry: Any = SimpleNamespace(
            answered=lambda _, status, seconds: self.counted.append(status),
            refused=SimpleNamespace(labels=lambda _: SimpleNamespace(inc=lambda: None)),
        )

    def without_asgi(self, url: bytes, _: Any) -> Any:
        return Route("x", lambda: LIMIT, None, self.begin) if url == b"/predict" else None

    def refusal(self, error: Exception, method: str, path: str) -> RefusedError:
        assert (method, path) == ("POST", "/predict")
        return error if isinstance(error, RefusedError) else FAILED

    def begin(self, body: bytes, _: Headers) -> Pending:
        if self.fails:
            raise self.fails
        loop = asyncio.get_running_loop()
        job = Job([], [], None, None, loop.create_future())
        self.jobs.append(job)
        if self.waits is None:
            loop.call_soon(job.answer.set_result, b"%d*" % len(body))
        return Pending([job], lambda found: Answer(found[0]))


run = partial(go, app=Direct)


def test_a_whole_request_needs_no_asgi_and_one_in_parts_does() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        for parts in ([b"abc"], [b"a", b"bc"], [b"", b"abc"], [b"abc"]):
            first, *others = parts
            writer.write(head(3) + first)
            for part in others:
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(part)
            _, body = await answer(reader)
            assert body == (b"3" if others else b"3*")
        assert (app.asked, app.counted) == (2, [200, 200])

    run(main)


def test_an_answer_has_the_headers_that_all_answers_have() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        app.state.default_headers.append((b"date", b"today"))
        writer.write(head(0))
        told, _ = await answer(reader)
        assert told.count(b"\r\ndate: today\r\n") == 1
        app.state.default_headers.append(CLOSE)  # as when the server shuts down
        writer.write(head(0))
        told, _ = await answer(reader)
        assert told.count(b"\r\nconnection: close\r\n") == 1
        assert await reader.read() == b""
        assert app.asked == 0

    run(main)


@pytest.mark.parametrize(
    "request_",
    [
        head(2).replace(b"POST", b"PUT") + b"ab",
        head(2).replace(b"HTTP/1.1", b"HTTP/1.0") + b"ab",
        head(2, more="Connection: close\r\n") + b"ab",
    ],
    ids=["another method", "HTTP/1.0", "the last of a connection"],
)
def test_what_is_not_plain_is_answered_by_asgi(request_: bytes) -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        writer.write(request_)
        assert (await answer(reader))[1] == b"2"
        assert (app.asked, app.counted) == (1, [])

    run(main)


def test_pipelined_requests_are_answered_in_order_whichever_way() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        writer.write(b"".join(head(n) + b"x" * n for n in range(9)))
        bodies = [(await answer(reader))[1] for _ in range(9)]
        assert [body.rstrip(b"*") for body in bodies] == [b"%d" % n for n in range(9)]
        assert bodies[0] == b"0*"
        writer.write(head(1) + b"x")
        assert (await answer(reader))[1] == b"1*"

    run(main)


def test_an_error_is_answered_and_one_that_closes_ends_the_connection() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        app.fails = RefusedError(422, "wrong")
        writer.write(head(0))
        told, body = await answer(reader)
        assert (told[:12], body) == (b"http/1.1 422", b'{"detail":"wrong"}')
        app.fails = ValueError("a bug")
        writer.write(head(0) + head(0))  # the second one is not begun
        told, _ = await answer(reader)
        assert told.startswith(b"http/1.1 500")
        assert told.count(b"connection: close") == 1
        assert await reader.read() == b""
        assert app.counted == [422, 500]

    run(main)


def test_a_chunked_body_above_the_limit_is_refused() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        size = LIMIT + 1
        start = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(b"%s%x\r\n%s\r\n0\r\n\r\n" % (start, size, b"x" * size))
        assert (await answer(reader))[0].startswith(b"http/1.1 413")
        assert not app.jobs

    run(main)


def test_a_request_past_its_deadline_is_taken_back() -> None:
    async def main(app: Direct, reader: Reader, writer: Writer) -> None:
        app.deadline, app.waits = 0.05, asyncio.Event()
        writer.write(head(0))
        told, body = await answer(reader)
        assert (told[:12], body) == (b"http/1.1 503", LATE.body("/predict"))
        assert app.jobs[0].answer.cancelled()
        assert app.counted == [503]

    run(main)


def test_a_client_that_has_gone_gets_nothing() -> None:
    async def main(app: Direct, _: Reader, writer: Writer) -> None:
        app.waits = asyncio.Event()
        writer.write(head(0))
        while not app.jobs:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        app.jobs[0].answer.set_result(b"late")
        await asyncio.sleep(0.05)
        assert app.counted == [200]

    run(main)
