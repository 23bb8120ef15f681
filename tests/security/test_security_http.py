"""What a hostile client, or a hostile web page, cannot make the HTTP server do."""

import contextlib
import json
import re
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import uvicorn

from ssept.serving.http_api.asgi import RefusedError, read_body, respond
from ssept.serving.http_api.callers import CallerPolicy
from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.runtime import sockets, uvicorn_server
from ssept.serving.runtime.protocol import http_protocol as protocol
from ssept.serving.runtime.protocol import lingering
from ssept.serving.runtime.protocol.http_protocol import LimitedProtocol
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import SECONDS, live, until

MB = 1 << 20
ALL_TAKEN = lingering.DRAIN_BYTES + 20 * MB  # with what the systems hold
HOST = "Host: localhost\r\n"
PREDICT = {"user_id": 1, "sequence": [], "top_k": 5}
BATCH = json.dumps({"requests": [PREDICT] * 200}).encode()


def request(method: str, path: str, headers: str = HOST, body: bytes = b"") -> bytes:
    """A whole request; with a length if there is a body."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\n{headers}{length}\r\n".encode() + body


def connect(port: int, received: int = 0) -> socket.socket:
    """Connect, with a receive buffer of that size in bytes."""
    one = socket.socket()
    one.settimeout(SECONDS)
    if received:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    one.connect(("127.0.0.1", port))
    return one


def read_all(connection: socket.socket) -> bytes:
    """What comes until the connection ends, in whatever way."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def read_until(connection: socket.socket, end: bytes) -> None:
    """Read until this has come."""
    got = b""
    while not got.endswith(end):
        got += (part := connection.recv(1000))
        assert part


def exchange(port: int, sent: bytes) -> bytes:
    """All that is answered to this on a connection of its own."""
    with connect(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return read_all(connection)


def ask(port: int, method: str, path: str, headers: str = HOST, body: bytes = b"") -> int:
    """The status of an answer."""
    answer = exchange(port, request(method, path, f"{headers}Connection: close\r\n", body))
    assert answer.count(b"HTTP/1.1 ") == 1
    return int(answer[9:12])


def taken(connection: socket.socket, part: bytes, most: int) -> int:
    """Count the bytes that the server takes before it stops, up to a limit."""
    sent = 0
    connection.settimeout(2)  # in which a server that reads has read
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < most:
            sent += connection.send(part)
    return sent


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, whatever is unread."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path
) -> Iterator[SseptServer]:
    settings = ServerSettings(model=small_checkpoint, max_wait_ms=10_000, deadline_ms=10_000)
    with running(settings, tmp_path_factory.mktemp("log") / "log") as server:
        ask(server.port, "GET", "/openapi.json")  # which is made when it is first asked for
        yield server
        assert "Traceback" not in server.log.read_text()


@contextlib.contextmanager
def bounded_memory(server: SseptServer) -> Iterator[None]:
    """Assert that what is done leaves the server well, with little more memory."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    most = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            most.append(process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert max(most) - before < 60 * MB
    assert ask(server.port, "POST", "/predict", HOST, json.dumps(PREDICT).encode()) == 200


class Door(NamedTuple):
    """Where connections are taken, and those that there are."""

    port: int
    connections: set[Any]


@contextlib.contextmanager
def door(most: int = 100) -> Iterator[Door]:
    """An application that does little, behind our listener and protocol."""

    class App:
        def without_asgi(self, url: bytes, scope: Any) -> bytes | None:
            return None

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/unread":
                body = b"early"
            elif scope["path"] == "/large":
                body = bytes(16 * MB)
            else:
                body = await read_body(scope, receive, MB)
            await respond(send, 200, body)

    app: Any = App()
    http: Any = partial(LimitedProtocol, app, most)
    config = uvicorn.Config(
        app,
        http=http,
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    with sockets.listen_at("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            until(lambda: server.started)
            yield Door(listener.getsockname()[1], server.server_state.connections)
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()


# Requests that are sent without waiting for answers


@pytest.mark.parametrize(
    "one",
    [
        request("GET", "/test"),
        request("GET", "/openapi.json"),
        request("POST", "/predict", HOST, json.dumps(PREDICT).encode()),
        request("POST", "/nothing", HOST, b"x" * 1000),
    ],
    ids=["test", "openapi", "predict", "nothing"],
)
def test_pipelined_requests_without_an_end_take_no_memory(server: SseptServer, one: bytes) -> None:
    with bounded_memory(server), connect(server.port) as connection:
        connection.sendall(one * (8 * MB // len(one)))
        # Those that may wait are answered; the rest is discarded.
        assert read_all(connection).count(b"HTTP/1.1 ") > protocol.MOST_PIPELINED


def test_as_many_as_may_be_pipelined_are_answered_in_order(server: SseptServer) -> None:
    paths = ["/test", "/health/live"] * (protocol.MOST_PIPELINED // 2)
    sent = [request("GET", path) for path in paths[:-1]]
    sent.append(request("GET", paths[-1], f"{HOST}Connection: close\r\n"))
    answer = exchange(server.port, b"".join(sent))
    assert answer.count(b"HTTP/1.1 200 ") == len(paths)
    bodies = [part.rpartition(b"\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"it works\n", b"alive\n"] * (len(paths) // 2)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_pipelined_requests_leaves_no_traceback(
    tmp_path: Path, small_checkpoint: Path, reset: bool
) -> None:
    settings = ServerSettings(model=small_checkpoint, max_wait_ms=10_000, deadline_ms=10_000)
    with running(settings, tmp_path / "log") as server:
        for _ in range(30):
            with connect(server.port) as connection:
                connection.sendall(request("POST", "/predict/batch", HOST, BATCH) * 20)
                connection.recv(1)
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert ask(server.port, "GET", "/test") == 200
    assert "Traceback" not in server.log.read_text()
    assert "without completing" not in server.log.read_text()


# Heads, bodies and trailers


@pytest.mark.parametrize(
    "before",
    [
        b"",
        request("GET", "/test"),
        request("GET", "/openapi.json") * 20,  # whose answers nobody reads
        request("POST", "/predict/batch", HOST, BATCH) * 20,
    ],
    ids=["first", "second", "unread", "behind slow ones"],
)
def test_a_head_without_an_end_is_not_taken(server: SseptServer, before: bytes) -> None:
    with bounded_memory(server), connect(server.port, 4096) as connection:
        connection.sendall(before + b"GET /test HTTP/1.1\r\nx: ")
        assert taken(connection, b"x" * (1 << 16), 2 * ALL_TAKEN) < ALL_TAKEN


def test_nor_are_trailers_or_line_ends_without_an_end(server: SseptServer) -> None:
    chunked = request("POST", "/test", f"{HOST}Transfer-Encoding: chunked\r\n")
    for before, part in (
        (chunked + b"1\r\nx\r\n0\r\nx: ", b"x" * (1 << 16)),
        (chunked + b"1\r\nx\r\n0\r\n", b"x: y\r\n" * (1 << 13)),
        (chunked + b"1;", b"x" * (1 << 16)),
        (b"", b"\r\n" * (1 << 15)),
    ):
        with bounded_memory(server), connect(server.port) as connection:
            connection.sendall(before)
            assert taken(connection, part, 2 * ALL_TAKEN) < ALL_TAKEN


@pytest.mark.parametrize("before", [b"", request("GET", "/test")], ids=["alone", "second"])
@pytest.mark.parametrize("lines", [1, 100])
@pytest.mark.parametrize("too_long", [False, True])
def test_a_head_that_comes_at_once_is_measured_too(
    server: SseptServer, before: bytes, lines: int, too_long: bool
) -> None:
    size = protocol.MOST_HEAD_BYTES + (500 if too_long else -5000)
    more = "".join(f"x: {'y' * (size // lines - 5)}\r\n" for _ in range(lines))
    with connect(server.port) as connection:
        if before:
            connection.sendall(before)
            read_until(connection, b"it works\n")
        connection.sendall(request("GET", "/test", f"{HOST}Connection: close\r\n{more}"))
        assert read_all(connection)[9:12] == (b"431" if too_long else b"200")


@pytest.mark.parametrize("path", ["/test", "/nothing", "/v2/nothing"])
@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_body_that_is_not_read_gets_no_second_answer(
    server: SseptServer, path: str, size: int
) -> None:
    with connect(server.port) as connection:
        sent = request("POST", path, HOST, b"x" * size)
        connection.sendall(sent[:-900])
        first = connection.recv(1 << 16)
        assert first.count(b"HTTP/1.1 ") == 1
        connection.sendall(sent[-900:])
        connection.sendall(request("GET", "/health/live", f"{HOST}Connection: close\r\n"))
        rest = read_all(connection)
        assert rest.count(b"HTTP/1.1 ") == 1
        assert rest.endswith(b"alive\n")


def test_what_is_no_request_is_refused_once_and_never_as_the_answer_to_another(
    server: SseptServer,
) -> None:
    answer = exchange(server.port, b"nonsense\r\n\r\n" * 2)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    behind = exchange(server.port, request("POST", "/predict/batch", HOST, BATCH) + b"nonsense\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+) ", behind) == [b"200", b"400"]


# Clients that wait, and clients that do not read


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /x HTTP/1.1\r\n"])
def test_a_connection_that_never_had_a_request_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with door() as (port, _), connect(port) as connection, connect(port) as other:
        other.sendall(request("GET", "/x"))
        assert other.recv(1000).startswith(b"HTTP/1.1 200 ")
        connection.sendall(sent)
        assert read_all(connection) == b""
        assert not has_ended(other)  # which has had one


def test_the_rest_of_a_body_is_not_waited_for_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with door() as (port, _), connect(port) as connection:
        connection.sendall(request("POST", "/unread", HOST, bytes(100_000))[:-1000])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"x")
        read_all(connection)


@pytest.mark.parametrize("headers", [HOST, f"{HOST}Connection: close\r\n"])
@pytest.mark.parametrize(("path", "times"), [("/large", 1), ("/large", 5), ("/x", 60)])
def test_a_client_that_does_not_read_is_ended(
    monkeypatch: pytest.MonkeyPatch, headers: str, path: str, times: int
) -> None:
    monkeypatch.setattr(sockets, "UNREAD_MS", 500)
    with door() as (port, connections), connect(port, 4096) as connection:
        connection.sendall(request("POST", path, headers, bytes(10_000)) * times)
        assert connection.recv(5) == b"HTTP/"
        until(lambda: not connections)  # of which the system tells the client nothing
        connection.close()
        large = request("GET", "/large", f"{HOST}Connection: close\r\n")
        assert len(exchange(port, large)) > 16 * MB


def test_past_the_most_connections_the_one_that_has_waited_longest_ends() -> None:
    with door(most=3) as (port, _), contextlib.ExitStack() as all_:
        silent, half, served = (all_.enter_context(connect(port)) for _ in range(3))
        time.sleep(0.01)  # more than the clock's resolution
        half.sendall(b"GET /x HTTP/1.1\r\n")
        time.sleep(0.01)
        served.sendall(request("GET", "/x"))
        assert served.recv(1000).startswith(b"HTTP/1.1 200 ")
        for ended, stays in (([silent], [half, served]), ([silent, half], [served])):
            new = all_.enter_context(connect(port))
            new.sendall(request("GET", "/x"))
            assert new.recv(1000).startswith(b"HTTP/1.1 200 ")
            until(lambda: all(has_ended(one) for one in ended))  # noqa: B023  # which it waits for
            assert not any(has_ended(one) for one in stays)


def test_a_request_that_is_being_answered_is_not_ended_for_a_new_connection() -> None:
    sent = request("POST", "/x", f"{HOST}Expect: 100-continue\r\n", b"12")
    with door(most=1) as (port, _), connect(port) as busy:
        busy.sendall(sent[:-1])
        assert busy.recv(1000).startswith(b"HTTP/1.1 100 ")  # its body is waited for
        with connect(port) as late:
            assert read_all(late) == b""
        busy.sendall(sent[-1:])
        read_until(busy, b"12")


@contextlib.contextmanager
def few_files(count: int) -> Iterator[None]:
    """A limit of open files for what is started in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_never_use_up_the_files_that_may_be_open(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    files = 200
    with contextlib.ExitStack() as all_:
        with few_files(files):
            settings = ServerSettings(
                model=small_checkpoint, max_wait_ms=10_000, deadline_ms=10_000
            )
            server = all_.enter_context(running(settings, tmp_path / "log"))
        clients = []
        for _ in range(2 * files):
            clients.append(all_.enter_context(connect(server.port)))
            if len(clients) % 50 == 0:
                assert ask(server.port, "GET", "/openapi.json") == 200
                assert psutil.Process(server.pid).num_fds() < files
        until(lambda: has_ended(clients[0]))
        assert not has_ended(clients[-1])
        clients[-1].sendall(request("GET", "/test"))
        assert clients[-1].recv(1000).startswith(b"HTTP/1.1 200 ")
    assert server.log.read_text().count("\n") == 2  # where it is, and that it has stopped


# Hosts and web pages

PATHS = [
    ("GET", "/", b""),
    ("GET", "/test", b""),
    ("GET", "/version", b""),
    ("POST", "/predict", json.dumps(PREDICT).encode()),
    ("POST", "/v2/repository/index", b""),
]
OURS = ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80", "LocalHost"]
FOREIGN = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "evil.example:localhost",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example#localhost",
    "localhost:80:80",
    "localhost:evil",
    "localhost,evil.example",
    "localhost/",
    "::1",
    "[::1",
    "[::2]",
    "192.168.0.1",
    "2130706433",
    "xn--localhost",
    "localhost\xa0",
    "",
    "x" * 60_000,
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
def test_hosts_of_this_machine_are_served_and_no_others(
    server: SseptServer, method: str, path: str, body: bytes
) -> None:
    def status(host: str) -> int:
        sent = request(method, path, "Connection: close\r\n", body)
        head, _, rest = sent.partition(b"\r\n")
        answer = exchange(
            server.port, head + b"\r\nHost: " + host.encode("latin-1") + b"\r\n" + rest
        )
        assert len(answer) < 5000 or answer.startswith(b"HTTP/1.1 200 ")
        return int(answer[9:12])

    assert [status(host) for host in OURS] == [200] * len(OURS)
    assert [status(host) for host in FOREIGN] == [421] * len(FOREIGN)


def test_a_request_has_one_host(server: SseptServer) -> None:
    assert ask(server.port, "GET", "/test", "") == 400
    assert ask(server.port, "GET", "/test", HOST + HOST) == 400
    assert ask(server.port, "GET", "/test", f"{HOST}Host: evil.example\r\n") == 400
    # No browser sends HTTP/1.0; old tools that do have no Host to give.
    assert exchange(server.port, b"GET /test HTTP/1.0\r\n\r\n")[9:12] == b"200"
    answer = exchange(server.port, b"GET /test HTTP/1.0\r\nHost: evil.example\r\n\r\n")
    assert answer[9:12] == b"421"


def headers(origin: str = "", site: str = "", mode: str = "", host: str = "localhost:8080") -> str:
    """As a browser sends them."""
    named = {"Origin": origin, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Host": host}
    return "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)


OWN = [
    headers(),
    headers("http://localhost:8080"),
    headers("http://localhost:8080", "same-origin", "cors"),
    headers("http://127.0.0.1:99", "same-origin", host="127.0.0.1:99"),
    headers("https://shop.example", "same-origin"),  # a proxy names us by another host
    headers(site="none", mode="navigate"),
    headers(site="same-origin", mode="no-cors"),
    headers(site="cross-site", mode="navigate"),  # a link
]
STRANGE = [
    headers("http://evil.example"),
    headers("http://localhost:3000", "same-site", "cors"),
    headers("http://localhost"),
    headers("http://evil.localhost:8080"),
    headers("null"),
    headers("null", "cross-site", "navigate"),
    headers("http://evil.example", "cross-site", "navigate"),
    headers(site="cross-site", mode="no-cors"),
    headers(site="cross-site"),
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
def test_only_the_servers_own_pages_may_call(
    server: SseptServer, method: str, path: str, body: bytes
) -> None:
    assert [ask(server.port, method, path, one, body) for one in OWN] == [200] * len(OWN)
    assert [ask(server.port, method, path, one, body) for one in STRANGE] == [403] * len(STRANGE)


def test_origins_that_may_call_may_but_for_no_foreign_host(small_checkpoint: Path) -> None:
    shop = "https://shop.example"
    with live(ServerSettings(model=small_checkpoint, cors_origins=(shop,))) as server:
        for method, path, body in PATHS:
            assert ask(server.port, method, path, headers(shop, "cross-site", "cors"), body) == 200
            assert ask(server.port, method, path, headers(f"{shop}:1"), body) == 403
            assert ask(server.port, method, path, headers(shop, host="evil.example"), body) == 421
    with live(ServerSettings(model=small_checkpoint, cors_origins=("*",))) as server:
        assert ask(server.port, "POST", "/v2/repository/index", STRANGE[0]) == 200
        assert ask(server.port, "GET", "/test", headers(host="evil.example")) == 421


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ((), [421, 421]),
        (("shop.example",), [200, 421]),
        (("Shop.Example", "[2001:db8::1]"), [200, 421]),
        (("*",), [200, 200]),
    ],
)
def test_hosts_that_are_allowed_are_served_too(
    small_checkpoint: Path, settings: Sequence[str], status: Sequence[int]
) -> None:
    with live(ServerSettings(model=small_checkpoint, allowed_hosts=tuple(settings))) as server:
        hosts = ("shop.example:443", "evil.example")
        assert [ask(server.port, "GET", "/test", headers(host=one)) for one in hosts] == status
        assert ask(server.port, "GET", "/test", headers(host="127.0.0.1")) == 200


@pytest.mark.parametrize(
    ("address", "allowed", "answered", "refused"),
    [
        ("127.0.0.1", (), ["localhost"], ["evil.example", "127.0.0.2"]),
        ("127.0.0.2", (), ["localhost", "127.0.0.2:80"], ["evil.example"]),
        ("::1", ("a.example",), ["[::1]", "a.example"], ["evil.example"]),
        ("0.0.0.0", (), ["localhost", "10.0.0.1", "a.example"], []),
        ("0.0.0.0", ("a.example",), ["localhost", "a.example"], ["evil.example", "10.0.0.1"]),
    ],
)
def test_the_address_decides_which_hosts_are_served(
    address: str, allowed: tuple[str, ...], answered: list[str], refused: list[str]
) -> None:
    with sockets.listen_at(address, 0) as listener:
        settings = uvicorn_server.with_hosts(ServerSettings(allowed_hosts=allowed), listener)
    callers = CallerPolicy(settings.allowed_hosts, ())

    def scope(host: str) -> dict[str, Any]:
        return {"http_version": "1.1", "headers": [(b"host", host.encode())]}

    for host in answered:
        callers.check(scope(host))
    for host in refused:
        with pytest.raises(RefusedError):
            callers.check(scope(host))


def test_with_too_much_to_do_foreign_hosts_and_pages_are_refused_as_ever(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(ServerSettings(model=small_checkpoint)) as server:
        monkeypatch.setattr(type(server.app.registry.models), "are_full", property(lambda _: True))

        def refused(*given: tuple[bytes, bytes]) -> Any:
            scope = {"http_version": "1.1", "headers": [*given]}
            return server.app.without_asgi(b"/predict", scope)

        host = (b"host", b"localhost")
        answer = refused(host)
        assert answer
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nx-content-type-options: nosniff\r\n" in answer
        assert refused((b"host", b"evil.example")) is None
        assert refused(host, (b"origin", b"http://evil.example")) is None
        assert refused() is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/static/page.js", 200),
        ("GET", "/static/nothing", 404),
        ("GET", "/test", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/items", 200),
        ("GET", "/items?limit=x", 422),
        ("GET", "/v2", 200),
        ("GET", "/nothing", 404),
        ("GET", "/predict", 405),
        ("POST", "/predict", 422),
        ("POST", "/v2/models/recommender_model_onnx/infer", 400),
        ("GET", "/test\x01", 400),
    ],
)
def test_no_answer_is_taken_for_something_else(
    server: SseptServer, method: str, path: str, status: int
) -> None:
    answer = exchange(server.port, request(method, path, f"{HOST}Connection: close\r\n"))
    assert int(answer[9:12]) == status
    assert answer.lower().count(b"\r\nx-content-type-options: nosniff\r\n") == 1
