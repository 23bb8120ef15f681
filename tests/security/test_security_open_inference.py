"""Requests for inference that cost the server more than the client: refused before they do."""

import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from ssept.serving.http_api import asgi
from ssept.serving.http_api.asgi import RefusedError
from ssept.serving.http_api.v2 import codec as contracts
from ssept.serving.http_api.v2.codec import ModelCodec
from ssept.serving.interface import model_interface
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import Answer, Live, live, write_checkpoint

LENGTH, LARGEST = 50, 8
PATH = "/v2/models/recommender_model_onnx/infer"
LOWEST = np.iinfo(np.int64).min
PACK = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")
    return ServerSettings(
        model=checkpoint, max_batch=LARGEST, max_wait_ms=10_000, deadline_ms=20_000
    )


@pytest.fixture(scope="module")
def server(settings: ServerSettings) -> Iterator[Live]:
    with live(settings) as server:
        yield server


def request(size: int, value: int = 1, **more: Any) -> dict[str, Any]:
    """A request for a number of sequences, all its ids equal."""
    tensors = [
        {"name": name, "shape": [size, dim], "datatype": "INT64", "data": [value] * size * dim}
        for name, dim in (("USER_ID", 1), ("SEQ", LENGTH))
    ]
    return {"inputs": tensors} | more


def with_data(text: str, repeated: int) -> bytes:
    """A request for one sequence whose data repeat one value."""
    body = json.dumps(request(1)).replace(str([1] * LENGTH), f"[{','.join([text] * repeated)}]")
    return body.encode()


def post(server: Live, body: bytes, encoding: str = "identity") -> Answer:
    return server.ask("POST", PATH, PACK[encoding](body), {"Content-Encoding": encoding})


@pytest.mark.parametrize("encoding", PACK)
def test_the_largest_request_of_the_model_is_taken(server: Live, encoding: str) -> None:
    longest = request(LARGEST, LOWEST, id="a" * 1000, parameters={"binary_data_output": False})
    assert post(server, json.dumps(longest).encode(), encoding).status == 200


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("text", ["1", "[]", "[1]", "{}", "[[[[]]]]", '""', "1.5"])
def test_a_body_longer_than_any_request_of_the_model_is_refused(
    server: Live, text: str, encoding: str
) -> None:
    limit = LARGEST * (LENGTH + 1) * 22 + 4096
    # Unpacked, few more: the server does not read all, and a client may not get to the answer.
    repeated = (limit + 1000 if encoding == "identity" else 1 << 20) // len(text)
    answer = post(server, with_data(text, repeated), encoding)
    assert answer.status == 413
    assert f"longer than {limit} bytes" in answer.json["error"]
    assert post(server, json.dumps(request(1)).encode(), encoding).status == 200


def test_the_server_s_own_limit_holds_where_it_is_lower(settings: ServerSettings) -> None:
    with live(replace(settings, max_body_bytes=1000)) as server:
        assert post(server, json.dumps(request(1)).encode()).status == 200
        answer = post(server, json.dumps(request(8)).encode(), "gzip")
    assert answer.status == 413
    assert "longer than 1000 bytes" in answer.json["error"]


@pytest.mark.parametrize(("length", "batch"), [(50, 64), (5, 1), (200, 256)])
def test_the_limit_follows_from_the_contract(length: int, batch: int) -> None:
    codec = ModelCodec("m", model_interface(length, None, 10), batch)
    given = request(batch, LOWEST)["inputs"]
    given[1] |= {"shape": [batch, length], "data": [LOWEST] * batch * length}
    longest = json.dumps({"inputs": given}).encode()
    assert len(longest) <= codec.max_bytes < len(longest) + 4096
    plan, users, sequences = codec.read(longest, None)
    assert (plan.size, users.shape, sequences.shape) == (batch, (batch,), (batch, length))


def test_the_limit_for_the_shipped_model_is_some_70_kilobytes() -> None:
    assert 70_000 < ModelCodec("m", model_interface(50, 10_000, 100), 64).max_bytes < 80_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_no_more_than_the_limit_is_ever_unpacked(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counting:
        def __init__(self, window: int) -> None:
            self._of = zlib.decompressobj(window)

        def decompress(self, *given: Any) -> bytes:
            plain = self._of.decompress(*given)
            made.append(len(plain))
            return plain

        def __getattr__(self, name: str) -> Any:
            return getattr(self._of, name)

    class Zlib:
        error, decompressobj = zlib.error, Counting

    monkeypatch.setattr(asgi, "zlib", Zlib)
    with pytest.raises(RefusedError) as refused:
        asgi._decompressed(PACK[encoding](bytes(1 << 22)), encoding.encode(), 1000)
    assert refused.value.status == 413
    assert sum(made) <= 1001


@pytest.mark.parametrize(
    ("text", "repeated"),
    [("1", 51), ("1", 3000), ("[]", 3000), ("[1]", 3000), ("[1,1]", 50), ("[[1,1]]", 51)],
)
def test_numbers_are_counted_before_an_array_is_made(
    text: str, repeated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("an array was made")

    codec = ModelCodec("m", model_interface(LENGTH, None, 10), LARGEST)
    body = orjson.loads(with_data(text, repeated))
    for order in itertools.permutations(body["inputs"]):
        monkeypatch.setattr(np, "asarray", forbidden)
        monkeypatch.setattr(np, "array", forbidden if order[0]["name"] == "SEQ" else np.array)
        with pytest.raises(RefusedError) as refused:
            codec.read(orjson.dumps({"inputs": order}), None)
        monkeypatch.undo()
        assert "SEQ: data has" in refused.value.detail
        assert "expected 50 for its shape" in refused.value.detail


@pytest.mark.parametrize("change", [{"shape": [1 << 40, 1]}, {"shape": [9, 1]}, {"shape": [1, 9]}])
def test_shapes_are_checked_before_the_data_are_looked_at(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> Any:
        raise AssertionError("the data were looked at")

    monkeypatch.setattr(contracts, "read_values", forbidden)
    given = request(1)["inputs"]
    codec = ModelCodec("m", model_interface(LENGTH, None, 10), LARGEST)
    with pytest.raises(RefusedError) as refused:
        codec.read(orjson.dumps({"inputs": [given[0] | change, given[1]]}), None)
    assert "USER_ID: shape is" in refused.value.detail


def nested(values: list[int], width: int) -> list[Any]:
    return [values[start : start + width] for start in range(0, len(values), width)]


@pytest.mark.parametrize(
    "form",
    [lambda v: v, lambda v: nested(v, LENGTH), lambda v: nested(v, 1)],
    ids=["flat", "rows", "ones"],
)
def test_numbers_in_lists_of_equal_length_are_read_row_by_row(
    form: Callable[[list[int]], list[Any]],
) -> None:
    codec = ModelCodec("m", model_interface(LENGTH, None, 10), LARGEST)
    body = request(2)
    body["inputs"][1]["data"] = form(list(range(2 * LENGTH)))
    _, _, sequences = codec.read(orjson.dumps(body), None)
    np.testing.assert_array_equal(sequences, np.arange(2 * LENGTH).reshape(2, LENGTH))
