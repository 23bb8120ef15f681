"""LiteRT: what XNNPACK takes over, any batch and length, and files that are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import ProviderError
from ssept.model.checkpoint import load_checkpoint, save_checkpoint
from ssept.providers import PROVIDERS
from ssept.providers.litert import KEPT, REST, XNNPACK
from ssept.variants import build
from tests.conftest import batch, untrained

pytestmark = pytest.mark.skipif(
    bool(PROVIDERS["litert"].unavailable()), reason="LiteRT is not installed"
)


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(small, tmp_path_factory.mktemp("litert") / "x.safetensors")


@pytest.mark.parametrize("variant", ["litert", "litert_int8"])
def test_xnnpack_takes_over_all_but_the_lookups(checkpoint: Path, variant: str) -> None:
    placement = ssept.load(checkpoint, variant, "litert").placement()
    assert placement[XNNPACK] > 3 * placement[REST]


def test_more_batch_sizes_than_are_kept(small: Dataset, checkpoint: Path) -> None:
    random = np.random.default_rng(0)
    exact = ssept.load(checkpoint, "torch", "torch")
    session = ssept.load(checkpoint, "litert", "litert")
    for size in (*range(1, KEPT + 3), 1, 2):
        user, sequence = batch(random, small.users, small.items, size, 7)
        np.testing.assert_allclose(
            session.scores(user, sequence), exact.scores(user, sequence), atol=1e-4
        )


def test_scores_are_left_alone_by_the_next_call(small: Dataset, checkpoint: Path) -> None:
    session = ssept.load(checkpoint, "litert", "litert")
    first = session.scores([1], [[1, 2, 3]])
    before = first.copy()
    session.scores([2], [[4, 5, 6]])
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("variant", ["litert", "litert_int8"])
def test_no_id_is_taken_for_another(small: Dataset, checkpoint: Path, variant: str) -> None:
    session = ssept.load(checkpoint, variant, "litert")
    wanted = session.scores([0], [[0, 5, 0, 7]])
    behind = small.items + 1
    for wild in (-1, -2, behind, behind + 1, 2**31 - 1, 2**31, 2**32 + 5, 2**62 + 5, -(2**63)):
        given = session.scores([wild], [[wild, 5, wild, 7]])
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("variant", ["litert", "litert_int8"])
def test_the_best_are_found_in_the_graph(small: Dataset, checkpoint: Path, variant: str) -> None:
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 8, 50)
    head = ssept.load(checkpoint, f"{variant}_topk", "litert")
    alone = ssept.load(checkpoint, variant, "litert")
    scores = head.scores(user, sequence)[:, 1:]
    np.testing.assert_array_equal(scores, alone.scores(user, sequence)[:, 1:])
    for k in (1, 10, small.items - 60):
        for exclude in (None, sequence, np.full((8, 3), 7), np.array([[-1, 0, 2**40]] * 8)):
            ids, scores = head.recommend(user, sequence, k, exclude)
            wanted, expected = alone.recommend(user, sequence, k, exclude)
            np.testing.assert_array_equal(ids, wanted)
            np.testing.assert_array_equal(scores, expected)


def test_equal_scores_are_in_the_order_of_their_ids(small: Dataset, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(untrained(small, tmp_path / "x.safetensors"))
    with torch.no_grad():
        table = checkpoint.model.item.weight
        table[1:] = table[1 + torch.arange(small.items) % 3]
    save_checkpoint(checkpoint, tmp_path / "x.safetensors")
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 4, 9)
    exact = ssept.load(tmp_path / "x.safetensors", "litert", "litert")
    head = ssept.load(tmp_path / "x.safetensors", "litert_topk", "litert")
    for k in (1, 5, 70, small.items):
        wanted, _ = exact.recommend(user, sequence, k)
        np.testing.assert_array_equal(head.recommend(user, sequence, k)[0], wanted)


def test_each_table_is_stored_once(checkpoint: Path) -> None:
    exact, onnx = build(checkpoint, "litert"), build(checkpoint, "fused")
    assert exact.path.stat().st_size < 1.1 * onnx.path.stat().st_size


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3" + bytes(64)])
def test_what_is_no_model_is_refused(checkpoint: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(content)
    broken = replace(build(checkpoint, "litert"), path=file)
    with pytest.raises(ProviderError, match=r"x\.tflite: LiteRT cannot run it"):
        PROVIDERS["litert"].load(broken, 1)
