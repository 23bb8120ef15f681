"""Triton's server, the real one: what it answers, and what it refuses with which words."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import onnxruntime
import psutil
import pytest
import yaml

from ssept.errors import ServerError
from ssept.serving.triton.client import PROTOCOLS, Client
from ssept.serving.triton.server import TritonServer, free_ports, running
from tests.helpers.matrix import ROOT
from tests.helpers.servers.triton_files import (
    ITEMS,
    LARGEST_BATCH,
    LENGTH,
    NAME,
    K,
    inputs,
    needs_server,
    repository,
    served_model,
    start,
    url,
)

pytestmark = [needs_server, pytest.mark.slow, pytest.mark.usefixtures("triton_tools")]
TOGETHER = "dynamic_batching { max_queue_delay_microseconds: 20000 }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("server")
    models = repository(folder / "models", more=TOGETHER)
    with running(models, folder / "server.log", free_ports()) as server:
        yield server


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = served_model(tmp_path_factory.mktemp("model") / "model.onnx")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [1, LARGEST_BATCH])
def test_it_answers_as_the_file_does_in_process(
    server: TritonServer, session: onnxruntime.InferenceSession, protocol: str, size: int
) -> None:
    names = ["scores", "topk_ids", "topk_scores"]
    given = inputs(size, size)
    with Client(protocol, url(server, protocol)) as client:
        answer = client.infer(given, names)
    for name, expected in zip(names, session.run(names, given), strict=True):
        np.testing.assert_array_equal(answer[name], expected)
        assert answer[name].dtype == expected.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_speaks_of_users_and_sequences(
    server: TritonServer, session: onnxruntime.InferenceSession, protocol: str
) -> None:
    given = inputs(1, 3)
    scores, ids, best = session.run(["scores", "topk_ids", "topk_scores"], given)
    with Client(protocol, url(server, protocol)) as client:
        np.testing.assert_array_equal(
            client.scores(given["USER_ID"][:, 0].tolist(), given["SEQ"].tolist()), scores
        )
        found = client.best(given["USER_ID"][:, 0], given["SEQ"])
    np.testing.assert_array_equal(found[0], ids)
    np.testing.assert_array_equal(found[1], best)


def test_requests_that_wait_share_a_run_and_each_gets_its_own_answer(
    server: TritonServer, session: onnxruntime.InferenceSession
) -> None:
    def executions() -> int:
        with urlopen(f"http://{server.http}/v2/models/{NAME}/stats", timeout=30) as answer:
            (model,) = json.load(answer)["model_stats"]
        return int(model["execution_count"])

    def ask(seed: int) -> bool:
        # Sizes and outputs differ within a batch.
        given, names = inputs(seed, 1 + seed % 3), ["scores", "topk_ids"][seed % 2 :]
        with Client(PROTOCOLS[seed % 2], url(server, PROTOCOLS[seed % 2])) as client:
            answer = client.infer(given, names)
        expected = session.run(names, given)
        return all(
            np.array_equal(answer[name], value) for name, value in zip(names, expected, strict=True)
        )

    before = executions()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(96)))
    assert executions() - before < 96


def test_instances_are_processes_of_their_own(server: TritonServer) -> None:
    stubs = psutil.Process(server.pid).children(recursive=True)
    assert len(stubs) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("model", "changed", "output", "message"),
    [
        ("nobody", {}, "scores", "unknown model: 'nobody' is not found"),
        (NAME, {"SEQ": np.ones((1, LENGTH + 1), np.int64)}, "scores", r"shape.*'SEQ'.*\[-1,5\]"),
        (
            NAME,
            {"SEQ": np.ones((1, LENGTH), np.int32)},
            "scores",
            "'SEQ' data-type is 'INT32', but .* 'INT64'",
        ),
        (NAME, {"SEQ": np.ones((2, LENGTH), np.int64)}, "scores", "batch.*size"),
        (NAME, inputs(0, LARGEST_BATCH + 1), "scores", "batch-size must be <= 8"),
        (NAME, {"PRICE": np.ones((1, 1), np.int64)}, "scores", "'PRICE'|3 were provided|3 inputs"),
        (NAME, {}, "price", "unexpected inference output 'price'"),
    ],
    ids=["model", "shape", "type", "batches", "too_many", "input", "output"],
)
def test_a_wrong_request_is_refused_with_the_reason(
    server: TritonServer,
    protocol: str,
    model: str,
    changed: dict[str, np.ndarray],
    output: str,
    message: str,
) -> None:
    with (
        Client(protocol, url(server, protocol), model) as client,
        pytest.raises(ServerError, match=f"{model} at {protocol} .*({message})"),
    ):
        client.infer(inputs(0, 1) | changed, [output])
    server.check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_server_is_told(protocol: str) -> None:
    address = f"127.0.0.1:{free_ports().http}"
    with Client(protocol, address) as client, pytest.raises(ServerError, match=address):
        client.scores([1], [[1] * LENGTH])


def test_errors_of_the_model_reach_those_who_asked_and_nobody_later(tmp_path: Path) -> None:
    models = repository(tmp_path / "models", guarded=False, more=TOGETHER)

    def ask(seed: int) -> str:
        given = inputs(seed, 1)
        given["SEQ"] += ITEMS * (seed % 4 == 0) * 10
        with Client("grpc", server.grpc) as client:
            try:
                return str(client.infer(given, ["topk_ids"])["topk_ids"].shape)
            except ServerError as error:
                return str(error)

    with running(models, tmp_path / "server.log", free_ports()) as server:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(64)))
        assert all("out of data bounds" in answers[seed] for seed in range(0, 64, 4))
        assert ask(1) == f"(1, {K})"
        server.check()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("1/model.onnx", "no model", rf"{NAME}' version 1: .*1/model.onnx"),
        ("config.pbtxt", "max_batch_size: many", r"read text proto from .*config.pbtxt"),
        (
            "config.pbtxt",
            """platform: "onnxruntime_onnx" max_batch_size: 8
            input [ { name: "USER" data_type: TYPE_INT64 dims: [ 1 ] } ]
            output [ { name: "scores" data_type: TYPE_FP32 dims: [ 41 ] } ]""",
            "has no input USER; it has USER_ID, SEQ",
        ),
    ],
    ids=["file", "text", "name"],
)
def test_a_broken_repository_is_told_with_its_model(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    models = repository(tmp_path / "models")
    (models / NAME / file).write_text(text)
    log = tmp_path / "server.log"
    with pytest.raises(ServerError, match=rf"ended with 1: (.|\n)*{message}") as caught:
        start(models, log)
    assert str(log) in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "more",
    [
        "optimization { execution_accelerators { "
        'cpu_execution_accelerator : [ { name : "openvino" } ] } }',
        "optimization { execution_accelerators { "
        'gpu_execution_accelerator : [ { name : "tensorrt" } ] } }',
    ],
    ids=["openvino", "tensorrt"],
)
def test_what_only_the_container_does_is_refused_and_not_left_out(
    tmp_path: Path, more: str
) -> None:
    models = repository(tmp_path / "models", instances=1, more=more)
    with pytest.raises(ServerError, match="accelerators need Triton's own backend"):
        start(models, tmp_path / "server.log")


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_repository_without_models_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ServerError, match=f"{folder}: contains no folder of a model"):
        start(tmp_path / folder, tmp_path / "server.log")


@pytest.mark.parametrize("kind", ["http", "grpc", "metrics"])
def test_a_port_that_is_taken_is_told(server: TritonServer, tmp_path: Path, kind: str) -> None:
    taken = getattr(server.ports, kind)
    ports = replace(free_ports(), **{kind: taken})
    with pytest.raises(ServerError, match=f"the {kind} port 127.0.0.1:{taken} .*in use"):
        start(repository(tmp_path / "models"), tmp_path / "server.log", ports)
    server.check()


def test_it_listens_on_this_machine_alone(server: TritonServer) -> None:
    listening = {
        (one.laddr.ip.removeprefix("::ffff:"), one.laddr.port)  # gRPC maps IPv4
        for one in psutil.Process(server.pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in asdict(server.ports).values()}


def test_what_kubernetes_asks_it_for_is_there(server: TritonServer) -> None:
    """The paths of the probes, and the metric that is scaled by."""
    base = ROOT / "deploy/kubernetes/triton/base"
    deployment, autoscaler = (
        yaml.safe_load((base / name).read_text(encoding="utf-8"))
        for name in ("deployment.yaml", "autoscaler.yaml")
    )
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        with urlopen(f"http://{server.http}{path}", timeout=30) as answer:
            assert answer.status == 200
    with urlopen(server.metrics, timeout=30) as answer:
        text = answer.read().decode()
    (metric,) = autoscaler["spec"]["metrics"]
    assert f"\n{metric['pods']['metric']['name']}{{" in text
