"""Quantized variants: close to float32, QDQ alone, small, and calibrated on training data only."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import ssept
from ssept.artifacts import Artifact
from ssept.artifacts.manifests import read_artifacts
from ssept.data.dataset import Dataset, left_padded
from ssept.data.synthetic import prepare_synthetic
from ssept.errors import DataError
from ssept.model.checkpoint import load_checkpoint
from ssept.variants import VARIANTS, build
from ssept.variants.calibration import calibration_of
from tests.conftest import ITEMS, USERS, batch, untrained

COMPRESSED = ("quant_dynamic", "quant_static", "quant_static_aggressive")
ONNXRUNTIME = ("ort_dynamic", "ort_static")
QUANTIZED = (*COMPRESSED, *ONNXRUNTIME)
STATIC = ("quant_static", "quant_static_aggressive", "ort_static")
LENGTH = 50


def each(variants: tuple[str, ...]) -> pytest.MarkDecorator:
    """For each variant; those that need a tool's environment are slow."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in variants if name in COMPRESSED]
    return pytest.mark.parametrize("variant", [*slow, *sorted(set(variants) - set(COMPRESSED))])


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> None:
    """What the test's variant is built with."""
    if request.getfixturevalue("variant") in COMPRESSED:
        request.getfixturevalue("neural_compressor")


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(small, tmp_path_factory.mktemp("c") / "full.safetensors")


def model_of(artifact: Artifact) -> onnx.GraphProto:
    return onnx.load(artifact.path).graph


@pytest.mark.usefixtures("tool")
@each(QUANTIZED)
def test_the_top_10_and_the_file_are_what_they_should_be(
    checkpoint: Path, small: Dataset, small_folder: Path, variant: str
) -> None:
    artifact = build(checkpoint, variant, small_folder)
    assert artifact.path.name == f"full_{variant}.onnx"
    nodes = Counter(node.op_type for node in model_of(artifact).node)
    assert artifact.operators == nodes
    assert not [name for name in nodes if name.startswith("QLinear")]
    rounding = "QuantizeLinear" if variant in STATIC else "DynamicQuantizeLinear"
    assert nodes[rounding] >= 8
    cases = small.cases("test")
    sequences = left_padded(cases.histories, LENGTH)
    wanted, _ = ssept.load(build(checkpoint, "onnx")).recommend(cases.users, sequences, 10)
    for provider in ("cpu", "openvino"):
        session = ssept.load(artifact, provider=provider)
        found, _ = session.recommend(cases.users, sequences, 10)
        overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(wanted, found, strict=True)])
        assert overlap >= VARIANTS[variant].min_overlap, provider
    assert session.placement() == {"OpenVINO": 1}


@pytest.mark.usefixtures("tool")
@each(QUANTIZED)
def test_every_batch_and_length_runs_and_ids_stay_guarded(
    checkpoint: Path, small: Dataset, small_folder: Path, variant: str
) -> None:
    session = ssept.load(build(checkpoint, variant, small_folder))
    random = np.random.default_rng(0)
    for size, length in ((1, 1), (1, 50), (3, 7), (64, 50)):
        user, sequence = batch(random, small.users, small.items, size, length)
        scores = session.scores(user, sequence)
        assert scores.shape == (size, small.items + 1)
        assert np.isfinite(scores).all()
    known = session.scores([0], [[0, 5, 9]])
    for wild in (-1, 2**62, small.items + 1):
        np.testing.assert_array_equal(session.scores([wild], [[wild, 5, 9]]), known)


@pytest.mark.usefixtures("tool")
@each(STATIC)
def test_scores_are_not_rounded_to_256_levels(
    checkpoint: Path, small: Dataset, small_folder: Path, variant: str
) -> None:
    artifact = build(checkpoint, variant, small_folder)
    last = [node for node in model_of(artifact).node if "scores" in node.output]
    assert [node.op_type for node in last] == ["MatMul"]
    scores = ssept.load(artifact).scores([1], [small.train[0]])
    assert len(np.unique(scores)) > 0.9 * small.items


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor")
@pytest.mark.parametrize("variant", COMPRESSED)
def test_tables_are_looked_up_in_int8(
    checkpoint: Path, small: Dataset, small_folder: Path, variant: str
) -> None:
    graph = model_of(build(checkpoint, variant, small_folder))
    tables = {
        tensor.name
        for tensor in graph.initializer
        if {small.users + 1, small.items + 1} & set(tensor.dims)
        and len(tensor.dims) == 2
        and numpy_helper.to_array(tensor).dtype in (np.int8, np.uint8)
    }
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    assert len(looked_up & tables) == 2
    assert len(tables) == (2 if variant == "quant_static_aggressive" else 3)


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor")
def test_the_aggressive_file_is_the_smallest(checkpoint: Path, small_folder: Path) -> None:
    sizes = {
        name: build(checkpoint, name, small_folder).size_bytes for name in ("onnx", *COMPRESSED)
    }
    aggressive = sizes.pop("quant_static_aggressive")
    assert aggressive < min(sizes.values())
    assert max(sizes["quant_dynamic"], sizes["quant_static"]) < 0.5 * sizes["onnx"]


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor")
def test_more_blocks_and_heads_can_be_quantized_too(
    small: Dataset, small_folder: Path, tmp_path: Path
) -> None:
    path = untrained(small, tmp_path / "3x2.safetensors", blocks=3, heads=2)
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 16, 13)
    wanted, _ = ssept.load(path, "torch", "torch").recommend(user, sequence, 10)
    artifact = build(path, "quant_static_aggressive", small_folder)
    found, _ = ssept.load(artifact).recommend(user, sequence, 10)
    overlaps = [len(set(a) & set(b)) / 10 for a, b in zip(wanted, found, strict=True)]
    assert np.mean(overlaps) >= VARIANTS["quant_static_aggressive"].min_overlap


def test_calibration_reads_training_histories_and_nothing_else(small: Dataset) -> None:
    calibration = calibration_of(small, LENGTH, count=25)
    assert len(np.unique(calibration.user)) == 25
    for user, sequence in zip(calibration.user, calibration.sequence, strict=True):
        history = small.train[user - 1]
        np.testing.assert_array_equal(sequence[sequence != 0], history[-LENGTH:])
        assert not {small.val[user - 1], small.test[user - 1]} & set(sequence)
    other_targets = dataclasses.replace(small, val=small.test, test=small.val)
    assert calibration_of(other_targets, LENGTH, count=25).sha256 == calibration.sha256
    assert calibration_of(small, LENGTH, count=25, seed=1).sha256 != calibration.sha256
    assert len(calibration_of(small, LENGTH).user) == small.users  # fewer than wanted: all


def test_calibration_skips_users_without_a_training_history(small: Dataset) -> None:
    train = [np.empty(0, dtype=np.int64), *small.train[1:]]
    calibration = calibration_of(dataclasses.replace(small, train=train), LENGTH)
    assert 1 not in calibration.user
    assert calibration.sequence.any(axis=1).all()


def test_the_manifest_tells_what_it_was_calibrated_on(
    checkpoint: Path, small: Dataset, small_folder: Path
) -> None:
    artifact = build(checkpoint, "ort_static", small_folder)
    assert read_artifacts(artifact.path.parent)["ort_static"].calibration == {
        "data_hash": small.data_hash,
        "sequences": small.users,
        "seed": 0,
        "length": LENGTH,
        "sha256": calibration_of(small, LENGTH).sha256,
    }
    assert build(checkpoint, "ort_dynamic").calibration == {}


def test_calibration_wants_the_data_but_a_built_file_does_not(
    small: Dataset, small_folder: Path, tmp_path: Path
) -> None:
    path = untrained(small, tmp_path / "mine.safetensors", item_dim=4, user_dim=4)
    with pytest.raises(DataError, match=r"ort_static is calibrated on .* of mine.*--data-dir"):
        build(path, "ort_static")
    first = build(path, "ort_static", small_folder)
    assert build(path, "ort_static") == first


@pytest.mark.slow
def test_other_data_are_refused(small: Dataset, tmp_path: Path) -> None:
    other = tmp_path / "other"
    prepare_synthetic(other, users=USERS, items=ITEMS, seed=4)
    path = untrained(small, tmp_path / "mine.safetensors", item_dim=2, user_dim=4)
    with pytest.raises(DataError, match=f"{other}: .*these are other data"):
        build(path, "ort_static", other)


def test_a_bare_state_dict_is_calibrated_on_what_it_is_given(
    small: Dataset, small_folder: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    weights = load_checkpoint(small_checkpoint).model.state_dict()
    torch.save({"state_dict": weights, "heads": 1}, tmp_path / "own.pth")
    with pytest.raises(DataError, match=r"own's data, unknown \(no hash\)"):
        build(tmp_path / "own.pth", "ort_static")
    artifact = build(tmp_path / "own.pth", "ort_static", small_folder)
    assert artifact.calibration["data_hash"] == small.data_hash
    fewer = tmp_path / "fewer"
    prepare_synthetic(fewer, users=USERS - 1, items=ITEMS)
    with pytest.raises(DataError, match=f"has {USERS - 1} users.*not trained on them"):
        build(tmp_path / "own.pth", "ort_static", fewer)


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor")
def test_a_build_killed_in_the_middle_goes_on(
    small: Dataset, small_folder: Path, tmp_path: Path, own_cache: Path, empty_cache: Path
) -> None:
    (empty_cache / "environments").symlink_to(own_cache / "environments")
    path = untrained(small, tmp_path / "killed.safetensors", item_dim=6, user_dim=4)
    build(path, "onnx")
    program = (
        "import sys; from pathlib import Path; from ssept.variants import build\n"
        "build(Path(sys.argv[1]), 'quant_static', Path(sys.argv[2]))"
    )
    artifacts = empty_cache / "artifacts"
    before = set(artifacts.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", program, path, small_folder], start_new_session=True
    )
    while set(artifacts.iterdir()) == before:  # until it has begun to build
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    artifact = build(path, "quant_static", small_folder)
    assert read_artifacts(artifact.path.parent)["quant_static"] == artifact
