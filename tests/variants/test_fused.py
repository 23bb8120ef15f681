"""The rewritten network: torch's own scores from a smaller graph, and INT8 where asked for."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import CheckpointError
from ssept.model.checkpoint import load_checkpoint, save_checkpoint
from ssept.providers import PROVIDERS
from ssept.variants import build
from ssept.variants.fused import write
from tests.conftest import batch, untrained

FULL = 50
CELLS = [
    ("fused", "cpu"),
    ("fused", "openvino"),
    ("fused", "openvino_native"),
    ("litert", "litert"),
]


def with_real_norms(path: Path) -> Path:
    """The checkpoint with other gains and biases than the ones and zeros of a fresh network."""
    checkpoint = load_checkpoint(path)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in checkpoint.model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.3)
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_real_norms(untrained(small, tmp_path_factory.mktemp("fused") / "full.safetensors"))


@pytest.mark.parametrize(("variant", "provider"), CELLS)
def test_fused_agrees_with_torch_at_every_shape(
    small: Dataset, checkpoint: Path, variant: str, provider: str
) -> None:
    random = np.random.default_rng(0)
    reference = ssept.load(checkpoint, "torch", "torch")
    session = ssept.load(checkpoint, variant, provider)
    for size in (1, 2, 8, 64):
        for length in (1, 2, 25, FULL):
            user, sequence = batch(random, small.users, small.items, size, length)
            expected = reference.scores(user, sequence)
            np.testing.assert_allclose(session.scores(user, sequence), expected, atol=1e-4)


@pytest.mark.parametrize(("variant", "provider"), CELLS)
def test_padding_anywhere_is_what_torch_takes_it_for(
    small: Dataset, checkpoint: Path, variant: str, provider: str
) -> None:
    """Nothing but padding, padding in the middle, and a last position that is padding."""
    sequence = np.tile(np.arange(1, FULL + 1), (4, 1))
    sequence[0] = 0
    sequence[1, 10:20] = 0
    sequence[2, -1] = 0
    user = np.arange(4)
    expected = ssept.load(checkpoint, "torch", "torch").scores(user, sequence)
    scores = ssept.load(checkpoint, variant, provider).scores(user, sequence)
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "provider"), [("fused", "cpu"), ("litert", "litert")], ids=["onnx", "litert"]
)
@pytest.mark.parametrize("heads", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_any_number_of_blocks_and_heads(
    small: Dataset, tmp_path: Path, variant: str, provider: str, blocks: int, heads: int
) -> None:
    sizes = {"item_dim": 12, "user_dim": 8, "max_length": 9, "blocks": blocks, "heads": heads}
    path = with_real_norms(untrained(small, tmp_path / "x.safetensors", **sizes))
    random = np.random.default_rng(0)
    reference = ssept.load(path, "torch", "torch")
    exact = ssept.load(path, variant, provider)
    int8 = ssept.load(path, f"{variant}_int8", provider)
    for size, length in ((1, 1), (1, 9), (5, 4)):
        user, sequence = batch(random, small.users, small.items, size, length)
        expected = reference.scores(user, sequence)
        np.testing.assert_allclose(exact.scores(user, sequence), expected, atol=1e-5)
        error = np.abs(int8.scores(user, sequence) - expected).max()
        assert 0 < error < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("variant", ["fused", "fused_int8"])
def test_ids_outside_the_tables_are_padding_and_the_unknown_user(
    small: Dataset, checkpoint: Path, variant: str
) -> None:
    session = onnxruntime.InferenceSession(
        build(checkpoint, variant).path, providers=["CPUExecutionProvider"]
    )

    def scores(user: int, item: int) -> np.ndarray:
        feeds = {"user": np.array([user]), "sequence": np.array([[item, 5, item, 9, item]])}
        return session.run(None, feeds)[0]

    for wild in (-1, -2, 2**62, -(2**62), small.items + 1, small.items + 2):
        np.testing.assert_array_equal(scores(wild, wild), scores(0, 0))


@pytest.mark.parametrize("provider", ["cpu", "openvino", "openvino_native"])
@pytest.mark.parametrize("variant", ["onnx", "onnx_topk", "fused_topk", "fused_int8_topk"])
def test_no_id_is_taken_for_another_or_fails(checkpoint: Path, variant: str, provider: str) -> None:
    """ONNX Runtime fails on ids of 33 bits, OpenVINO reads the lower 32 bits of each."""
    if reason := PROVIDERS[provider].unavailable():
        pytest.skip(reason)
    session = ssept.load(checkpoint, variant, provider)
    wanted = session.recommend([0, 1], [[0, 5, 0], [1, 2, 3]], 5)
    for wild in (2**31, 3_238_758_848, 2**32 + 5, 2**62 + 5, -(2**31) - 1, -(2**32) + 5, -(2**63)):
        given = session.recommend([wild, 1], [[wild, 5, wild], [1, 2, 3]], 5)
        np.testing.assert_array_equal(given[0], wanted[0])
        np.testing.assert_array_equal(given[1], wanted[1])


@pytest.mark.parametrize("variant", ["fused_topk", "fused_int8_topk"])
def test_the_head_gives_the_best_of_all_scores(
    small: Dataset, checkpoint: Path, variant: str
) -> None:
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 8, FULL)
    ids, best = ssept.load(checkpoint, variant).recommend(user, sequence, 10, exclude=sequence)
    expected = ssept.load(checkpoint, variant.removesuffix("_topk")).recommend(
        user, sequence, 10, exclude=sequence
    )
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(best, expected[1], rtol=1e-6)


def test_the_names_tell_which_layers_are_in_int8(checkpoint: Path, tmp_path: Path) -> None:
    names = write(checkpoint, tmp_path / "fp32.onnx", ())
    assert len(set(names)) == len(names)
    sizes = {}
    for name in names:
        path = tmp_path / f"{name}.onnx"
        assert write(checkpoint, path, [name]) == names
        kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
        assert onnx.TensorProto.UINT8 in kinds
        onnx.checker.check_model(path, full_check=True)
        sizes[name] = path.stat().st_size
    assert write(checkpoint, tmp_path / "int8.onnx", names) == names
    whole = (tmp_path / "fp32.onnx").stat().st_size
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * whole
    assert sizes["blocks.0.value"] < whole


def test_a_layer_that_does_not_exist_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown layer 'blocks\.7\.query'; expected one of "):
        write(checkpoint, tmp_path / "x.onnx", ["blocks.7.query"])
    assert not list(tmp_path.iterdir())


def test_the_item_table_is_stored_once(small: Dataset, checkpoint: Path) -> None:
    shapes = [
        tuple(tensor.dims)
        for tensor in onnx.load(build(checkpoint, "fused_int8").path).graph.initializer
    ]
    tables = [shape for shape in shapes if len(shape) == 2 and max(shape) > small.items]
    assert sorted(tables) == [(small.items + 2, 1), (small.items + 2, 50)]


def test_a_model_without_users_is_built_in_fp32_and_refused_in_int8(
    small: Dataset, tmp_path: Path
) -> None:
    path = untrained(small, tmp_path / "m.safetensors", item_dim=8, user_dim=0, max_length=20)
    for variant in ("onnx", "fused", "fused_topk"):
        assert build(path, variant).path.is_file()
    for variant in ("fused_int8", "fused_int8_topk", "quant_dynamic", "ort_dynamic"):
        with pytest.raises(CheckpointError, match=r"m\.safetensors: has no user embedding"):
            build(path, variant)
