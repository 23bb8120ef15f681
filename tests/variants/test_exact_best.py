"""The best by all scores in FP32, found by INT8 scores; where these cannot tell, by all scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssept
from ssept.artifacts.manifests import copy_artifacts
from ssept.data.dataset import Dataset
from ssept.decide.scale.random_models import models
from ssept.errors import ArtifactError, ProviderError
from ssept.model.checkpoint import load_checkpoint, save_checkpoint
from ssept.providers import PROVIDERS, applicable
from ssept.providers.session import Session
from ssept.serving.triton.repository import write_repository
from ssept.variants import build
from tests.conftest import batch
from tests.variants.test_topk import check, tied  # noqa: F401

ROUNDING = 1e-4  # of scores: a row's products are added in another order than a table's


def check_best(session: Session, exact: Session, users: int, items: int, size: int) -> None:
    """Compare with another session's sorted scores, but for an order that rounding decides."""
    random = np.random.default_rng(size)
    user, sequence = batch(random, users, items, size, 50)
    left_out = random.integers(0, items + 1, (size, 30))
    left_out[:, :3] = [-1, items + 1, 2**40]
    scores = exact.scores(user, sequence)
    for k in (1, 10, 60):
        for exclude in (None, left_out):
            ids, best = session.recommend(user, sequence, k, exclude)
            right, wanted = exact.recommend(user, sequence, k, exclude)
            np.testing.assert_allclose(best, wanted, atol=ROUNDING)
            np.testing.assert_allclose(np.take_along_axis(scores, ids, 1), wanted, atol=ROUNDING)
            assert all(len({*row}) == k for row in ids.tolist())
            clear = wanted > wanted[:, -1:] + ROUNDING
            for row, (own, among) in enumerate(zip(right, clear, strict=True)):
                assert {*own[among].tolist()} <= {*ids[row].tolist()}


@pytest.mark.parametrize("size", [1, 2, 17, 64])
def test_it_finds_what_sorting_all_scores_finds(
    small_checkpoint: Path, small: Dataset, size: int
) -> None:
    session, exact = (
        ssept.load(small_checkpoint, name) for name in ("fused_exact_topk", "fused_topk")
    )
    check_best(session, exact, small.users, small.items, size)


def test_equal_scores_are_in_the_order_of_their_ids(tied: Path, small: Dataset) -> None:  # noqa: F811
    """Items with the same row; the best of some users can only be told by all scores."""
    session = ssept.load(tied, "fused_exact_topk")
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 16, 50)
    ids, best = session.recommend(user, sequence, 60)
    for row, scores in zip(ids, best, strict=True):
        equal = scores[1:] == scores[:-1]
        assert equal.any()
        assert (row[1:] > row[:-1])[equal].all()


def test_what_it_cannot_tell_is_decided_by_all_scores(
    small_checkpoint: Path, small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of items that are all alike, most are left out of what is computed exactly."""
    checkpoint = load_checkpoint(small_checkpoint)
    with torch.no_grad():
        checkpoint.model.item.weight[2:] = checkpoint.model.item.weight[1]
    path = tmp_path / "alike.safetensors"
    save_checkpoint(checkpoint, path)
    session = ssept.load(path, "fused_exact_topk")
    asked, scores = [], type(session)._scores
    monkeypatch.setattr(type(session), "_scores", lambda *given: asked.append(1) or scores(*given))
    ids, _ = session.recommend([1, 2], [[5], [7]], 10, [[1, 3], [0, 2]])
    assert asked
    assert ids.tolist() == [[2, *range(4, 13)], [1, *range(3, 12)]]


def test_only_what_it_cannot_tell_is_computed_again(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ssept.load(small_checkpoint, "fused_exact_topk")
    user, sequence = np.array([1, 2, 3]), np.array([[5], [6], [7]])
    wanted = session.recommend(user, sequence, 10, [[1], [2], [3]])
    head, scores, asked = type(session)._head, type(session)._scores, []

    def unsure(*given: Any) -> Any:
        ids, best = head(*given)
        ids[1] = 0
        return ids, best

    def noted(*given: Any) -> Any:
        asked.append(len(given[1]))
        return scores(*given)

    monkeypatch.setattr(type(session), "_head", unsure)
    monkeypatch.setattr(type(session), "_scores", noted)
    ids, best = session.recommend(user, sequence, 10, [[1], [2], [3]])
    assert asked == [1]
    np.testing.assert_array_equal(ids, wanted[0])
    np.testing.assert_allclose(best, wanted[1], atol=ROUNDING)


def test_nothing_else_runs_the_file(small_checkpoint: Path, tmp_path: Path) -> None:
    """Who does not know that ids of 0 are no answer would give them to users."""
    artifact = build(small_checkpoint, "fused_exact_topk")
    assert [name for name in PROVIDERS if applicable("fused_exact_topk", name)] == ["cpu"]
    with pytest.raises(ProviderError, match="runs onnx"):
        PROVIDERS["openvino_native"].load(artifact, 1)
    with pytest.raises(ArtifactError, match="expected an ONNX one"):
        write_repository(artifact, tmp_path / "repository")
    with pytest.raises(ArtifactError, match="give the folder that it was built into"):
        ssept.load(artifact.path)
    folder = tmp_path / "artifacts"
    copy_artifacts([artifact], folder)
    assert ssept.load(folder, "fused_exact_topk").artifact.format == artifact.format


def test_leaving_out_very_many_takes_all_scores(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ssept.load(small_checkpoint, "fused_exact_topk")
    exclude = np.arange(1, 31)[None]
    wanted = session.recommend([1], [[5]], 10, exclude)
    monkeypatch.setattr("ssept.providers.session.MOST_COMPARED", 100)
    monkeypatch.delattr(type(session), "_head")
    np.testing.assert_array_equal(session.recommend([1], [[5]], 10, exclude)[0], wanted[0])


def test_the_scores_are_those_of_fused(small_checkpoint: Path, small: Dataset) -> None:
    session, exact = (ssept.load(small_checkpoint, name) for name in ("fused_exact_topk", "fused"))
    for size in (1, 5):
        user, sequence = batch(np.random.default_rng(2), small.users, small.items, size, 20)
        np.testing.assert_array_equal(session.scores(user, sequence), exact.scores(user, sequence))


def test_of_a_large_catalog_blocks_of_scores_are_looked_at() -> None:
    """From 65,536 items on the head is another one, also of INT8."""
    with models(70_000, 10, ["fused_topk", "fused_int8_topk"]) as made:
        for name in made:
            session = ssept.load(made[name], provider="cpu")  # type: ignore[arg-type]
            random = np.random.default_rng(0)
            user, sequence = batch(random, session.artifact.model.users, 70_000, 3, 10)
            check(session, user, sequence, (1, 10, 100))


@pytest.mark.slow
def test_of_a_million_items_the_same_ids_for_ten_thousand_sequences() -> None:
    """About two minutes, and 3 GB of memory."""
    items, size, count, k = 1_000_000, 50, 10_000, 10
    with models(items, 50, ["fused_topk", "fused_exact_topk"]) as made:
        exact, session = (
            ssept.load(made[name], provider="cpu")  # type: ignore[arg-type]
            for name in ("fused_topk", "fused_exact_topk")
        )
        random = np.random.default_rng(0)
        differ, sequences = 0, 0
        for _ in range(count // size):
            user, sequence = batch(random, session.artifact.model.users, items, size, 50)
            ids, best = session.recommend(user, sequence, k)
            right, wanted = exact.recommend(user, sequence, k)
            np.testing.assert_allclose(best, wanted, atol=ROUNDING)
            other = (ids != right).any(axis=1)
            sequences += len(ids)
            differ += int(other.sum())
        print(f"{differ} of {sequences:,} in another order, by rounding")
        assert differ <= count // 1000
