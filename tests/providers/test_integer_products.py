"""The check of ONNX Runtime's products of 8-bit integers on this CPU."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ssept.data.dataset import Dataset
from ssept.errors import MiscalculationError
from ssept.providers import load
from ssept.providers.onnx import integer_products
from ssept.providers.onnx.file import describe, interpretation
from ssept.providers.onnx.integer_products import (
    MODEL,
    eight_bits_overflow,
    overflow_of,
    wrong_integer_products,
)
from tests.conftest import untrained


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    wrong_integer_products.cache_clear()
    eight_bits_overflow.cache_clear()
    yield
    wrong_integer_products.cache_clear()
    eight_bits_overflow.cache_clear()


def test_its_model_is_one_product_of_integers() -> None:
    def value(name: str, kind: int, *shape: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value("a", TensorProto.UINT8, "m", "k"), value("b", TensorProto.INT8, "k", "n")]
    outputs = [value("y", TensorProto.INT32, "m", "n")]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "p", inputs, outputs
    )
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="")
    assert onnx.load_from_string(MODEL) == made


def saturated(a: Any, b: Any) -> Any:
    """The product as VPMADDUBSW makes it: each sum of two neighbours must fit into 16 bits."""
    pairs = a.astype(np.int32)[:, :, None] * b.astype(np.int32)[None]
    sums = pairs[:, ::2] + pairs[:, 1::2]
    return np.clip(sums, -(2**15), 2**15 - 1).sum(axis=1, dtype=np.int32)


def test_a_cpu_without_vnni_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self, _: object, inputs: dict[str, Any]) -> list[Any]:
            return [saturated(**inputs)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert wrong_integer_products() is None
    assert eight_bits_overflow()


@pytest.mark.parametrize(("version", "advice"), [("1.24.1", "1.25 or"), ("1.32.0", "another")])
@pytest.mark.parametrize("wrong", [False, True])
def test_one_wrong_sum_is_found(
    wrong: bool, version: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self, _: object, inputs: dict[str, Any]) -> list[Any]:
            product = inputs["a"].astype(np.int32) @ inputs["b"].astype(np.int32)
            product[31, 30] += wrong
            return [product]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "__version__", version)
    found = wrong_integer_products()
    assert (found is None) is not wrong
    if found:
        assert advice in found
        assert "\n" not in found


def test_without_onnxruntime_it_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    assert wrong_integer_products() is None


def test_integers_are_refused_where_they_are_multiplied_wrongly(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Floats run, and so do integers where their products are right."""
    checkpoint = untrained(small, tmp_path / "small.safetensors")
    monkeypatch.setattr(integer_products, "wrong_integer_products", lambda: "it is wrong")
    user, sequence = np.ones(1, np.int64), np.ones((1, 5), np.int64)
    assert load(checkpoint, "fused").scores(user, sequence).shape[0] == 1
    for variant in ("fused_int8", "fused_int8_topk", "ort_dynamic"):
        with pytest.raises(MiscalculationError, match=r"^it is wrong$"):
            load(checkpoint, variant)
    monkeypatch.setattr(integer_products, "wrong_integer_products", lambda: None)
    assert load(checkpoint, "fused_int8").scores(user, sequence).shape[0] == 1


@pytest.mark.parametrize("overflows", [False, True])
def test_it_is_said_that_the_weights_of_a_file_may_overflow(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overflows: bool
) -> None:
    checkpoint = untrained(small, tmp_path / "small.safetensors")
    monkeypatch.setattr(integer_products, "eight_bits_overflow", lambda: overflows)
    for variant, integers in {"fused": False, "fused_int8": True}.items():
        path = load(checkpoint, variant).artifact.path
        assert ("reduce_range=True" in overflow_of(path)) == (overflows and integers)
        assert overflow_of(path) in interpretation(describe(path))
