"""Artifacts: equal to torch, cached by content, whole or absent."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import ssept
from ssept.artifacts.manifests import read_artifacts
from ssept.data.dataset import Dataset
from ssept.errors import CheckpointError, SseptError
from ssept.variants import VARIANTS, build
from tests.conftest import batch, untrained

BATCHES = (1, 2, 3, 8, 31, 64)
LENGTHS = (1, 2, 7, 25, 49, 50)


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the default widths and length, two heads short of nothing: the shape that ships."""
    return untrained(small, tmp_path_factory.mktemp("c") / "full.safetensors")


@pytest.mark.parametrize("variant", ["onnx", "onnx_graph"])
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_variant_agrees_with_torch_at_every_shape(
    small: Dataset, checkpoint: Path, variant: str, provider: str
) -> None:
    random = np.random.default_rng(0)
    reference = ssept.load(checkpoint, "torch", "torch")
    session = ssept.load(checkpoint, variant, provider)
    for size in BATCHES:
        for length in LENGTHS:
            user, sequence = batch(random, small.users, small.items, size, length)
            expected = reference.scores(user, sequence)
            np.testing.assert_allclose(session.scores(user, sequence), expected, atol=1e-4)


@pytest.mark.slow
def test_more_blocks_and_heads_export_too(small: Dataset, tmp_path: Path) -> None:
    path = untrained(small, tmp_path / "3x2.safetensors", blocks=3, heads=2)
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 4, 13)
    expected = ssept.load(path, "torch", "torch").scores(user, sequence)
    np.testing.assert_allclose(ssept.load(path).scores(user, sequence), expected, atol=1e-4)


def test_the_export_answers_a_plain_onnxruntime_call(small: Dataset, checkpoint: Path) -> None:
    session = onnxruntime.InferenceSession(
        build(checkpoint, "onnx").path, providers=["CPUExecutionProvider"]
    )
    feeds = {"user": np.array([1]), "sequence": np.arange(50)[None]}
    (scores,) = session.run(None, feeds)
    assert scores.shape == (1, small.items + 1)
    assert scores.dtype == np.float32


def test_ids_outside_the_tables_are_guarded_in_the_graph(small: Dataset, checkpoint: Path) -> None:
    session = onnxruntime.InferenceSession(
        build(checkpoint, "onnx").path, providers=["CPUExecutionProvider"]
    )

    def scores(user: int, item: int) -> np.ndarray:
        feeds = {"user": np.array([user]), "sequence": np.array([[item, 5, 9]])}
        return session.run(None, feeds)[0]

    for wild in (-1, 2**62, -(2**62), small.items + 1):
        np.testing.assert_allclose(scores(wild, wild), scores(0, 0), atol=1e-6)


def test_the_files_have_the_names_that_users_know(checkpoint: Path) -> None:
    assert build(checkpoint, "onnx").path.name == "full.onnx"
    assert build(checkpoint, "onnx_graph").path.name == "full_onnx_graph.onnx"
    onnx.checker.check_model(build(checkpoint, "onnx").path, full_check=True)


def test_an_artifact_is_built_once(checkpoint: Path) -> None:
    first = build(checkpoint, "onnx")
    written = first.path.stat().st_mtime_ns
    assert build(checkpoint, "onnx").path.stat().st_mtime_ns == written


@pytest.mark.slow
def test_the_same_weights_under_another_name_are_another_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(checkpoint.read_bytes())
    assert build(copy, "onnx").path.name == "renamed.onnx"
    assert build(checkpoint, "onnx").path.name == "full.onnx"


@pytest.mark.slow
def test_a_damaged_cache_entry_is_built_again(small: Dataset, tmp_path: Path) -> None:
    path = untrained(small, tmp_path / "damaged.safetensors", item_dim=4, user_dim=4)
    artifact = build(path, "onnx")
    artifact.path.write_bytes(b"half a file")
    with pytest.raises(SseptError, match="not the file that"):
        read_artifacts(artifact.path.parent)
    assert build(path, "onnx").sha256 == artifact.sha256


def test_the_hardware_bound_variant_is_keyed_by_runtime_and_cpu(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = build(checkpoint, "onnx_graph")
    assert "onnxruntime" in here.tools["onnxruntime"]
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": ["another"]}})
    assert build(checkpoint, "onnx_graph").path != here.path


def test_a_failed_build_leaves_nothing(small: Dataset, tmp_path: Path, empty_cache: Path) -> None:
    path = untrained(small, tmp_path / "cut.safetensors", item_dim=4, user_dim=4)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="cut"):
        build(path, "onnx")
    assert not list(empty_cache.iterdir())


def test_an_unknown_variant_is_refused_with_the_known_ones(checkpoint: Path) -> None:
    with pytest.raises(SseptError, match=", ".join(VARIANTS)):
        build(checkpoint, "quant")


def test_a_file_tells_nothing_of_the_machine_that_built_it(checkpoint: Path) -> None:
    content = build(checkpoint, "onnx").path.read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
