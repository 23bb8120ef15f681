"""Providers: really used or refused, and what a session promises."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import FallbackError, ProviderError, SseptError
from ssept.providers import PROVIDERS, onnxruntime
from ssept.providers.session import Session, top_k
from ssept.variants import build
from tests.conftest import batch


@pytest.mark.parametrize(
    ("variant", "provider", "name"),
    [("torch", "torch", "torch cpu"), ("onnx", "cpu", "CPU"), ("onnx", "openvino", "OpenVINO")],
)
def test_a_provider_proves_its_use(
    small_checkpoint: Path, variant: str, provider: str, name: str
) -> None:
    placement = ssept.load(small_checkpoint, variant, provider).placement()
    assert list(placement) == [name]
    assert placement[name] >= 1


def test_openvino_takes_the_whole_graph_as_one_node(small_checkpoint: Path) -> None:
    assert ssept.load(small_checkpoint, "onnx", "openvino").placement() == {"OpenVINO": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"device_type": "GPU"},
        {"device_type": "CPU", "precision": "FP16"},
        {"device_type": "CPU", "no_such_option": "1"},
    ],
    ids=["no such device", "FP16 on a CPU", "unknown option"],
)
def test_openvino_that_would_fall_back_is_refused(
    small_checkpoint: Path, options: dict[str, str]
) -> None:
    engine = replace(onnxruntime.openvino, options=options)
    with pytest.raises(FallbackError, match="OpenVINOExecutionProvider"):
        engine.load(build(small_checkpoint, "onnx"), 1)


@pytest.mark.parametrize(("provider", "name"), [("cuda", "CUDA"), ("tensorrt", "Tensorrt")])
def test_a_missing_provider_says_what_to_install(
    small_checkpoint: Path, provider: str, name: str
) -> None:
    reason = PROVIDERS[provider].unavailable()
    assert reason == f"onnxruntime has no {name}ExecutionProvider: install the gpu extra"
    with pytest.raises(ProviderError, match="install the gpu extra"):
        ssept.load(small_checkpoint, "onnx", provider)


def test_a_pair_that_makes_no_sense_is_refused(small_checkpoint: Path) -> None:
    with pytest.raises(ProviderError, match="is a torch file"):
        ssept.load(small_checkpoint, "torch", "cpu")


def test_an_unknown_provider_is_refused_with_the_known_ones(small_checkpoint: Path) -> None:
    with pytest.raises(SseptError, match=", ".join(PROVIDERS)):
        ssept.load(small_checkpoint, provider="gpu")


def test_two_onnxruntimes_over_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime": "1.0", "onnxruntime-openvino": "2.0"}

    def distribution(name: str) -> SimpleNamespace:
        if name not in installed:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=installed[name])

    monkeypatch.setattr(onnxruntime, "distribution", distribution)
    with pytest.raises(ProviderError, match=r"onnxruntime 1\.0 and onnxruntime-openvino 2\.0"):
        PROVIDERS["cpu"].unavailable()


def test_a_broken_model_file_is_an_error_of_the_provider(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    artifact = replace(build(small_checkpoint, "onnx"), path=broken)
    with pytest.raises(ProviderError, match=r"broken\.onnx"):
        PROVIDERS["cpu"].load(artifact, 1)


@pytest.fixture
def session(small_checkpoint: Path) -> Session:
    return ssept.load(small_checkpoint)


def test_lists_are_as_good_as_arrays(session: Session) -> None:
    ids, scores = session.recommend([4], [[10, 11, 23, 99]], k=5)
    assert (ids.shape, ids.dtype) == ((1, 5), np.int64)
    assert (scores.shape, scores.dtype) == ((1, 5), np.float32)


def test_only_the_last_items_of_a_long_sequence_count(
    session: Session,
) -> None:
    longest = session.artifact.model.max_length
    sequence = np.arange(1, 2 * longest + 1)[None]
    np.testing.assert_array_equal(
        session.scores([1], sequence), session.scores([1], sequence[:, -longest:])
    )


@pytest.mark.parametrize(
    ("user", "sequence"), [([1, 2], [[1]]), ([[1]], [[1]]), ([1], [1]), ([1], [[]]), ([], [])]
)
def test_shapes_that_do_not_fit_are_refused(
    session: Session, user: list[int], sequence: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"expected \[B\]"):
        session.scores(user, sequence)


@pytest.mark.parametrize("k", [0, -1, 301])
def test_k_out_of_range_is_refused(session: Session, small: Dataset, k: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to {small.items}"):
        session.recommend([1], [[1]], k)


def test_recommend_is_the_sorted_scores(session: Session, small: Dataset) -> None:
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 8, 12)
    scores = session.scores(user, sequence)
    for k in (1, 10, small.items):
        ids, best = session.recommend(user, sequence, k)
        expected = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :k] + 1
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(best, np.take_along_axis(scores, expected, axis=1))


def test_equal_scores_come_in_the_order_of_their_ids_and_padding_never() -> None:
    scores = np.array([[9, 1, 3, 3, 2, 3], [9, 5, 5, 5, 5, 5]], dtype=np.float32)
    ids, best = top_k(scores, 2)
    assert ids.tolist() == [[2, 3], [1, 2]]
    assert best.tolist() == [[3, 3], [5, 5]]
