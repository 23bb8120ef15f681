"""Answers of servers under load: what is wrong, swapped, cached or NaN fails the load."""

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssept
from ssept.errors import AnswerError
from ssept.providers import Budget, budget
from ssept.serving.core.engine import Engine
from ssept.serving.load import loadgen, open_loop, wrk
from ssept.serving.load.answers import ExpectedAnswers, Witness
from ssept.serving.load.bodies import INFER_PATH, TOP_K, infer_bodies, predict_bodies
from ssept.serving.load.result import Result
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import ITEMS, USERS, item_id, live, user_id, write_checkpoint

QUESTIONS = 12
RATE, SECONDS = 400, 0.5
EXACT, INT8 = Budget(1e-4, 0.999, 0.0), Budget(float("inf"), 0.9, 0.02)
BODIES = predict_bodies(range(QUESTIONS), [np.arange(1, 4)] * QUESTIONS)


def right(user: int) -> dict[str, list[Any]]:
    """What the small server has to answer to a user."""
    random = np.random.default_rng(user)
    ids = random.permutation(1000)[:TOP_K].tolist()
    return {"top_items": ids, "scores": sorted(random.normal(size=TOP_K), reverse=True)}


def expected(allowed: Budget = EXACT) -> ExpectedAnswers:
    answers = [right(user) for user in range(QUESTIONS)]
    best = [(np.array([one["top_items"]]), np.array([one["scores"]])) for one in answers]
    return ExpectedAnswers("small", best, allowed)


Fault = Callable[["Server", int, dict[str, Any]], dict[str, Any]]


class Server(ThreadingHTTPServer):
    """A small server with a fault: a function of the server, the request's number, its answer."""

    request_queue_size = 64

    def __init__(self, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = fault
        self.lock = threading.Lock()
        self.answers: list[dict[str, Any]] = []

    def answer(self, body: bytes) -> bytes:
        with self.lock:
            self.answers.append(right(json.loads(body)["user_id"]))
            return json.dumps(self.fault(self, len(self.answers), self.answers[-1])).encode()

    def handle_error(self, *_: object) -> None:
        pass  # a client that goes away is no error here


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        answer = self.server.answer(self.rfile.read(int(self.headers["content-length"])))
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n"
        self.wfile.write(head.encode() + answer)

    def log_message(self, *_: object) -> None:
        pass


Start = Callable[[Fault], Server]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(fault: Fault) -> Server:
        server = Server(fault)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["own", "LoadGen", "wrk"])
def load(request: pytest.FixtureRequest) -> Callable[[Server, ExpectedAnswers], Result]:
    """A load of each kind on a server, with the right answers."""
    tools: dict[str, Any] = {"own": open_loop, "LoadGen": loadgen, "wrk": wrk}
    tool = tools[request.param]
    if tool is not open_loop and (reason := tool.unavailable()):
        pytest.skip(reason)

    def run(server: Server, answers: ExpectedAnswers) -> Result:
        port = server.server_port
        if tool is wrk:
            url = f"http://127.0.0.1:{port}/predict"
            found: Result = wrk.measure(url, BODIES, 8, 1, answers)
            return found
        address = ("127.0.0.1", port)
        measured: Result = tool.measure(
            address, "/predict", BODIES, RATE, SECONDS, 16, expected=answers
        )
        return measured

    return run


def none(_: Server, __: int, answer: dict[str, Any]) -> dict[str, Any]:
    return answer


def after_some(_: Server, number: int, answer: dict[str, Any]) -> dict[str, Any]:
    wrong = [one + 1 for one in answer["top_items"]]
    return answer | {"top_items": wrong} if number > 20 else answer


def of_the_one_before(server: Server, number: int, _: dict[str, Any]) -> dict[str, Any]:
    return server.answers[max(0, number - 2)]


def swapped_by_pairs(server: Server, number: int, answer: dict[str, Any]) -> dict[str, Any]:
    return right(number % QUESTIONS) if number % 4 < 2 else answer


def cached(server: Server, _: int, __: dict[str, Any]) -> dict[str, Any]:
    return server.answers[0]


def not_a_number(_: Server, number: int, answer: dict[str, Any]) -> dict[str, Any]:
    scores = [None, *answer["scores"][1:]]
    return answer | {"scores": scores} if number > 20 else answer


def no_prediction(_: Server, __: int, ___: dict[str, Any]) -> dict[str, Any]:
    return {"detail": "no"}


FAULTS = {
    after_some: "small: under load, request .* was not answered as the same model does alone",
    of_the_one_before: "it is the answer to another request, cached or swapped",
    swapped_by_pairs: "it is the answer to another request, cached or swapped",
    cached: "it is the answer to another request, cached or swapped",
    not_a_number: "a score is NaN",
    no_prediction: "small: a response under load is not a prediction",
}


@pytest.mark.parametrize("allowed", [EXACT, INT8], ids=["exact", "int8"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_under_load_fails_it(
    fault: Fault,
    allowed: Budget,
    start: Start,
    load: Callable[[Server, ExpectedAnswers], Result],
) -> None:
    with pytest.raises(AnswerError, match=FAULTS[fault]) as caught:
        load(start(fault), expected(allowed))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_faultless_server_passes(
    start: Start, load: Callable[[Server, ExpectedAnswers], Result]
) -> None:
    assert load(start(none), expected()).errors == {}


@pytest.mark.parametrize("word", [None, float("nan")], ids=["null", "NaN"])
@pytest.mark.parametrize("tool", [open_loop, loadgen], ids=["own", "LoadGen"])
def test_one_nan_is_found_outside_of_the_sample(
    tool: Any, word: float | None, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool is loadgen and (reason := loadgen.unavailable()):
        pytest.skip(reason)

    def once(_: Server, number: int, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"scores": [word, *answer["scores"][1:]]} if number == 99 else answer

    monkeypatch.setattr("ssept.serving.load.connections.SAMPLE", 1)
    address = ("127.0.0.1", start(once).server_port)
    with pytest.raises(AnswerError, match="a score is NaN"):
        tool.measure(address, "/predict", BODIES, RATE, SECONDS, 16, expected=expected())


def test_a_sample_is_kept_of_a_long_load(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr("ssept.serving.load.connections.SAMPLE", 50)
    monkeypatch.setattr(ExpectedAnswers, "check_predictions", lambda _, found: kept.extend(found))
    address = ("127.0.0.1", start(none).server_port)
    for _ in range(2):
        open_loop.measure(address, "/predict", BODIES, RATE, SECONDS, 16, expected=expected())
    first, second = ({number for number, _ in part} for part in (kept[:50], kept[50:]))
    assert len(first) == len(second) == 50
    assert first != second, "a server could learn which answers are looked at"


def test_answers_within_the_budget_pass_and_beyond_it_fail() -> None:
    best = [(np.arange(10)[None] + 100 * n, np.arange(10.0)[None]) for n in range(20)]
    answers = ExpectedAnswers("small", best, INT8)

    def exchanged(count: int) -> list[tuple[int, Any]]:
        return [(n, (np.where(ids < ids[0, 0] + count, 9999, ids), s + 0.1))
                for n, (ids, s) in enumerate(best)]  # fmt: skip

    answers.check(exchanged(1))
    with pytest.raises(AnswerError, match=r"80\.0% of the best items .* at least 90\.0%"):
        answers.check([(n, (np.where(ids % 5 == 0, ids + 5000, ids), s))
                       for n, (ids, s) in enumerate(best)])  # fmt: skip


def test_a_witness_asks_little_and_leaves_out_what_fails() -> None:
    asked: list[int] = []
    enough = threading.Event()

    def ask(number: int) -> int | None:
        asked.append(number)
        if len(asked) == 2:
            raise ConnectionRefusedError
        if len(asked) > 9:
            enough.set()
        return None if len(asked) == 3 else number

    with Witness(nullcontext(ask), 5, concurrency=200) as witness:
        assert enough.wait(30)
    assert len(witness.answers) == len(asked) - 2
    assert all(number == answer for number, answer in witness.answers)


def test_a_swapped_answer_of_our_server_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "small.safetensors")
    settings = ServerSettings(model=checkpoint, variants=("fused_topk",))
    session = ssept.load(checkpoint, "fused_topk")
    random = np.random.default_rng(0)
    users = np.arange(1, USERS + 1)
    sequences = [random.integers(1, ITEMS + 1, 8) for _ in users]
    own_ids = np.array([item_id(item) for item in range(1, ITEMS + 1)])
    answers = ExpectedAnswers.of_predictions(
        "fastapi", session, users, sequences, budget("fused_topk", "cpu"), own_ids
    )
    bodies = predict_bodies(map(user_id, users.tolist()), [own_ids[row - 1] for row in sequences])
    run, last = Engine._run, list[Any]()

    def delayed(engine: Engine, session: Any, jobs: Any) -> list[Any]:
        last.append(run(engine, session, jobs))
        return last[-2] if len(last) > 50 and len(last[-2]) == len(jobs) else last[-1]

    with live(settings) as server:
        load = ("127.0.0.1", server.port), "/predict", bodies, 200, 0.5, 16
        assert open_loop.measure(*load, expected=answers).errors == {}
        engine = server.app.registry.models.default
        monkeypatch.setattr(engine.batcher, "_run", partial(delayed, engine))
        with pytest.raises(AnswerError, match=r"fastapi: .* it is the answer to another request"):
            open_loop.measure(*load, expected=answers)


def test_requests_of_the_open_inference_protocol_are_answered_as_in_process(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "small.safetensors")
    session = ssept.load(checkpoint, "fused_topk")
    random = np.random.default_rng(0)
    users = np.arange(1, USERS + 1)
    sequences = random.integers(1, ITEMS + 1, (USERS, session.artifact.model.max_length))
    bodies = infer_bodies(users, sequences)
    settings = ServerSettings(model=checkpoint, variants=("fused_topk",), max_top_k=TOP_K)
    with live(settings) as server:
        load = ("127.0.0.1", server.port), INFER_PATH, bodies, RATE, SECONDS, 16
        assert open_loop.measure(*load).errors == {}
        for user, sequence, body in zip(users, sequences, bodies, strict=True):
            url = f"http://127.0.0.1:{server.port}{INFER_PATH}"
            with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
                outputs = {each["name"]: each["data"] for each in json.load(answer)["outputs"]}
            ids, scores = session.recommend(user[None], sequence[None], TOP_K)
            assert outputs["topk_ids"] == ids[0].tolist()
            assert outputs["topk_scores"] == pytest.approx(scores[0].tolist(), abs=1e-4)
