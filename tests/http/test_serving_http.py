"""HTTP itself: methods, types, lengths, deadlines, clients that go, errors nobody foresaw, CORS."""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssept.providers.session import Session
from ssept.serving.app import Application
from ssept.serving.core.registry import LoadedModels, load_models
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import (
    SECONDS,
    Live,
    item_id,
    live,
    until,
    user_id,
    write_checkpoint,
)

MAX_BODY = 20_000
DEADLINE_MS = 1000  # a machine with other work takes a while even for the metrics
SLOW_SECONDS = 0.002  # longer than a call that is made on the event loop
PATHS = ("/predict", "/predict/batch")
ONE = {"user_id": user_id(1), "sequence": [item_id(2)], "top_k": 3}
BODIES = {"/predict": ONE, "/predict/batch": {"requests": [ONE, ONE]}}
ORIGIN = "http://shop.example"
SCOPE = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/predict"}
HOST = (b"host", b"localhost")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return ServerSettings(
        model=write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"),
        max_body_bytes=MAX_BODY,
        max_wait_ms=10_000,
        deadline_ms=10_000,
    )


@pytest.fixture(scope="module")
def models(settings: ServerSettings) -> LoadedModels:
    """For one event loop at a time, so not for the servers."""
    return load_models(settings)


@pytest.fixture(scope="module")
def server(settings: ServerSettings) -> Iterator[Live]:
    with live(settings) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(settings: ServerSettings) -> Iterator[Live]:
    """A server with a short deadline."""
    with live(replace(settings, deadline_ms=DEADLINE_MS)) as server:
        yield server


def raw(server: Live, sent: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    with closing(server.connect()) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_told_which_one_is_allowed(server: Live, method: str, path: str) -> None:
    answer = server.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_path_that_is_not_there_is_not_found(server: Live) -> None:
    for path in ("/predict/no", "/Predict", "/no", "/docs", "/redoc"):
        assert server.post(path, ONE).status == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("", 415),
    ],
)
def test_the_body_is_json_by_its_type_or_has_none(
    server: Live, path: str, given: str, status: int
) -> None:
    answer = server.ask("POST", path, BODIES[path], {"Content-Type": given})
    assert answer.status == status
    if status == 415:
        assert "application/json" in answer.json["detail"]
    assert server.ask("POST", path, BODIES[path]).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_body_up_to_the_limit_is_read_and_a_longer_one_is_not(server: Live, path: str) -> None:
    body = json.dumps(BODIES[path]).encode()
    assert server.post(path, body + b" " * (MAX_BODY - len(body))).status == 200
    answer = server.post(path, body + b" " * (MAX_BODY - len(body) + 1))
    assert answer.status == 413
    assert str(MAX_BODY) in answer.json["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_a_long_body_is_refused_before_it_is_sent(server: Live, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
    assert raw(server, head.encode()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", PATHS)
def test_a_body_in_chunks_is_limited_too(server: Live, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n".encode()
    body = json.dumps(BODIES[path]).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    answer = raw(server, head + b"Connection: close\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")

    endless = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert raw(server, head + b"\r\n" + 2 * endless).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["ten", "-1", "", "9" * 30, "1.5"])
def test_a_length_that_is_none_is_a_bad_request(server: Live, length: str) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{{}}"
    assert raw(server, head.encode()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


@pytest.mark.parametrize(("length", "status"), [(b"-1", 400), (b"ten", 400), (b"9" * 5000, 400)])
def test_a_length_that_the_web_server_lets_through_is_looked_at(
    settings: ServerSettings, models: LoadedModels, length: bytes, status: int
) -> None:
    sent = asyncio.run(
        ask(settings, models, [{"type": "http.request"}], [(b"content-length", length)])
    )
    assert [message.get("status") for message in sent] == [status, None]


async def ask(
    settings: ServerSettings, models: LoadedModels, messages: list[Any], headers: Any = ()
) -> list[Any]:
    """What the application sends for a POST to /predict, without a web server."""
    sent: list[Any] = []
    waiting = iter(messages)

    async def receive() -> Any:
        message = next(waiting, None)
        return message or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async with started(settings, models) as app:
        scope = SCOPE | {"headers": [HOST, *headers]}
        await app(scope, receive, send)
    return sent


class started:  # noqa: N801
    """An application between the start and the end of its lifespan."""

    def __init__(self, settings: ServerSettings, models: LoadedModels | None) -> None:
        self.app = Application(settings, models)
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.said: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> Application:
        self.task = asyncio.create_task(
            self.app({"type": "lifespan"}, self.told.get, self.said.put)
        )
        await self.told.put({"type": "lifespan.startup"})
        assert (await self.said.get())["type"] == "lifespan.startup.complete"
        return self.app

    async def __aexit__(self, *_: object) -> None:
        await self.told.put({"type": "lifespan.shutdown"})
        assert (await self.said.get())["type"] == "lifespan.shutdown.complete"
        await self.task


def test_a_client_that_goes_before_its_body_is_complete_gets_no_answer(
    settings: ServerSettings, models: LoadedModels
) -> None:
    part = {"type": "http.request", "body": b'{"user', "more_body": True}
    gone = {"type": "http.disconnect"}
    assert asyncio.run(ask(settings, models, [gone])) == []
    assert asyncio.run(ask(settings, models, [part, gone])) == []


def test_a_client_that_goes_leaves_the_server_well(server: Live) -> None:
    body = json.dumps(ONE).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    for sent in (head, head + body[:10], head + body):
        for _ in range(20):
            with closing(server.connect()) as connection:
                connection.sendall(sent)
    assert server.post("/predict", ONE).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_is_not_waited_for(hasty: Live, path: str) -> None:
    before = hasty.counted("ssept_refused_total", reason="deadline")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{"
    answer = raw(hasty, head.encode())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert b"deadline" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert hasty.counted("ssept_refused_total", reason="deadline") == before + 1
    assert hasty.post("/predict", ONE).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_slow_model_that_does_not_answer_is_not_waited_for(
    settings: ServerSettings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    answers.set()
    recommend = Session.recommend

    def slow(self: Session, *args: Any, **more: Any) -> Any:
        time.sleep(SLOW_SECONDS)
        assert answers.wait(SECONDS)
        return recommend(self, *args, **more)

    monkeypatch.setattr(Session, "recommend", slow)
    with live(replace(settings, deadline_ms=DEADLINE_MS)) as server:
        answers.clear()
        try:
            answer = server.post(path, BODIES[path])
        finally:
            answers.set()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        until(lambda: server.post("/predict", ONE).status == 200)


def test_a_deadline_that_passes_while_the_answer_is_sent_does_not_cut_it(
    settings: ServerSettings, models: LoadedModels
) -> None:
    async def slow_reader() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": json.dumps(ONE).encode()}

        async def send(message: Any) -> None:
            await asyncio.sleep(3 * DEADLINE_MS / 1000)
            sent.append(message)

        async with started(replace(settings, deadline_ms=DEADLINE_MS), models) as app:
            scope = SCOPE | {"headers": [HOST]}
            await app(scope, receive, send)
        return sent

    start, body = asyncio.run(slow_reader())
    assert start["status"] == 200
    assert len(json.loads(body["body"])["top_items"]) == 3


def test_a_server_that_ends_its_tasks_is_not_held_up(
    settings: ServerSettings, models: LoadedModels
) -> None:
    async def cancelled() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async with started(settings, models) as app:
            scope = SCOPE | {"headers": [HOST]}
            task = asyncio.create_task(app(scope, asyncio.Event().wait, send))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return sent

    assert asyncio.run(cancelled()) == []


def _break(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ArithmeticError("the moon is full")

    monkeypatch.setattr(Session, "recommend", broken)


@pytest.mark.parametrize("path", PATHS)
def test_an_error_that_nobody_foresaw_is_logged_counted_and_not_told(
    server: Live, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = server.counted("ssept_requests_total", route=path, status="500")
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        _break(patch)
        answer = server.post(path, BODIES[path])
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/json"
    assert "moon" not in answer.body.decode()
    assert server.counted("ssept_requests_total", route=path, status="500") == before + 1
    (record,) = (one for one in caplog.records if one.name == "ssept.serving")
    assert path in record.getMessage()
    assert record.exc_info
    assert "the moon is full" in str(record.exc_info[1])
    assert server.post(path, BODIES[path]).status == 200


def test_so_are_those_behind_fastapi(
    server: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ArithmeticError("the moon is full")

    def logged() -> int:
        return len([one for one in caplog.records if one.name == "ssept.serving"])

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(type(server.app.registry), "ready", property(broken))
        answer = server.ask("GET", "/health/ready")
        until(lambda: logged() > 0)  # after the answer
    assert answer.status == 500
    assert "detail" in answer.json
    assert "moon" not in answer.body.decode()
    assert logged() == 1


def test_many_requests_go_over_one_connection(server: Live) -> None:
    def request(path: str, body: bytes) -> bytes:
        return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (
            path.encode(),
            len(body),
            body,
        )

    good, bad = json.dumps(ONE).encode(), b"{}"
    last = b"GET /test HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(server, request("/predict", good) + request("/predict", bad) * 2 + last)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200", b"422", b"422", b"200"]


def test_websockets_are_refused(server: Live) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " not in raw(server, upgrade).splitlines()[0]


def test_other_origins_may_not_call_unless_told(
    server: Live,
) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert server.ask("OPTIONS", "/predict", headers=preflight).status == 403
    answer = server.ask("POST", "/predict", ONE, {"Origin": ORIGIN})
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_origins_that_may_call_are_told_so_on_every_path_and_with_errors(
    settings: ServerSettings,
) -> None:
    with live(replace(settings, cors_origins=(ORIGIN,))) as server:
        headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
        asked = {"Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "content-type"
        for path in PATHS:
            answer = server.ask("OPTIONS", path, headers=asked | {"Origin": ORIGIN})
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            for body, status in ((BODIES[path], 200), ({}, 422), (b" " * (MAX_BODY + 1), 413)):
                answer = server.ask("POST", path, body, headers)
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert server.ask("GET", "/version", headers=headers).headers["access-control-allow-origin"]
        other = server.ask("POST", "/predict", ONE, headers | {"Origin": "http://else.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_start_that_fails_is_told_and_nothing_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start() -> Any:
        said: asyncio.Queue[Any] = asyncio.Queue()
        app = Application(ServerSettings(model=tmp_path / "none.safetensors"))
        await app({"type": "lifespan"}, lambda: asyncio.sleep(0), said.put)
        return said.get_nowait()

    said = asyncio.run(start())
    assert said["type"] == "lifespan.startup.failed"
    assert said["message"].startswith("ssept: error: ")
    assert "none.safetensors" in said["message"]

    def broken(*_: Any) -> Any:
        raise ArithmeticError("the moon is full")

    monkeypatch.setattr("ssept.serving.core.registry.load_models", broken)
    said = asyncio.run(start())
    assert said["type"] == "lifespan.startup.failed"
    assert "Traceback" in said["message"]
    assert "the moon is full" in said["message"]
