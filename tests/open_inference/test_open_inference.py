"""The Open Inference Protocol, asked by Triton's clients and by hand."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import ssept
from ssept.cli import main
from ssept.errors import ServerError
from ssept.providers.session import Session
from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from ssept.serving.triton.client import Client
from ssept.serving.triton.perf_analyzer import Load, measure
from tests.conftest import batch
from tests.helpers.servers.serving import ITEMS, USERS, Answer, Live, live, write_checkpoint
from tests.helpers.servers.triton_files import needs_server, served_model

VARIANTS = ("fused_topk", "onnx")
NAMES = dict(zip(VARIANTS, ("recommender_model_onnx", "recommender_model_onnx_onnx"), strict=True))
NAME = NAMES["fused_topk"]
INFER = f"/v2/models/{NAME}/infer"
LENGTH, LARGEST, K = 50, 16, 40
MAX_BODY = 20_000
LENGTH_HEADER = "Inference-Header-Content-Length"
EXTREMES = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return ServerSettings(
        model=write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"),
        variants=VARIANTS,
        max_batch=LARGEST,
        max_body_bytes=MAX_BODY,
        max_top_k=K,
        max_wait_ms=10_000,
        deadline_ms=20_000,
    )


@pytest.fixture(scope="module")
def server(settings: ServerSettings) -> Iterator[Live]:
    with live(settings) as server:
        yield server


@pytest.fixture(scope="module")
def all_scores(settings: ServerSettings) -> Iterator[Live]:
    more = {"all_scores": True, "variants": ("fused_topk",)}
    with live(replace(settings, **more)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[Any]:
    with triton.InferenceServerClient(address(server)) as client:
        yield client


@pytest.fixture(scope="module")
def sessions(settings: ServerSettings) -> dict[str, Session]:
    return {variant: ssept.load(settings.model, variant, "cpu") for variant in VARIANTS}


@pytest.mark.slow
def test_statistics_are_of_all_workers(settings: ServerSettings, tmp_path: Path) -> None:
    with running(settings, tmp_path / "log", workers=2) as server:
        for count in range(1, 13):
            user, sequence = ids(count, 3)
            with triton.InferenceServerClient(server.http) as client:  # on a new connection
                client.infer(NAME, inputs(user, sequence))
                for _ in range(3):
                    (stats,) = client.get_inference_statistics(NAME)["model_stats"]
                    assert stats["inference_count"] == 3 * count
                    assert stats["execution_count"] == count
                    assert stats["inference_stats"]["success"]["count"] == count
                    (size,) = stats["batch_stats"]
                    assert (size["batch_size"], size["compute_infer"]["count"]) == (3, count)


def address(server: Live) -> str:
    return f"127.0.0.1:{server.port}"


def ids(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    return batch(np.random.default_rng(seed), USERS, ITEMS, size, LENGTH)


def inputs(user: np.ndarray, sequence: np.ndarray, binary: bool = True) -> list[Any]:
    tensors = []
    for name, array in (("USER_ID", user[:, None]), ("SEQ", sequence)):
        tensors.append(triton.InferInput(name, array.shape, "INT64"))
        tensors[-1].set_data_from_numpy(array, binary_data=binary)
    return tensors


def in_json(size: int = 1, **changed: Any) -> dict[str, Any]:
    """A request with its data in JSON."""
    user = {"name": "USER_ID", "shape": [size, 1], "datatype": "INT64", "data": [1] * size}
    sequence = {
        "name": "SEQ",
        "shape": [size, LENGTH],
        "datatype": "INT64",
        "data": [2] * size * LENGTH,
    }
    return {"inputs": [user, sequence]} | changed


def input_with(place: int, **changed: Any) -> dict[str, Any]:
    """A request whose input at that place is changed; None takes a field away."""
    request = in_json()
    one = request["inputs"][place] | changed
    request["inputs"][place] = {name: value for name, value in one.items() if value is not None}
    return request


def in_bytes(size: int = 1) -> tuple[dict[str, Any], bytes]:
    """The JSON part of a request, and its data."""
    request, data = in_json(size), b""
    for one in request["inputs"]:
        values = np.array(one.pop("data"), np.int64).tobytes()
        one["parameters"] = {"binary_data_size": len(values)}
        data += values
    return request | {"parameters": {"binary_data_output": True}}, data


def post(
    server: Live, request: Any, data: bytes = b"", path: str = INFER, **headers: str
) -> Answer:
    """Send a JSON part with data behind it."""
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    given = {LENGTH_HEADER: str(len(text))} if data else {}
    return server.ask("POST", path, text + data, given | headers)


def refusal(answer: Answer, status: int) -> str:
    """The reason of a refusal in the protocol's form."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"error"}
    reason: str = answer.json["error"]
    return reason


def test_the_server_and_its_models_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    about = client.get_server_metadata()
    assert about["name"] == "ssept"
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(about["extensions"])
    assert client.get_model_repository_index() == [
        {"name": name, "version": "1", "state": "READY"} for name in NAMES.values()
    ]


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_has_the_tensors_of_the_triton_repository(
    client: Any, variant: str, version: str
) -> None:
    name = NAMES[variant]
    assert client.is_model_ready(name, version)
    about = client.get_model_metadata(name, version)
    assert (about["name"], about["versions"]) == (name, ["1"])
    tensors = {one["name"]: (one["datatype"], one["shape"]) for one in about["inputs"]}
    assert tensors == {"USER_ID": ("INT64", [-1, 1]), "SEQ": ("INT64", [-1, LENGTH])}
    tensors = {one["name"]: (one["datatype"], one["shape"]) for one in about["outputs"]}
    assert tensors == {"topk_ids": ("INT64", [-1, K]), "topk_scores": ("FP32", [-1, K])}


@pytest.mark.parametrize("version", ["", "1"])
def test_the_configuration_is_one_of_triton(client: Any, version: str) -> None:
    from google.protobuf import json_format
    from tritonclient.grpc import model_config_pb2

    given = client.get_model_config(NAMES["onnx"], version)
    config = json_format.ParseDict(given, model_config_pb2.ModelConfig())
    assert (config.name, config.max_batch_size) == (NAMES["onnx"], LARGEST)
    int64, fp32 = model_config_pb2.TYPE_INT64, model_config_pb2.TYPE_FP32
    tensors = [(one.name, one.data_type, list(one.dims)) for one in config.input]
    assert tensors == [("USER_ID", int64, [1]), ("SEQ", int64, [LENGTH])]
    tensors = [(one.name, one.data_type, list(one.dims)) for one in config.output]
    assert tensors == [("topk_ids", int64, [K]), ("topk_scores", fp32, [K])]
    assert config.parameters["variant"].string_value == "onnx"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 3, LARGEST])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("wanted", [None, (True, True), (False, True), (False, False)])
def test_the_answer_is_what_the_session_recommends(
    client: Any,
    sessions: dict[str, Session],
    variant: str,
    size: int,
    binary: bool,
    wanted: tuple[bool, bool] | None,
) -> None:
    user, sequence = ids(size, size)
    names = ("topk_ids", "topk_scores")
    outputs = None
    if wanted:
        outputs = [
            triton.InferRequestedOutput(name, binary_data=one)
            for name, one in zip(names, wanted, strict=True)
        ]
    answer = client.infer(NAMES[variant], inputs(user, sequence, binary), "1", outputs)
    expected = sessions[variant].recommend(user, sequence, K)
    np.testing.assert_array_equal(answer.as_numpy("topk_ids"), expected[0])
    # A batch of another size may add in another order.
    np.testing.assert_allclose(answer.as_numpy("topk_scores"), expected[1], atol=1e-5)
    for name, array in zip(names, expected, strict=True):
        assert answer.as_numpy(name).dtype == array.dtype


def test_only_what_is_asked_for_is_sent_in_that_order(server: Live) -> None:
    request, data = in_bytes()
    outputs = [{"name": "topk_scores", "parameters": {"binary_data": False}}, {"name": "topk_ids"}]
    answer = post(server, request | {"outputs": outputs}, data)
    assert answer.headers["content-type"] == "application/octet-stream"
    end = int(answer.headers[LENGTH_HEADER.lower()])
    head = json.loads(answer.body[:end])
    assert (head["model_name"], head["model_version"]) == (NAME, "1")
    scores, best = head["outputs"]
    assert (scores["name"], scores["shape"], len(scores["data"])) == ("topk_scores", [1, K], K)
    assert (best["name"], best["shape"]) == ("topk_ids", [1, K])
    assert (
        best["parameters"]
        == {"binary_data_size": 8 * K}
        == {"binary_data_size": len(answer.body) - end}
    )
    only = post(server, in_json(outputs=[{"name": "topk_scores"}]))
    assert only.headers["content-type"] == "application/json"
    assert LENGTH_HEADER.lower() not in only.headers
    np.testing.assert_allclose(only.json["outputs"][0].pop("data"), scores["data"], atol=1e-5)
    assert [one["name"] for one in only.json["outputs"]] == ["topk_scores"]


def test_requests_that_begin_alike_get_their_own_answers(
    server: Live, sessions: dict[str, Session]
) -> None:
    for seed in range(5):
        user, sequence = ids(seed, 1)
        request, _ = in_bytes()
        answer = post(server, request, user.tobytes() + sequence.tobytes())
        end = int(answer.headers[LENGTH_HEADER.lower()])
        found = np.frombuffer(answer.body, np.int64, K, end)
        np.testing.assert_array_equal(
            found, sessions["fused_topk"].recommend(user, sequence, K)[0][0]
        )


@pytest.mark.parametrize("data", [in_json(2)["inputs"][1]["data"], [[2] * LENGTH] * 2])
def test_data_in_json_may_be_flat_or_nested(server: Live, data: list[Any]) -> None:
    request = in_json(2)
    request["inputs"][1]["data"] = data
    answer = post(server, request)
    assert answer.status == 200
    assert answer.json["outputs"] == post(server, in_json(2)).json["outputs"]


def test_the_id_comes_back_and_unknown_parameters_are_let_pass(client: Any, server: Live) -> None:
    user, sequence = ids(0, 1)
    answer = client.infer(
        NAME, inputs(user, sequence), request_id="of mine", priority=1, timeout=10**6,
        sequence_id=4, parameters={"mine": 1},
    )  # fmt: skip
    assert answer.get_response()["id"] == "of mine"
    assert "id" not in post(server, in_json()).json


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_request_is_read(
    client: Any, sessions: dict[str, Session], encoding: str
) -> None:
    user, sequence = ids(3, 2)
    answer = client.infer(NAME, inputs(user, sequence), request_compression_algorithm=encoding)
    expected, _ = sessions["fused_topk"].recommend(user, sequence, K)
    np.testing.assert_array_equal(answer.as_numpy("topk_ids"), expected)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("outside", [*EXTREMES, -1, ITEMS + 1, 3 << 30, -1 << 32, (1 << 32) + 5])
def test_ids_outside_the_tables_are_the_unknown_user_and_padding(
    client: Any, variant: str, outside: int
) -> None:
    _, sequence = ids(0, 2)
    answers = []
    for one in (outside, 0):
        sequence[:, 7] = one
        given = inputs(np.full(2, one), sequence)
        answers.append(client.infer(NAMES[variant], given).as_numpy("topk_scores"))
    np.testing.assert_array_equal(*answers)


def test_a_file_that_fails_on_unknown_ids_gets_none(
    settings: ServerSettings, tmp_path: Path
) -> None:
    own = served_model(tmp_path / "own.onnx", guarded=False)
    given = replace(settings, model=own, variants=("onnx",))
    outside = np.array([[EXTREMES[0], 3, EXTREMES[1], 41, -1]])
    with live(given) as server, Client("http", address(server)) as client:
        best = client.best([EXTREMES[1]], outside)
        known = client.best([0], np.array([[0, 3, 0, 0, 0]]))
    np.testing.assert_array_equal(best, known)


def test_the_clients_of_triton_work_unchanged(
    all_scores: Live, server: Live, sessions: dict[str, Session]
) -> None:
    user, sequence = ids(1, 5)
    session = sessions["fused_topk"]
    with Client("http", address(all_scores)) as client:
        np.testing.assert_allclose(
            client.scores(user, sequence), session.scores(user, sequence), atol=1e-5
        )
        np.testing.assert_array_equal(
            client.best(user, sequence)[0], session.recommend(user, sequence, K)[0]
        )
        given = {"USER_ID": user[:, None], "SEQ": sequence}
        both = client.infer(given, ["scores", "topk_ids"])
        assert both["scores"].shape == (5, ITEMS + 1)
        np.testing.assert_array_equal(both["topk_ids"], session.recommend(user, sequence, K)[0])
    with (
        Client("http", address(server)) as client,
        pytest.raises(ServerError, match='unexpected inference output "scores"'),
    ):
        client.scores(user, sequence)


def test_statistics_count_sequences_requests_and_calls(settings: ServerSettings) -> None:
    given = replace(settings, variants=("onnx",))
    with live(given) as server, triton.InferenceServerClient(address(server)) as client:
        for size in (1, 2, 2):
            client.infer(NAME, inputs(*ids(0, size)))
        assert post(server, b"no request").status == 400
        (model,) = client.get_inference_statistics(NAME)["model_stats"]
        assert client.get_inference_statistics() == {"model_stats": [model]}
        assert client.get_inference_statistics(NAME, "1") == {"model_stats": [model]}
    assert (model["name"], model["version"]) == (NAME, "1")
    assert (model["inference_count"], model["execution_count"]) == (5, 3)
    assert model["last_inference"] > 1.7e12
    times = model["inference_stats"]
    assert {name: times[name]["count"] for name in times} == {
        "success": 3, "fail": 0, "queue": 3,
        "compute_input": 3, "compute_infer": 3, "compute_output": 3,
    }  # fmt: skip
    inside = sum(times[name]["ns"] for name in times if name not in ("success", "fail"))
    assert 0 < inside <= times["success"]["ns"]
    batches = {one["batch_size"]: one["compute_infer"]["count"] for one in model["batch_stats"]}
    assert batches == {1: 1, 2: 2}


WRONG = {
    "no JSON": (b"{", "cannot be read"),
    "no UTF-8": (b'{"id": "\xff"}', "cannot be read"),
    "no object": ([], r"the request is \[\]; expected a JSON object"),
    "no inputs": ({}, "inputs is null; expected a list of USER_ID, SEQ"),
    "id": (in_json(id=1), "id is 1; expected a string"),
    "parameters": (in_json(parameters=[]), r"request: parameters is \[\]; expected a JSON object"),
    "flag": (
        in_json(parameters={"binary_data_output": 1}),
        "parameter binary_data_output is 1; expected true or false",
    ),
    "missing": (in_json(inputs=in_json()["inputs"][:1]), "input 'SEQ' is missing"),
    "twice": (in_json(inputs=[in_json()["inputs"][0]] * 2), "input 'USER_ID' is given twice"),
    "no input": (in_json(inputs=[4]), "an input is 4; expected a JSON object"),
    "name": (input_with(1, name="PRICE"), 'unexpected inference input "PRICE".*USER_ID, SEQ'),
    "name type": (input_with(1, name=[]), r"unexpected inference input \[\]"),
    "datatype": (input_with(0, datatype="INT32"), 'USER_ID: datatype is "INT32"; expected INT64'),
    "no datatype": (input_with(0, datatype=None), "USER_ID: datatype is null; expected INT64"),
    "shape": (input_with(1, shape=[1, 51]), r"SEQ: shape is \[1,51\]; expected \[-1, 50\]"),
    "rank": (input_with(1, shape=[50]), r"SEQ: shape is \[50\]; expected \[-1, 50\]"),
    "no shape": (input_with(1, shape=None), r"SEQ: shape is null; expected \[-1, 50\]"),
    "shape type": (input_with(0, shape=[True, 1]), r"USER_ID: shape is \[true,1\]"),
    "negative": (input_with(0, shape=[-1, 1]), r"USER_ID: shape is \[-1,1\].*1 at least"),
    "empty": (input_with(0, shape=[0, 1], data=[]), r"USER_ID: shape is \[0,1\].*1 at least"),
    "huge": (input_with(0, shape=[2**63, 1]), "batch-size must be <= 16"),
    "batch": (in_json(LARGEST + 1), r"shape is \[17,1\]; .* batch-size must be <= 16 for 'rec"),
    "batches": (input_with(0, shape=[2, 1], data=[1, 1]), "SEQ: has batch-size 1, .* before it 2"),
    "no data": (input_with(0, data=None), "USER_ID: has neither data nor|neither data and"),
    "count": (input_with(1, data=[1] * 49), "SEQ: data has 49 values; expected 50"),
    "fraction": (input_with(0, data=[1.5]), r"USER_ID: data is \[1\.5\]; expected whole numbers"),
    "truth": (input_with(0, data=[True]), r"USER_ID: data is \[true\]; expected whole numbers"),
    "text": (input_with(0, data="1"), 'USER_ID: data is "1"; expected whole numbers'),
    "ragged": (input_with(1, data=[[1], [1, 2]]), "SEQ: data is .*lists of equal length"),
    "overflow": (input_with(0, data=[2**63]), "USER_ID: data has a number outside INT64"),
    "output": (in_json(outputs=[{"name": "price"}]), 'unexpected inference output "price"'),
    "outputs": (in_json(outputs={}), r"outputs is {}; expected a list of topk_ids, topk_scores"),
    "output twice": (in_json(outputs=[{"name": "topk_ids"}] * 2), "'topk_ids' is requested twice"),
    "classes": (
        in_json(outputs=[{"name": "topk_ids", "parameters": {"classification": 2}}]),
        "topk_ids: classification is not supported",
    ),
    "shared memory": (
        input_with(0, data=None, parameters={"shared_memory_region": "mine"}),
        "USER_ID: shared memory is not supported",
    ),
    "no bytes": (in_bytes()[0], "0 bytes follow the JSON part .*; expected 408"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_with_the_reason(server: Live, name: str) -> None:
    request, message = WRONG[name]
    assert re.search(message, refusal(post(server, request), 400))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("binary_data_size", 7, "USER_ID: binary_data_size is 7; expected 8, 8 for each of the 1"),
        ("binary_data_size", -8, "USER_ID: binary_data_size is -8; expected 8"),
        ("binary_data_size", "8", 'USER_ID: binary_data_size is "8"; expected 8'),
        ("binary_data_size", True, "USER_ID: binary_data_size is true; expected 8"),
    ],
)
def test_a_wrong_size_is_refused(server: Live, field: str, value: Any, message: str) -> None:
    request, data = in_bytes()
    request["inputs"][0]["parameters"][field] = value
    assert message in refusal(post(server, request, data), 400)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-1", 'Content-Length is "-1"; expected the length of the JSON part'),
        ("+5", "expected the length"),
        ("a", "expected the length"),
        ("9" * 5000, "expected the length"),
        ("99999999", "at most that of the body"),
        ("0", "the JSON part of the request, 0 bytes, cannot be read"),
    ],
)
def test_a_wrong_header_length_is_refused(server: Live, length: str, message: str) -> None:
    request, data = in_bytes()
    assert message in refusal(post(server, request, data, **{LENGTH_HEADER: length}), 400)


@pytest.mark.parametrize("cut", [1, 8, 400])
def test_data_that_are_too_short_or_too_long_are_refused(server: Live, cut: int) -> None:
    request, data = in_bytes()
    message = f"{408 - cut} bytes follow the JSON part of the request; expected 408"
    assert message in refusal(post(server, request, data[:-cut] or b""), 400)
    message = f"{408 + cut} bytes follow"
    assert message in refusal(post(server, request, data + bytes(cut)), 400)


def test_the_answer_to_a_long_or_deep_wrong_value_is_short(server: Live) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    for value in ("a" * 10_000, list(range(2000)), deep):
        for request in (in_json(id=[value]), input_with(0, data=[value]), in_json(inputs=value)):
            assert len(refusal(post(server, request), 400)) < 300


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/nobody/infer"),
        ("POST", f"/v2/models/{NAME}/versions/2/infer"),
        ("GET", "/v2/models/nobody"),
        ("GET", f"/v2/models/{NAME}/versions/2"),
        ("GET", "/v2/models/nobody/ready"),
        ("GET", "/v2/models/nobody/config"),
        ("GET", "/v2/models/nobody/stats"),
        ("GET", f"/v2/models/{NAME}_fused_topk/ready"),
    ],
)
def test_an_unknown_model_or_version_is_told(server: Live, method: str, path: str) -> None:
    body = in_json() if method == "POST" else None
    assert refusal(server.ask(method, path, body), 404).startswith("Request for unknown model: ")


def test_an_unknown_model_is_an_error_of_the_client_library(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="unknown model: 'nobody'") as error:
        client.infer("nobody", inputs(*ids(0, 1)))
    assert error.value.status() == "404"
    assert not client.is_model_ready("nobody")


def test_other_paths_and_methods_are_refused_in_the_same_form(server: Live) -> None:
    assert refusal(server.ask("GET", "/v2/nothing"), 404)
    assert refusal(server.ask("GET", INFER), 405)


def test_a_body_that_is_too_long_is_refused_packed_or_not(server: Live) -> None:
    long = json.dumps(in_json(id="a" * MAX_BODY)).encode()
    for body, encoding in ((long, "identity"), (gzip.compress(long), "gzip")):
        answer = post(server, body, **{"Content-Encoding": encoding})
        assert f"longer than {MAX_BODY} bytes" in refusal(answer, 413)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"no such thing", "gzip", "cannot be unpacked as gzip"),
        (gzip.compress(b"{}", mtime=0), "deflate", "cannot be unpacked as deflate"),
        (zlib.compress(b"{}")[:-1], "deflate", "not one whole deflate stream"),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip", "not one whole gzip stream"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(
    server: Live, body: bytes, encoding: str, message: str
) -> None:
    assert message in refusal(post(server, body, **{"Content-Encoding": encoding}), 400)


def test_other_encodings_are_refused(server: Live) -> None:
    answer = post(server, b"{}", **{"Content-Encoding": "br"})
    assert 'Content-Encoding is "br"; expected gzip, deflate' in refusal(answer, 415)
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("max_wait_ms", "the request waited too long; try again"),
        ("deadline_ms", "exceeded its deadline"),
    ],
)
def test_what_has_no_turn_in_time_is_refused_with_when_to_try_again(
    settings: ServerSettings, limit: str, message: str
) -> None:
    with live(replace(settings, **{limit: 1e-6})) as server:
        answer = post(server, in_json())
        assert message in refusal(answer, 503)
        assert answer.headers["retry-after"] == "1"


def test_the_description_has_every_path_and_the_models_names(server: Live) -> None:
    paths = server.ask("GET", "/openapi.json").json["paths"]
    wanted = [f"/v2/models/{{model}}{version}{end}"
              for version in ("", "/versions/{version}")
              for end in ("", "/ready", "/config", "/stats", "/infer")]  # fmt: skip
    wanted += ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index"]
    assert set(wanted) <= paths.keys()
    infer = paths["/v2/models/{model}/infer"]["post"]
    (model,) = infer["parameters"]
    assert model["schema"]["enum"] == list(NAMES.values())
    assert infer["requestBody"]["content"].keys() == {
        "application/json",
        "application/octet-stream",
    }
    example = infer["requestBody"]["content"]["application/json"]["example"]
    assert post(server, example).status == 200


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
@needs_server
@pytest.mark.parametrize(
    "arguments",
    [
        ("--shape", "USER_ID:1", "--shape", f"SEQ:{LENGTH}", "-b", "1", "--concurrency-range", "8"),
        ("--shape", "USER_ID:1", f"SEQ:{LENGTH}", "-b", "1", "--concurrency-range", "8"),
        ("-b", f"{LARGEST}", "--concurrency-range", "4"),
    ],
    ids=["shapes", "one_shape", "batch"],
)
def test_perf_analyzer_runs_with_the_commands_for_triton(
    server: Live, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    common = ["triton", "perf", "--", "-u", f"localhost:{server.port}", "-m", NAME]
    assert main([*common, *arguments, "-p", "200", "-r", "3", "-s", "999"]) == 0
    said = capfd.readouterr().out
    assert "throughput:" in said
    assert "Avg request latency:" in said


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
@needs_server
def test_perf_analyzer_gives_the_times_in_the_queue_and_in_the_model(server: Live) -> None:
    figures = measure(Load(address(server), NAME, "http", 2, 3))
    assert figures.compute_infer_us > 0
    assert 0 < figures.queue_us + figures.compute_infer_us < figures.latency_us
