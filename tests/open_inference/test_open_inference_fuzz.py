"""Requests for inference that are broken in random ways: each is refused, and the server lives on.

SSEPT_TEST_FUZZ is how many are sent.
"""

import contextlib
import copy
import gzip
import http.client
import json
import os
import random
import socket
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import psutil
import pytest

from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import write_checkpoint

COUNT = int(os.environ.get("SSEPT_TEST_FUZZ", "600"))
LENGTH, LARGEST, K = 50, 8, 10
MAX_BODY = 32_768
SECONDS = 20  # that no answer takes
GROWTH_BYTES = 48 << 20
PATH = "/v2/models/recommender_model_onnx/infer"
LENGTH_HEADER = "Inference-Header-Content-Length"
EXPECTED = {200, 400, 404, 405, 413, 415}
JUNK = [
    *(None, True, False, 0, 1, -1, 2, LARGEST + 1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64),
    *(
        1.5,
        1e308,
        "",
        "1",
        "INT32",
        "BYTES",
        "SEQ",
        "USER_ID",
        "scores",
        "topk_ids",
        "\0",
        "\ud800",
    ),
    *("é" * 300, [], {}, [[]], [None], [1, 50], [50, 1], [-1, 50], [0, 50], [2**32, 2**32]),
    *([2**62, 4], [1] * 65, [1, 50, 1], list(range(2000)), {"name": "SEQ"}, {"binary_data": "yes"}),
    *({"binary_data_size": 8}, {"binary_data_size": -8}, {"binary_data_size": 2**63}),
    *({"shared_memory_region": "a"}, {"classification": 3}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SseptServer]:
    folder = tmp_path_factory.mktemp("fuzz")
    settings = ServerSettings(
        model=write_checkpoint(folder / "tiny.safetensors"),
        max_batch=LARGEST,
        max_body_bytes=MAX_BODY,
        max_top_k=K,
        max_wait_ms=10_000,
        deadline_ms=1000,
    )
    with running(settings, folder / "server.log") as server:
        yield server


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def valid(chance: random.Random) -> tuple[dict[str, Any], bytes]:
    """The JSON part of a request and the data behind it."""
    size, data, inputs = chance.choice([1, 1, 2, LARGEST]), b"", []
    for name, width in chance.sample([("USER_ID", 1), ("SEQ", LENGTH)], 2):
        values = [chance.choice([0, 7, -(2**63), 2**63 - 1]) for _ in range(size * width)]
        one = {"name": name, "shape": [size, width], "datatype": "INT64"}
        if chance.random() < 0.7:
            part = np.array(values, np.int64).tobytes()
            one["parameters"] = {"binary_data_size": len(part)}
            data += part
        else:
            one["data"] = values
        inputs.append(one)
    request: dict[str, Any] = {"inputs": inputs}
    if chance.random() < 0.5:
        names = chance.sample(["topk_ids", "topk_scores"], chance.choice([1, 2]))
        request["outputs"] = [
            {"name": name, "parameters": {"binary_data": chance.random() < 0.7}} for name in names
        ]
    if chance.random() < 0.3:
        request |= {"id": f"{chance.random()}", "parameters": {"binary_data_output": True}}
    return request, data


def change_a_value(chance: random.Random, request: Any) -> None:
    """Put something else where a value stands, take it away, or have it twice."""
    places = [(request, key) for key in request]
    for parent, key in places:
        child = parent[key]
        if isinstance(child, (dict, list)) and len(places) < 500:
            keys = child if isinstance(child, dict) else range(min(len(child), 4))
            places += [(child, inner) for inner in keys]
    parent, key = chance.choice(places)
    way = chance.random()
    if way < 0.7:
        parent[key] = copy.deepcopy(chance.choice([*JUNK, nested(70), nested(200)]))
    elif way < 0.85:
        del parent[key]
    elif isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[chance.choice(["name", "data", "shape", "id", "parameters", "x"])] = parent[key]


def change_bytes(chance: random.Random, body: bytes) -> bytes:
    """Cut, overwrite or insert bytes."""
    at = chance.randrange(len(body) + 1)
    some = chance.randbytes(chance.choice([1, 3, 40]))
    way = chance.randrange(4)
    if way == 0:
        return body[:at]
    if way == 1:
        return body[:at] + some + body[at + len(some) :]
    if way == 2:
        return body[:at] + some + body[at:]
    return body[at:]


def packed(chance: random.Random, body: bytes) -> tuple[bytes, str]:
    """The body in an encoding, or in another one than is said; also far too much in few bytes."""
    body = chance.choice([body, body, bytes(50 * MAX_BODY)])
    pack = chance.choice([gzip.compress, zlib.compress, bytes])
    body = pack(body)
    if chance.random() < 0.3:
        body = change_bytes(chance, body)
    return body, chance.choice(["gzip", "deflate", "identity", "br", "\xff", ""])


def wrong_length(chance: random.Random, right: int) -> str:
    """A length of the JSON part that is not the right one."""
    near = right + chance.choice([-right, -1, 1, 8, 100, -(10**6), 10**6, 2**31, 2**64])
    return chance.choice(
        [f"{near}", f"+{right}", f"0x{right:x}", "", "a", "1" * 3000, f"{right}.0"]
    )


def raw(chance: random.Random) -> bytes:
    """A whole request of HTTP, broken in one way or another; its body is as long as it says."""
    request, data = valid(chance)
    way = chance.randrange(10)
    for _ in range(chance.choice([1, 1, 3]) if way < 4 else 0):
        if request:
            change_a_value(chance, request)
    text = json.dumps(request).encode()
    if way == 4:
        opening = chance.choice([b"[", b'{"a":', b'{"inputs":['])
        text = opening * chance.choice([10, 1000, MAX_BODY // len(opening)])
        if chance.random() < 0.5:
            depth = chance.choice([300, 1000, 1020, 1030])
            text = b'{"inputs":[{"name":"SEQ","data":%b1%b}]}' % (b"[" * depth, b"]" * depth)
    headers = {LENGTH_HEADER: f"{len(text)}"} if data or chance.random() < 0.2 else {}
    body = text + data
    if way in (5, 6):
        body = change_bytes(chance, body)
    if way == 7:
        headers[LENGTH_HEADER] = wrong_length(chance, len(text))
    if way == 8:
        body, headers["Content-Encoding"] = packed(chance, body)
    path = PATH
    if chance.random() < 0.05:
        path = chance.choice(
            ["/v2/models/x/infer", f"{PATH}?a=%00", PATH.replace("m", "%6d"), "/v2/%ff"]
        )
    method = chance.choice(["GET", "PUT", "DELETE"]) if chance.random() < 0.02 else "POST"
    return message(method, path, body, headers)


def message(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(file: Any) -> tuple[int, bool]:
    """The status of the next answer, 0 if there is none, and whether the server then closes."""
    line = file.readline()
    if not line:
        return 0, True
    status, headers = int(line.split()[1]), http.client.parse_headers(file)
    body = file.read(int(headers["content-length"]))
    assert len(body) == int(headers["content-length"])
    if status == 200:
        check(headers, body)
    elif headers["content-type"] == "application/json":
        assert json.loads(body).keys() == {"error"}
    else:  # uvicorn's own, of what is not HTTP
        assert (status, headers["connection"]) == (400, "close")
    return status, headers["connection"] == "close"


def check(headers: Any, body: bytes) -> None:
    """Whether an answer is whole."""
    end = int(headers.get(LENGTH_HEADER, len(body)))
    behind = 0
    for output in json.loads(body[:end])["outputs"]:
        size, k = output["shape"]
        assert k == K
        if "data" in output:
            assert len(output["data"]) == size * k
        else:
            width = {"INT64": 8, "FP32": 4}[output["datatype"]]
            assert output["parameters"]["binary_data_size"] == size * k * width
            behind += size * k * width
    assert len(body) - end == behind


class Sender:
    """Sends on one connection for as long as the server keeps it open.

    Attributes:
        statuses: how many answers had which; 0 are those that the server closed instead.
    """

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=SECONDS)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, requests: list[bytes]) -> None:
        """Send whole requests at once: all are answered, but for those behind a closing answer."""
        self.send(b"".join(requests))
        for _ in requests:
            status, closes = self.answer()
            assert status in EXPECTED
            if closes:
                self._again()
                return

    def ask_a_part(self, part: bytes) -> None:
        """Send less than a request, and end."""
        self.send(part)
        with contextlib.suppress(OSError):  # the server may have closed by now
            self._socket.shutdown(socket.SHUT_WR)
        while not self.answer()[1]:
            pass
        self._again()

    def send(self, content: bytes) -> None:
        """Send anything."""
        with contextlib.suppress(ConnectionError):  # what it refuses it may not read to the end
            self._socket.sendall(content)

    def answer(self) -> tuple[int, bool]:
        """The next answer, see `answer`."""
        try:
            status, closes = answer(self._file)
        except ConnectionError:
            status, closes = 0, True
        self.statuses[status] += 1
        return status, closes

    def _again(self) -> None:
        self.close()
        self._connect()


@pytest.mark.slow
def test_broken_requests_are_refused_and_nothing_grows(server: SseptServer) -> None:
    chance = random.Random(0)
    process = psutil.Process(server.pid)
    sent: list[bytes] = []
    with closing(Sender(server.port)) as sender:
        for number in range(COUNT):
            if number == COUNT // 4:
                before, files = process.memory_info().rss, process.num_fds()
            sent = [raw(chance) for _ in range(chance.choice([1] * 15 + [2, 5]))]
            try:
                if chance.random() < 0.05:
                    sender.ask_a_part(sent[0][: chance.randrange(1, len(sent[0]))])
                else:
                    sender.ask(sent)
            except (AssertionError, OSError, ValueError) as error:
                pytest.fail(f"request {number}: {error!r}: {b''.join(sent)[:1000]!r}")
        print(f"{COUNT} requests, answers by status: {dict(sorted(sender.statuses.items()))}")
        assert {200, 400, 413, 415} <= sender.statuses.keys()
        assert process.memory_info().rss - before < GROWTH_BYTES
        assert process.num_fds() <= files + 2
    server.check()
    with closing(Sender(server.port)) as sender:
        request, data = valid(random.Random(1))
        text = json.dumps(request).encode()
        headers = {LENGTH_HEADER: f"{len(text)}"} if data else {}
        sender.ask([message("POST", PATH, text + data, headers)])
        assert sender.statuses == {200: 1}


def test_a_body_that_does_not_come_is_not_waited_for(server: SseptServer) -> None:
    with closing(Sender(server.port)) as sender:
        sender.send(message("POST", PATH, b"{}", {}).replace(b"Length: 2", b"Length: 9"))
        assert sender.answer() == (503, True)
