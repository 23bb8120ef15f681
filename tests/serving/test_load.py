"""Loads on a server: what is sent, what is counted, and what is said where it cannot be done."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from ssept.errors import LoadError
from ssept.report.table import matrix_report
from ssept.serving.load import connections, loadgen, open_loop, wrk
from ssept.serving.load.bodies import predict_bodies
from ssept.serving.load.max_rate import largest_rate, within
from ssept.serving.load.result import Percentiles, Result
from tests.helpers.matrix import saved_run

BODIES = [b'{"user": %d}' % number for number in range(7)]
SLOW_SECONDS = 0.02
RATE, SECONDS = 400, 0.5
REQUESTS = round(RATE * SECONDS)


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        self.server.times.append(time.perf_counter())
        number = len(self.server.bodies)
        every_other = 503 if number % 2 else 200
        match self.path:
            case "/slow":
                time.sleep(SLOW_SECONDS)
                self.answer(200)
            case "/refuse":
                self.answer(503)
            case "/busy":
                self.answer(every_other)
            case "/closing":
                self.answer(every_other, connection="close")
            case "/broken":
                self.close_connection = number % 5 == 0
                if not self.close_connection:
                    self.answer(200)
            case "/pieces":
                self.answer(200, pieces=True)
            case "/unsized":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
            case "/chunked":
                self.wfile.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nso\r\n"
                )
                self.wfile.write(b"A;of=ten\r\nme\r\n\r\nnull\r\n0\r\n")
                self.wfile.write(b"\r\n" if number % 2 else b"a: trailer\r\n\r\n")
            case "/hang":
                self.server.ended.wait()
            case "/leaves" if number > REQUESTS // 2:
                self.server.leave()
                self.close_connection = True
            case _:
                self.answer(200)

    def answer(self, status: int, connection: str = "keep-alive", pieces: bool = False) -> None:
        head = f"HTTP/1.1 {status} said\r\nContent-Length: 4\r\nConnection: {connection}\r\n\r\n"
        for part in [head[:20], head[20:], "so", "me"] if pieces else [head + "some"]:
            self.wfile.write(part.encode())
        self.close_connection = connection == "close"

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.times: list[float] = []
        self.ended = threading.Event()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server_port

    def leave(self) -> None:
        """Close the connection that this is asked over, and accept none any more."""
        self.socket.close()

    def handle_error(self, *_: object) -> None:
        pass  # a client that goes away is no error here


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture(params=["own", "LoadGen"])
def measure(request: pytest.FixtureRequest) -> Callable[..., Result]:
    if request.param == "own":
        return open_loop.measure
    if reason := loadgen.unavailable():
        pytest.skip(reason)
    return loadgen.measure


@pytest.fixture
def posts(server: Server, measure: Callable[..., Result]) -> Callable[..., Result]:
    def post(path: str, rate: float = RATE, count: int = 64) -> Result:
        return measure(server.address, path, BODIES, rate, SECONDS, count)

    return post


needs_wrk = pytest.mark.skipif(wrk.unavailable() is not None, reason=str(wrk.unavailable()))


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_bodies_are_what_predict_takes() -> None:
    (body,) = predict_bodies([3], [np.array([5, 8])], top_k=4)
    assert json.loads(body) == {"user_id": 3, "sequence": [5, 8], "top_k": 4}


@needs_wrk
def test_wrk_posts_all_bodies_in_turn_and_counts_what_succeeds(server: Server) -> None:
    result = wrk.measure(url(server, "/"), BODIES, 2, 1)
    counts = Counter(server.bodies)
    assert set(counts) == set(BODIES)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert 0 < result.requests <= len(server.bodies)
    assert result.rate == pytest.approx(result.requests / result.seconds)
    assert result.errors == {}
    figures = result.latency
    assert figures.p50_ms is not None
    assert figures.p99_ms is not None
    assert 0 < figures.p50_ms <= figures.p99_ms
    assert result.client_cpu > 0


@needs_wrk
def test_wrk_tells_refused_requests_from_others(server: Server) -> None:
    result = wrk.measure(url(server, "/refuse"), BODIES, 2, 1)
    assert result.rate == 0
    assert result.errors == {"a status of 400 or more": result.requests}


@needs_wrk
def test_wrk_counts_connections_that_the_server_closes(server: Server) -> None:
    assert "closed" in wrk.measure(url(server, "/broken"), BODIES, 2, 1).errors


@needs_wrk
def test_wrk_without_a_server_is_told_with_the_address() -> None:
    with Server() as server:
        nowhere = url(server, "/")
    with pytest.raises(LoadError, match=rf"{nowhere}: wrk ended with 1: .*refused"):
        wrk.measure(nowhere, BODIES, 1, 1)


def test_without_wrk_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LoadError, match="apt-get install wrk"):
        wrk.measure("http://127.0.0.1:1/", BODIES, 1, 1)


def test_without_loadgen_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "LIBRARY", "no_such_library")
    with pytest.raises(LoadError, match="pip install mlcommons-loadgen"):
        loadgen.measure(("127.0.0.1", 1), "/", BODIES, RATE, SECONDS)


def test_an_open_loop_sends_every_body_in_turn(
    posts: Callable[..., Result], server: Server
) -> None:
    result = posts("/")
    assert result.requests == REQUESTS == len(server.bodies)
    assert Counter(server.bodies) == Counter(BODIES[n % len(BODIES)] for n in range(REQUESTS))
    assert result.errors == {}
    assert result.latency.p95_ms is not None
    assert result.latency.p99_ms is None, "200 requests are too few for it"
    assert result.late_mean_ms is not None
    assert result.client_cpu > 0


def test_arrivals_are_those_of_a_poisson_process(
    posts: Callable[..., Result], server: Server
) -> None:
    posts("/", rate=800)
    gaps = np.diff(sorted(server.times))
    # Of a Poisson process 39 %; of even gaps few; of bursts of all connections nearly all. (Much
    # shorter gaps than half the mean are shorter than the server takes to see a request.)
    assert 0.15 < (gaps < 0.5 * gaps.mean()).mean() < 0.75


def test_latency_counts_from_the_plan_when_all_connections_are_busy(
    posts: Callable[..., Result],
) -> None:
    result = posts("/slow", rate=5 / SLOW_SECONDS, count=1)
    assert result.waited > result.requests / 2
    assert result.latency.p50_ms is not None
    assert result.latency.p50_ms > 5 * SLOW_SECONDS * 1e3


def test_the_own_loop_ends_with_its_time(server: Server) -> None:
    result = open_loop.measure(server.address, "/slow", BODIES, 20 / SLOW_SECONDS, SECONDS, 1)
    assert result.errors == {"no connection was free": result.requests - len(server.bodies)}
    assert len(server.bodies) < result.requests / 2


def test_the_own_loop_tells_the_times_of_refused_requests_apart(server: Server) -> None:
    result = open_loop.measure(server.address, "/busy", BODIES, RATE, SECONDS, 64)
    assert result.errors == {"503": REQUESTS // 2}
    assert result.rate == pytest.approx(REQUESTS / 2 / result.seconds)
    assert result.refused is not None
    assert result.refused.p90_ms is not None


def test_loadgen_counts_refused_requests(server: Server) -> None:
    if reason := loadgen.unavailable():
        pytest.skip(reason)
    result = loadgen.measure(server.address, "/busy", BODIES, RATE, SECONDS, 64)
    assert result.errors == {"503": REQUESTS // 2}


def test_a_connection_that_an_answer_ends_is_replaced(posts: Callable[..., Result]) -> None:
    assert posts("/closing").errors == {"503": REQUESTS // 2}


def test_a_connection_that_ends_without_an_answer_is_counted_and_replaced(
    posts: Callable[..., Result],
) -> None:
    assert posts("/broken").errors == {"closed without an answer": REQUESTS // 5}


def test_an_answer_may_come_in_pieces(posts: Callable[..., Result], server: Server) -> None:
    assert posts("/pieces").errors == {}
    assert len(server.bodies) == REQUESTS


def test_answers_in_chunks_are_read_and_joined(server: Server) -> None:
    log = connections.Log(REQUESTS)
    given = (server.address, "/chunked", BODIES, 8, log)
    with connections.Connections(*given) as sender:
        for number in range(REQUESTS):
            sender.send(number)
        while sender.left:
            sender.poll(0.1)
    assert log.errors() == {}
    assert {*log.answers.values()} == {b"some\r\n\r\nnull"}
    assert len(server.bodies) == REQUESTS


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/hang", "/hang: no answer within 0.2 s"),
        ("/unsized", "neither a content-length nor chunks"),
        ("/leaves", "/leaves: cannot connect"),
    ],
    ids=["hangs", "no_length", "leaves"],
)
def test_a_load_that_cannot_go_on_ends_with_the_reason(
    posts: Callable[..., Result], path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(LoadError, match=message):
        posts(path)


def test_no_server_is_told_with_its_address(measure: Callable[..., Result]) -> None:
    with Server() as server:
        host, port = server.address
    with pytest.raises(LoadError, match=f"{host}:{port}/: cannot connect"):
        measure((host, port), "/", BODIES, RATE, SECONDS, 1)


def result_of(rate: float, p99_ms: float | None, **others: Any) -> Result:
    figures = Percentiles(1.0, 2.0, 3.0, p99_ms)
    return Result(
        rate=rate,
        requests=1000,
        seconds=1.0,
        latency=figures,
        **({"errors": {}, "client_cpu": 0.1} | others),
    )


@pytest.mark.parametrize("start", [100, 900, 1000, 4000])
def test_the_search_finds_the_largest_rate(start: float) -> None:
    found = largest_rate(
        lambda rate: result_of(rate, 5.0 if rate <= 1000 else 50.0), start, within(10)
    )
    assert 1000 / 1.05 <= found.rate <= 1000
    assert all(probe.kept == (probe.rate <= 1000) for probe in found.probes)
    assert [probe.rate for probe in found.fresh] == [found.rate] * 5
    assert found.probes[-5:] == found.fresh


def test_the_search_takes_one_failure_for_a_pause_of_the_machine() -> None:
    tried: Counter[float] = Counter()

    def measure(rate: float) -> Result:
        tried[rate] += 1
        return result_of(rate, 5.0 if rate <= 1000 and tried[rate] > 1 else 50.0)

    assert largest_rate(measure, 800, within(10)).rate >= 1000 / 1.05


def test_the_search_gives_up_where_no_rate_keeps_the_promise() -> None:
    found = largest_rate(lambda rate: result_of(rate, 50.0), 1000, within(10))
    assert (found.rate, found.fresh) == (0, [])
    assert found.probes


@pytest.mark.parametrize("width", [0.02, 0.1, 0.3], ids="{:.0%}".format)
def test_a_rate_that_passed_by_luck_is_not_taken(width: float) -> None:
    """Near the limit a probe passes or not by chance: half of them at 1,000 a second."""
    random = np.random.default_rng(0)

    def measure(rate: float) -> Result:
        kept = random.random() < 1 / (1 + math.exp(math.log(rate / 1000) / width * 2))
        return result_of(rate, 5.0 if kept else 50.0)

    rates = [largest_rate(measure, 700, within(10)).rate for _ in range(200)]
    assert np.median(rates) <= 1000
    assert np.quantile(rates, 0.1) > 1000 * (1 - 2 * width - 0.05)


def test_what_is_told_of_the_largest_rate_is_of_fresh_probes() -> None:
    times = iter([9.0] * 100)

    def measure(rate: float) -> Result:
        return result_of(rate, next(times) if rate <= 1000 else 50.0)

    first = largest_rate(measure, 1000, within(10))
    taken = len([probe for probe in first.probes if probe.rate <= 1000])
    times = iter([1.0] * (taken - 5) + [7.0, 3.0, None, 4.0, 5.0])
    found = largest_rate(measure, 1000, within(10))
    assert found.rate == first.rate
    assert found.result.latency.p99_ms == 5.0


@pytest.mark.parametrize(
    "result",
    [result_of(1, 11.0), result_of(1, None), result_of(1, 1.0, errors={"503": 1})],
    ids=["slow", "unknown", "failed"],
)
def test_a_promise_is_kept_only_by_figures_that_say_so(result: Result) -> None:
    assert within(10)(result_of(1, 10.0))
    assert not within(10)(result)


@pytest.mark.parametrize(
    ("facts", "bound"),
    [
        ({}, False),
        ({"client_cpu": 0.95}, True),
        ({"late_mean_ms": 1.5}, True),
        ({"late_mean_ms": 0.1, "late_p99_ms": 2.0}, True),
        ({"late_mean_ms": 0.1, "late_p99_ms": 0.5}, False),
    ],
)
def test_a_result_says_whether_the_client_may_have_been_the_limit(
    facts: dict[str, Any], bound: bool
) -> None:
    saved = result_of(1, 1.0, **facts).facts()
    assert saved["client_bound"] is bound
    json.dumps(saved)


def test_the_report_has_a_row_for_each_load() -> None:
    loads = [
        ("wrk", "8 at a time", result_of(4321, 9.87)),
        ("own", "2 times", result_of(5, None, errors={"503": 1234}, late_mean_ms=2.5)),
    ]
    facts = [
        {"measure": "served requests", "served": "fastapi"}
        | {"client": client, "load": load, "result": result.facts()}
        for client, load, result in loads
    ]
    report = matrix_report(saved_run(*facts))
    rows = [line.split() for line in report.splitlines() if line.startswith("fastapi")]
    assert rows[0] == ["fastapi", "wrk", "8", "at", "a", "time", "4,321", "1.00", "9.87", "–"]
    assert rows[1][-6:] == ["!", "1.00", "–", "2.50", "1,234", "503"]
