"""NNCF's INT8: close to float32 on every provider of ONNX files, and all of it in INT8."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import ssept
from ssept.artifacts import Artifact
from ssept.data.dataset import Dataset, left_padded
from ssept.providers import PROVIDERS
from ssept.variants import VARIANTS, build
from tests.conftest import batch, untrained

pytestmark = pytest.mark.slow

PROVIDERS_OF_ONNX = ("cpu", "openvino", "openvino_native")
SEVEN_BITS = 64
SHAPING = ("Reshape", "Transpose")
PRODUCTS = 15  # seven a block, of which two are attention's own, and the scores
WEIGHTS = 11
TABLES = 3  # users, and items twice: to look up and to multiply with


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(small, tmp_path_factory.mktemp("c") / "full.safetensors")


@pytest.fixture(scope="module")
def artifact(nncf: Path, checkpoint: Path, small_folder: Path) -> Artifact:
    return build(checkpoint, "nncf", small_folder)


@pytest.fixture(scope="module")
def graph(artifact: Artifact) -> onnx.GraphProto:
    return onnx.load(artifact.path).graph


def source(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    """The node whose values a tensor holds, in whatever shape."""
    (node,) = (node for node in graph.node if name in node.output)
    return source(graph, node.input[0]) if node.op_type in SHAPING else node


@pytest.mark.parametrize("provider", PROVIDERS_OF_ONNX)
def test_the_top_10_is_float32s(
    artifact: Artifact, checkpoint: Path, small: Dataset, provider: str
) -> None:
    if reason := PROVIDERS[provider].unavailable():
        pytest.skip(reason)
    cases = small.cases("test")
    sequences = left_padded(cases.histories, 50)
    wanted, _ = ssept.load(checkpoint, "torch", "torch").recommend(cases.users, sequences, 10)
    session = ssept.load(artifact, provider=provider)
    found, _ = session.recommend(cases.users, sequences, 10)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(wanted, found, strict=True)]
    assert np.mean(shares) >= VARIANTS["nncf"].min_overlap
    assert len(session.placement()) == 1


def test_every_batch_and_length_runs_and_ids_stay_guarded(
    artifact: Artifact, small: Dataset
) -> None:
    session = ssept.load(artifact)
    random = np.random.default_rng(0)
    for size, length in ((1, 1), (1, 50), (3, 7), (64, 50)):
        user, sequence = batch(random, small.users, small.items, size, length)
        scores = session.scores(user, sequence)
        assert scores.shape == (size, small.items + 1)
        assert np.isfinite(scores).all()
    known = session.scores([0], [[0, 5, 9]])
    for wild in (-1, 2**62, small.items + 1):
        np.testing.assert_array_equal(session.scores([wild], [[wild, 5, 9]]), known)


def test_products_are_of_int8_and_the_scores_are_not_rounded(
    artifact: Artifact, graph: onnx.GraphProto
) -> None:
    products = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(products) == PRODUCTS
    for product in products:
        operands = [source(graph, name).op_type for name in product.input]
        # NNCF leaves attention's second product, which reads a softmax, in float32.
        if operands[0] != "Softmax":
            assert operands == ["DequantizeLinear"] * 2, product.name
    (last,) = (node for node in graph.node if "scores" in node.output)
    assert last in products
    assert artifact.operators == Counter(node.op_type for node in graph.node)


def test_tables_have_8_bits_and_what_is_multiplied_7(
    artifact: Artifact, checkpoint: Path, graph: onnx.GraphProto, small: Dataset
) -> None:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sizes = {small.users + 1, small.items + 1}
    tables = [array for array in constants.values() if array.ndim == 2 and sizes & {*array.shape}]
    assert [table.dtype for table in tables] == [np.int8] * TABLES
    products = (node for node in graph.node if node.op_type == "MatMul")
    factors = [source(graph, product.input[1]).input[0] for product in products]
    weights = [constants[name] for name in factors if name in constants]
    assert len(weights) == WEIGHTS
    for weight in weights:
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= SEVEN_BITS
    assert artifact.size_bytes < 0.6 * build(checkpoint, "onnx").size_bytes


def test_the_manifest_names_the_tool_and_the_calibration(
    artifact: Artifact, small: Dataset
) -> None:
    assert artifact.calibration["data_hash"] == small.data_hash
    manifest = (artifact.path.parent / "manifest.json").read_text(encoding="utf-8")
    assert "nncf 3." in manifest
