"""The servers that ssept's is compared with: each starts, and answers as the model file does."""

import importlib.util
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ssept
from benchmarks.servers import FOLDER, PEERS, START_SECONDS, peer_running
from fixtures.servers import Servers, answering
from ssept.children import command
from ssept.data.dataset import load_dataset
from ssept.decide.servers.summary import summary
from ssept.decide.servers.turn import Contender, RunningServer, take_turn
from ssept.errors import AnswerError, ServerError
from ssept.serving.launch.supervised import ADDRESS, SupervisedProcess
from ssept.serving.launch.uvicorn_app import uvicorn_app
from ssept.serving.load.target import PREDICT
from ssept.serving.settings import ServerSettings, to_environment
from ssept.serving.triton.client import Client
from ssept.variants import build
from tests.conftest import tool_environment, untrained
from tests.guard import Guard
from tests.helpers.integer_products import right_integer_products
from tests.helpers.matrix import run_matrix
from tests.helpers.servers.seeded import LOST

VARIANT, LENGTH = "fused_int8_topk", 8
RATE, SECONDS = 50.0, 1.0
LIMIT_MS = 100.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Servers:
    dataset = load_dataset(small_folder)
    folder = tmp_path_factory.mktemp("model")
    checkpoint = untrained(dataset, folder / "model.safetensors", max_length=LENGTH)
    artifact, plain = (build(checkpoint, name, small_folder) for name in (VARIANT, "onnx"))
    settings = ServerSettings(model=checkpoint, variants=(VARIANT,), data=small_folder)
    return Servers.of(settings, dataset, artifact, plain, lambda: tmp_path_factory.mktemp("server"))


def environment_of(name: str, guard: Guard) -> None:
    peer = PEERS[name]
    if peer.megabytes:
        tool_environment(
            guard, peer.folder, FOLDER / peer.folder / "requirements.txt", peer.megabytes
        )
    elif name == "granian" and not importlib.util.find_spec("granian"):
        pytest.skip("granian is not installed: pip install 'granian[uvloop]'")


@pytest.mark.parametrize("name", [name for name in PEERS if name not in ("empty", "granian")])
def test_a_peer_answers_as_the_model_file_does(name: str, servers: Servers, guard: Guard) -> None:
    environment_of(name, guard)
    with servers.peer(name, 1) as server:
        assert server.send(RATE, SECONDS, 0).errors == {}


def test_two_workers_and_the_plain_export_answer_too(servers: Servers) -> None:
    with servers.peer("fastapi", 2, plain=True) as server:
        assert server.send(RATE, SECONDS, 0).errors == {}


def test_granian_runs_the_application_of_ssept(servers: Servers, guard: Guard) -> None:
    environment_of("granian", guard)
    with servers.granian(2) as server:
        assert server.send(RATE, SECONDS, 0).errors == {}


class GrpcServer(SupervisedProcess):
    """`benchmarks/servers/grpc/server.py` at a port."""

    def __init__(self, port: int, settings: ServerSettings, log: Path) -> None:
        variables = os.environ | to_environment(settings)
        program = command(FOLDER / "grpc" / "server.py", port)
        super().__init__("grpc", program, variables, log)

    def _is_ready(self) -> bool:
        return "ready" in self.log.read_text()


def test_the_server_of_grpc_answers_as_the_model_file_does(servers: Servers) -> None:
    artifact = servers.best[0]
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    server = GrpcServer(port, servers.settings, servers.folder() / "log")
    users, sequences = artifact.model.random_inputs(3)
    expected = ssept.load(servers.settings.model, VARIANT, "cpu").recommend(users, sequences, 100)
    with server.ready_within(START_SECONDS), Client("grpc", f"{ADDRESS}:{port}") as client:
        ids, scores = client.best(users, sequences)
    assert np.array_equal(ids, expected[0][:, : ids.shape[1]])
    assert np.allclose(scores, expected[1][:, : ids.shape[1]], atol=1e-4)


def test_a_server_that_answers_another_question_is_found(servers: Servers) -> None:
    artifact, questions = servers.plain
    turned = {path: [*all_of[1:], all_of[0]] for path, all_of in questions.bodies.items()}
    wrong = replace(servers, plain=(artifact, replace(questions, bodies=turned)))
    not_it = pytest.raises(AnswerError, match="not answered as the same model does alone")
    with wrong.peer("fastapi", 1, plain=True) as server, not_it:
        server.send(RATE, SECONDS, 0)


def test_a_server_that_does_not_start_says_why(servers: Servers) -> None:
    variables = {"MODEL": "/no/model.onnx"}
    log = servers.folder() / "log"
    ended = pytest.raises(ServerError, match="fastapi: ended with 1")
    with ended, peer_running("fastapi", 1, log, variables):
        pass


@contextmanager
def seeded(fault: str, servers: Servers) -> Iterator[RunningServer]:
    variables = to_environment(servers.settings) | {"SEEDED": fault}
    with uvicorn_app(
        "tests.helpers.servers.seeded:app", servers.folder() / "log", variables, ("--lifespan=on",)
    ) as server:
        yield answering(server, server.address, PREDICT, servers.own)


def test_a_wrong_answer_under_load_is_found(servers: Servers) -> None:
    turn = take_turn(Contender("stale", lambda: seeded("stale", servers)), 0, LIMIT_MS, None)
    assert turn.rate is None
    assert "not answered as the same model does alone" in turn.fault


def test_one_lost_request_in_ten_thousand_is_found(servers: Servers) -> None:
    lossy = Contender("lossy", lambda: seeded("lost", servers))
    turn = take_turn(lossy, 0, LIMIT_MS, None)
    assert not turn.fault
    sent = sum(load.requests for load in turn.loads)
    assert sent > LOST, "too few requests: this machine is too slow for the test"
    assert summary([turn], [turn]).failed["closed without an answer"] >= sent // LOST


@right_integer_products
def test_servers_are_compared_in_the_matrix(tmp_path: Path, own_cache: Path) -> None:
    del own_cache
    options = ("--servers=ssept,fastapi", "--server-minutes=1", "--p99-ms=2000")
    run = run_matrix(tmp_path, "benchmarks/test_servers.py", *options)
    assert run.code == 0, run.output
    (turns,) = run.cells("served turns").values()
    assert {*turns["turns"]} == {"ssept", "fastapi"}
    assert all(turn["loads"] for turn in turns["turns"].values())
    rates = {cell["server"]: cell for cell in run.cells("served rate").values()}
    assert {*rates} == {"ssept", "fastapi"}
    for cell in rates.values():
        assert cell["rate"] > 0
        assert cell["requests"] > 0
    fastest = max(rates, key=lambda name: rates[name]["rate"])
    assert rates[fastest]["ratio"] == 1
    assert f"× {fastest}" in run.output
    assert "round 1: fastapi: " in run.output
