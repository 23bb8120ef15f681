"""How requests arrive and connections end: upgrades, closed halves, unread input, resets."""

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import SECONDS

MB = 1 << 20
BODY = json.dumps({"user_id": 1, "sequence": [], "top_k": 5}).encode()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
IN_CHUNKS = b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
WEBSOCKET = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
TIMES = 20
STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path
) -> Iterator[SseptServer]:
    settings = ServerSettings(model=small_checkpoint, max_wait_ms=10_000, deadline_ms=10_000)
    with running(settings, tmp_path_factory.mktemp("log") / "log") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode() + body


PREDICT = request("POST", "/predict", LENGTH, body=BODY)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes its half; a reset is an error."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def netcat(port: int, *sent: bytes) -> bytes:
    """What `printf … | nc -N` shows: all is sent, the half is closed, then the answer is read."""
    with connect(port) as connection:
        for part in sent:
            connection.sendall(part)
            time.sleep(0.01 if len(sent) > 1 else 0)
        connection.shutdown(socket.SHUT_WR)
        return rest(connection)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answers)]


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET, ("Connection: upgrade", "Upgrade: x/1, y")])
@pytest.mark.parametrize(
    ("framing", "body"), [(LENGTH, BODY), (CHUNKED, IN_CHUNKS)], ids=["length", "chunked"]
)
@pytest.mark.parametrize("cut", [None, 30, -20])
def test_an_upgrade_is_ignored_and_the_body_is_not(
    server: SseptServer, upgrade: tuple[str, ...], framing: str, body: bytes, cut: int | None
) -> None:
    sent = request("POST", "/predict", *upgrade, framing, body=body)
    parts = [sent] if cut is None else [sent[:cut], sent[cut:]]
    answers = netcat(server.port, *parts, sent + PREDICT)
    assert statuses(answers) == [200, 200, 200]
    assert answers.count(b"top_items") == 3
    closing = request("GET", "/test", "Connection: Upgrade, close", "Upgrade: h2c")
    assert statuses(netcat(server.port, closing + sent)) == [200]


@pytest.mark.parametrize("more", [(), H2C])
def test_a_client_that_expects_to_be_asked_for_its_body_is_asked(
    server: SseptServer, more: tuple[str, ...]
) -> None:
    with connect(server.port) as connection:
        connection.sendall(
            request("POST", "/predict", LENGTH, "Expect: 100-continue", "Connection: close", *more)
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert statuses(rest(connection)) == [200]


def test_a_client_that_has_closed_its_half_gets_its_answers(server: SseptServer) -> None:
    for _ in range(TIMES):
        assert statuses(netcat(server.port, PREDICT)) == [200]
    many = PREDICT * 5 + request("GET", "/nothing") + request("GET", "/test")
    assert statuses(netcat(server.port, many)) == [200] * 5 + [404, 200]
    assert statuses(netcat(server.port, PREDICT, PREDICT)) == [200, 200]


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("part", [b"", b"GET /te", PREDICT[:-9], b"\r\n"])
def test_half_a_request_gets_a_clean_end_behind_the_answers_to_others(
    server: SseptServer, before: int, part: bytes
) -> None:
    assert statuses(netcat(server.port, PREDICT * before + part)) == [200] * before


def test_bad_data_behind_requests_take_nothing_from_their_answers(server: SseptServer) -> None:
    chunked = request("POST", "/predict", CHUNKED, body=b"xyz\r\n")
    for bad in (
        b"nonsense\r\n\r\n",
        chunked,
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02" * 99,
    ):
        for before in (0, 1, 3):
            expected = [200] * before + [400]
            assert statuses(netcat(server.port, PREDICT * before + bad + PREDICT)) == expected


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(
    ("path", "status"), [("/predict", 413), ("/predict/batch", 413), ("/nothing", 404)]
)
def test_a_client_that_sends_all_before_it_reads_gets_the_status(
    server: SseptServer, path: str, status: int, in_chunks: bool
) -> None:
    for _ in range(TIMES if path == "/predict" else 3):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        with contextlib.closing(connection):
            body: Any = (bytes(MB) for _ in range(20)) if in_chunks else bytes(20 * MB)
            connection.request("POST", path, body, encode_chunked=in_chunks)
            answer = connection.getresponse()
            assert answer.status == status
            assert json.load(answer)["detail"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (request("GET", "/test")[:-2] + b"x: ", 431),
        (request("POST", "/predict", CHUNKED, body=b"xyz\r\n"), 400),
        (request("POST", "/predict", CHUNKED, "Content-Type: a/b", body=b"ffffffff\r\n"), 415),
        (request("POST", "/predict", "Content-Encoding: br", "Content-Length: 99999"), 415),
        (
            request("POST", "/predict", CHUNKED, "Origin: http://else.example", body=b"ffffff\r\n"),
            403,
        ),
        (request("GET", "http://else.example/", "Connection: close"), 421),
        (request("GET", "/test", "Connection: close"), 200),
    ],
)
def test_a_status_arrives_whatever_is_still_sent(
    server: SseptServer, head: bytes, status: int
) -> None:
    for _ in range(5):
        with connect(server.port) as connection:
            connection.sendall(head)
            for _ in range(20):
                connection.sendall(b"x" * MB)
            assert statuses(rest(connection)) == [status]


PLAIN = {"gzip": gzip.compress(BODY), "x-gzip": gzip.compress(BODY), "deflate": zlib.compress(BODY)}


@pytest.mark.parametrize("encoding", [*PLAIN, "GZIP", "identity"])
def test_a_compressed_body_is_read(server: SseptServer, encoding: str) -> None:
    body = PLAIN.get(encoding.lower(), BODY)
    sent = request("POST", "/predict", f"Content-Length: {len(body)}",
                   f"Content-Encoding: {encoding}", body=body)  # fmt: skip
    assert b"top_items" in netcat(server.port, sent)


@pytest.mark.parametrize("encodings", [["br"], ["gzip", "gzip"], ["gzip, deflate"]])
def test_other_encodings_and_several_are_refused(server: SseptServer, encodings: list[str]) -> None:
    named = [f"Content-Encoding: {one}" for one in encodings]
    body = PLAIN["gzip"]
    length = f"Content-Length: {len(body)}"
    answer = netcat(server.port, request("POST", "/predict", length, *named, body=body))
    assert statuses(answer) == [415]
    assert b"\r\naccept-encoding: gzip, deflate\r\n" in answer


def test_what_a_small_body_unpacks_to_is_bounded(server: SseptServer) -> None:
    body = gzip.compress(bytes(50 * MB))
    sent = request("POST", "/predict", f"Content-Length: {len(body)}", "Content-Encoding: gzip")
    assert statuses(netcat(server.port, sent + body)) == [413]


@pytest.mark.parametrize("path", ["/predict/", "/test/", "/v2/", "/users/1/", "/predict//", "//"])
def test_a_path_with_one_more_slash_is_not_found_and_not_redirected(
    server: SseptServer, path: str
) -> None:
    for method in ("GET", "POST"):
        assert statuses(netcat(server.port, request(method, path))) == [404]


PATHS = {
    "/": {"GET", "HEAD"},
    "/test": {"GET", "HEAD", "POST"},
    "/version": {"GET", "HEAD"},
    "/health/live": {"GET", "HEAD"},
    "/openapi.json": {"GET", "HEAD"},
    "/metrics": {"GET", "HEAD"},
    "/items": {"GET", "HEAD"},
    "/v2": {"GET", "HEAD"},
    "/predict": {"POST"},
    "/v2/repository/index": {"POST"},
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_has_the_methods_that_its_allow_names(server: SseptServer, path: str) -> None:
    allowed = PATHS[path]
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        head, _, body = netcat(server.port, request(method, path)).partition(b"\r\n\r\n")
        (status,) = statuses(head)
        assert (status != 405) == (method in allowed)
        if status == 405:
            (named,) = re.findall(rb"\r\nallow: ([^\r]*)", head)
            assert named.decode().split(", ") == sorted(allowed)
        if method == "HEAD":
            assert not body
            assert b"\r\ncontent-length: " in head or status == 405


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET http://localhost/test", 200),
        ("GET HTTP://LOCALHOST:1/test?a=b", 200),
        ("GET http://localhost", 200),
        ("GET http://localhost?a=b", 200),
        ("GET http://evil.example/test", 421),  # it, not the Host header, names the host
        ("GET http://localhost@evil.example/test", 400),
        ("GET ftp://localhost/test", 400),
        ("GET test", 400),
        ("CONNECT localhost:80", 400),
        ("CONNECT /test", 400),
        ("OPTIONS *", 404),
    ],
)
def test_targets_of_every_form_have_one_answer(server: SseptServer, line: str, status: int) -> None:
    method, target = line.split()
    assert statuses(netcat(server.port, request(method, target))) == [status]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([LENGTH, LENGTH], 400),
        ([LENGTH, "Content-Length: 3"], 400),
        ([f"{LENGTH}, {len(BODY)}"], 400),
        ([LENGTH, CHUNKED], 400),
        ([CHUNKED, LENGTH], 400),
        (["Transfer-Encoding: gzip"], 400),
        (["Transfer-Encoding: chunked, gzip"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        (["Transfer-Encoding: xchunked"], 400),
        (["Content-Length: +4"], 400),
        (["Content-Length: 0x4"], 400),
        (["Content-Length : 4"], 400),
    ],
)
def test_a_body_whose_end_is_in_doubt_is_refused_once(
    server: SseptServer, headers: list[str], status: int
) -> None:
    sent = request("POST", "/predict", *headers, body=IN_CHUNKS + BODY)
    assert statuses(netcat(server.port, sent)) == [status]


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "3.0", "9"])
def test_other_versions_are_refused(server: SseptServer, version: str) -> None:
    sent = request("GET", "/test").replace(b"1.1", version.encode())
    assert statuses(netcat(server.port, sent))[0] in (400, 505)


def test_a_client_that_reads_slowly_holds_up_no_other(server: SseptServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(request("GET", "/openapi.json") * 60)
            slow.recv(1)
        for _ in range(TIMES):
            assert statuses(netcat(server.port, PREDICT)) == [200]
            slow.recv(10)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.slow
def test_clients_that_reset_all_the_time_take_no_memory(server: SseptServer) -> None:
    """SSEPT_TEST_SECONDS is how long they do."""
    seconds = float(os.environ.get("SSEPT_TEST_SECONDS", "30"))
    large = request("POST", "/predict", "Content-Length: 99999999", body=bytes(MB))
    ways = [
        *(PREDICT, PREDICT[:-9], PREDICT * 20, b"GET /te", b"", large, b"nonsense\r\n\r\n"),
        *(
            request("GET", "/openapi.json") * 30,
            request("POST", "/predict", *H2C, LENGTH, body=BODY),
        ),
    ]
    process = psutil.Process(server.pid)
    sizes: list[int] = []
    count, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        for sent in ways:
            connection = connect(server.port)
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                if count % 3 == 0 and len(sent) > 100:
                    connection.recv(1)
            reset(connection)
            count += 1
        if passed > len(sizes) * seconds / 20:
            sizes.append(process.memory_info().rss // MB)
    print(f"{count} resets in {passed:.0f} s, MB: {sizes}, files: {process.num_fds()}")
    assert max(sizes[10:]) - max(sizes[5:10]) < 8
    assert statuses(netcat(server.port, PREDICT)) == [200]
