"""The index of the items: the best without scoring all, and never fewer than were asked for."""

import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import ssept
from ssept.artifacts import ENCODER, INDEX, STATE, Artifact
from ssept.artifacts.manifests import copy_artifacts
from ssept.data.dataset import Dataset
from ssept.errors import FallbackError, ProviderError
from ssept.measure.golden import score_error
from ssept.model.checkpoint import load_checkpoint
from ssept.providers import PROVIDERS, applicable
from ssept.providers.session import Session
from ssept.variants import VARIANTS, build
from ssept.variants.calibration import calibration_of
from ssept.variants.fused import write
from ssept.variants.rewrite.graphs import state_graph
from tests.conftest import batch
from tests.helpers.matrix import run_matrix

faiss = pytest.importorskip("faiss", reason="faiss is not installed: install the index extra")
K = 10
ROUNDING = 1e-3  # of float16 rows; scores of the small checkpoint are around 1


@pytest.fixture(scope="module")
def artifact(small_checkpoint: Path, small_folder: Path) -> Artifact:
    return build(small_checkpoint, "fused_index", small_folder)


@pytest.fixture(scope="module")
def lists(artifact: Artifact) -> int:
    with zipfile.ZipFile(artifact.path) as archive:
        content = np.frombuffer(archive.read(INDEX), np.uint8)
    return int(faiss.deserialize_index(content).nlist)


def session(artifact: Artifact, **options: int) -> Session:
    return ssept.load(artifact, provider="faiss", options=options)


def inputs(small: Dataset, size: int) -> tuple[np.ndarray, np.ndarray]:
    return batch(np.random.default_rng(size), small.users, small.items, size, 50)


def overlap(found: np.ndarray, wanted: np.ndarray) -> float:
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def test_the_encoder_ends_at_the_state_that_scores_are_products_of(
    small: Dataset, small_checkpoint: Path, tmp_path: Path
) -> None:
    model = load_checkpoint(small_checkpoint).model
    names = write(small_checkpoint, tmp_path / "state.onnx", (), state_graph)
    assert "scores" not in names
    encoder = onnxruntime.InferenceSession(
        tmp_path / "state.onnx", providers=["CPUExecutionProvider"]
    )
    for size, length in ((1, 1), (5, 50), (3, 7)):
        user, sequence = batch(np.random.default_rng(0), small.users, small.items, size, length)
        (state,) = encoder.run([STATE], {"user": user, "sequence": sequence})
        with torch.inference_mode():
            scores = model(torch.from_numpy(user), torch.from_numpy(sequence)).numpy()
            rows = model.item.weight.numpy()
        np.testing.assert_allclose(state @ rows.T, scores, atol=1e-5)


@pytest.mark.parametrize("size", [1, 16])
def test_all_lists_together_are_torchs_scores(
    small: Dataset, small_checkpoint: Path, artifact: Artifact, lists: int, size: int
) -> None:
    torch_session, all_lists = (
        ssept.load(small_checkpoint, "torch", "torch"),
        session(artifact, nprobe=lists),
    )
    user, sequence = inputs(small, size)
    expected, scores = torch_session.scores(user, sequence), all_lists.scores(user, sequence)
    np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], atol=ROUNDING)
    assert np.isneginf(scores[:, 0]).all()
    wanted, best = torch_session.recommend(user, sequence, K)
    found, found_scores = all_lists.recommend(user, sequence, K)
    assert overlap(found, wanted) > 0.98
    np.testing.assert_allclose(found_scores, best, atol=ROUNDING)


def test_items_outside_the_lists_that_are_read_score_minus_infinity(
    small: Dataset, artifact: Artifact, lists: int
) -> None:
    user, sequence = inputs(small, 16)
    scores = session(artifact, nprobe=1).scores(user, sequence)
    read = ~np.isneginf(scores)
    assert 0 < read.mean() < 0.7
    every = session(artifact, nprobe=lists).scores(user, sequence)
    np.testing.assert_allclose(scores[read], every[read], rtol=1e-5)
    again, _ = session(artifact, nprobe=1).recommend(user, sequence, 1)
    np.testing.assert_array_equal(again[:, 0], scores.argmax(axis=1))


def test_fewer_lists_than_hold_k_are_not_enough(
    small: Dataset, artifact: Artifact, lists: int
) -> None:
    user, sequence = inputs(small, 16)
    ids, scores = session(artifact, nprobe=1).recommend(user, sequence, small.items)
    np.testing.assert_array_equal(np.sort(ids), np.tile(np.arange(1, small.items + 1), (16, 1)))
    assert np.isfinite(scores).all()
    every = session(artifact, nprobe=lists).recommend(user, sequence, small.items)
    np.testing.assert_array_equal(ids, every[0])
    np.testing.assert_array_equal(scores, every[1])


@pytest.mark.parametrize("nprobe", [1, None])
def test_what_is_left_out_is_not_recommended_and_k_are(
    small: Dataset, artifact: Artifact, lists: int, nprobe: int | None
) -> None:
    user, sequence = inputs(small, 16)
    options = {} if nprobe is None else {"nprobe": nprobe}
    for k in (K, small.items - 50):
        ids, scores = session(artifact, **options).recommend(user, sequence, k, exclude=sequence)
        assert ids.shape == (16, k)
        assert np.isfinite(scores).all()
        for row, left_out in zip(ids, sequence, strict=True):
            assert len(set(row)) == k
            assert not set(row) & set(left_out)


def test_leaving_out_is_taking_from_all_the_scores(
    small: Dataset, artifact: Artifact, lists: int
) -> None:
    """Each row by itself: what is no item's id leaves nothing out, in no row."""
    user, sequence = inputs(small, 8)
    every = session(artifact, nprobe=lists)
    exclude = np.concatenate([sequence, sequence + small.items + 1, -sequence], axis=1)
    exclude[0] = -1
    ids, scores = every.recommend(user, sequence, K, exclude=exclude)
    expected = every.scores(user, sequence)
    for row in range(1, 8):
        expected[row, sequence[row]] = -np.inf
    np.testing.assert_array_equal(ids, np.argsort(-expected, kind="stable")[:, :K])
    np.testing.assert_array_equal(scores, -np.sort(-expected)[:, :K])


def test_as_few_lists_are_read_as_find_what_the_calibration_wants(
    small: Dataset, small_checkpoint: Path, artifact: Artifact, lists: int
) -> None:
    calibration = calibration_of(small, artifact.model.max_length)
    sides = calibration.user, calibration.sequence
    wanted, _ = ssept.load(small_checkpoint, "torch", "torch").recommend(*sides, K)
    chosen, _ = session(artifact).recommend(*sides, K)
    recalls = [
        overlap(session(artifact, nprobe=nprobe).recommend(*sides, K)[0], wanted)
        for nprobe in range(1, lists + 1)
    ]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.99
    assert overlap(chosen, wanted) == next(recall for recall in recalls if recall >= 0.99)


def test_the_file_is_the_same_when_it_is_built_again(
    small_checkpoint: Path, small: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    from ssept.variants.index import export

    path = tmp_path / "again.zip"
    export(small_checkpoint, path, calibration_of(small, artifact.model.max_length))
    assert path.read_bytes() == artifact.path.read_bytes()


def test_it_is_a_file_like_another_to_copy_but_for_one_provider(
    small: Dataset, small_checkpoint: Path, artifact: Artifact, tmp_path: Path
) -> None:
    assert [name for name in PROVIDERS if applicable("fused_index", name)] == ["faiss"]
    assert [name for name in VARIANTS if applicable(name, "faiss")] == ["fused_index"]
    with pytest.raises(ProviderError, match=r"is a onnx\+faiss file; this provider runs onnx"):
        ssept.load(small_checkpoint, "fused_index", "cpu")
    assert artifact.path.name == "tiny_fused_index.zip"
    copy_artifacts([artifact], tmp_path)
    user, sequence = inputs(small, 4)
    ids, _ = ssept.load(tmp_path, "fused_index", "faiss").recommend(user, sequence, K)
    np.testing.assert_array_equal(ids, session(artifact).recommend(user, sequence, K)[0])


def test_it_tells_what_ran_where(artifact: Artifact) -> None:
    placement = session(artifact).placement()
    assert placement.pop("FAISS IndexIVFScalarQuantizer") == 1
    assert placement.keys() == {"CPU"}
    assert placement["CPU"] > 30


@pytest.mark.parametrize("nprobe", [0, -1, 10_000])
def test_a_number_of_lists_that_there_is_not_is_refused(
    artifact: Artifact, lists: int, nprobe: int
) -> None:
    message = f"option nprobe: .* has {lists} lists; expected 1 to {lists}, got {nprobe}"
    with pytest.raises(ProviderError, match=message):
        session(artifact, nprobe=nprobe)


def with_members(artifact: Artifact, path: Path, **changes: bytes | None) -> Artifact:
    """The artifact with other content in some of its files, or without them."""
    with zipfile.ZipFile(artifact.path) as old, zipfile.ZipFile(path, "w") as new:
        for name in (ENCODER, INDEX):
            content = changes.get(name.partition(".")[0], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return replace(artifact, path=path)


def test_a_broken_file_is_named(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"no zip file")
    for missing in (replace(artifact, path=path), with_members(artifact, path, items=None)):
        with pytest.raises(ProviderError, match=r"x\.zip: not a zip file with .*; build it again"):
            session(missing)
    with pytest.raises(ProviderError, match=rf"x\.zip: FAISS cannot read {INDEX}"):
        session(with_members(artifact, path, items=b"no index at all"))
    with pytest.raises(FallbackError, match=r"does not run all of x\.zip"):
        session(with_members(artifact, path, encoder=b"no network"))


def test_an_index_of_another_catalog_is_refused(artifact: Artifact) -> None:
    items = artifact.model.items
    other = replace(artifact, model=replace(artifact.model, items=items + 1))
    with pytest.raises(ProviderError, match=f"has {items} items, but the catalog has {items + 1};"):
        session(other)


def test_where_faiss_is_missing_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: name != "faiss" and find_spec(name)
    )
    assert PROVIDERS["faiss"].unavailable() == "faiss is not installed: install the index extra"


def test_an_item_that_was_not_scored_is_no_error_of_a_score() -> None:
    assert score_error(np.array([1.0, -math.inf, 2.0]), np.array([1.5, 3.0, 2.0])) == 0.5
    assert math.isnan(score_error(np.array([1.0, math.nan]), np.array([1.5, 3.0])))


@pytest.mark.slow
def test_the_matrix_measures_it_and_its_recall(
    small_folder: Path, small_checkpoint: Path, artifact: Artifact, small: Dataset, tmp_path: Path
) -> None:
    assert np.isneginf(session(artifact).scores(*inputs(small, 16))[:, 1:]).any()
    run = run_matrix(
        tmp_path,
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--variants=fused_index",
        "--providers=faiss,cpu",
        "-k=agreement or accuracy",
    )
    assert run.code == 0, run.output
    facts = run.cells("agreement")["test_agreement[fused_index-faiss]"]
    assert 0 < facts["score_error"] < ROUNDING
    assert 0.97 <= facts["top10_overlap"] <= 1
    ranked = run.cells("accuracy")["test_accuracy[fused_index-faiss-test]"]
    assert 0 < ranked["full"]["mrr"]["value"] < 1
    assert "fused_index-cpu" in run.saved["ssept"]["not_applicable"]
