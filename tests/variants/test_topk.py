"""The best k, with items left out: the same from the head in the graph and from all the scores."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import ssept
from ssept.artifacts.manifests import MANIFEST, copy_artifacts, read_artifacts
from ssept.data.dataset import Dataset
from ssept.errors import ArtifactError, ProviderError
from ssept.installation import shipped_checkpoint
from ssept.model.checkpoint import load_checkpoint, save_checkpoint
from ssept.providers import PROVIDERS
from ssept.providers.onnx.session import OnnxRuntimeSession
from ssept.providers.onnx.session_options import SessionOptions
from ssept.providers.onnxruntime_gpu import GpuSession
from ssept.providers.session import Session, first_k
from ssept.variants import CUSTOM, VARIANTS, build
from tests.conftest import batch

CELLS = [
    ("onnx_topk", "cpu"),
    ("onnx_topk", "openvino"),
    ("onnx_topk", "openvino_native"),
    ("onnx_topk", "openvino_native_bf16"),
    ("ort_dynamic_topk", "cpu"),
    ("onnx_graph_topk", "cpu"),
]
WITHOUT_HEAD = [("onnx", "cpu"), ("torch", "torch")]
CPU = "CPUExecutionProvider"


@pytest.fixture(scope="module")
def tied(small_checkpoint: Path, small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with items that share their embedding: by threes or so, and one in ten."""
    random = np.random.default_rng(0)
    rows = random.integers(1, small.items // 3, small.items + 1)
    rows[random.random(len(rows)) < 0.1] = 5
    rows[0] = 0
    checkpoint = load_checkpoint(small_checkpoint)
    with torch.no_grad():
        table = checkpoint.model.item.weight
        table.copy_(table[torch.from_numpy(rows)])
    path = tmp_path_factory.mktemp("tied") / "tied.safetensors"
    save_checkpoint(checkpoint, path)
    return path


def load(checkpoint: Path, variant: str, provider: str) -> Session:
    if reason := PROVIDERS[provider].unavailable():
        pytest.skip(reason)
    return ssept.load(checkpoint, variant, provider)


def expected(scores: np.ndarray, k: int, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All the scores sorted, largest first, then by id."""
    left = scores.copy()
    left[:, 0] = -np.inf
    for row, ids in zip(left, exclude, strict=True):
        row[[item for item in ids if 0 < item < len(row)]] = -np.inf
    ids = np.argsort(-left, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(left, ids, axis=1)


def check(session: Session, user: np.ndarray, sequence: np.ndarray, ks: tuple[int, ...]) -> None:
    random = np.random.default_rng(len(user))
    items = session.artifact.model.items
    scores = session.scores(user, sequence)
    left_out = random.integers(1, items + 1, (len(user), 40))
    left_out[:, ::3] = 0
    left_out[:, 1:5] = [-1, items + 1, 2**62, -(2**62)]
    for k in ks:
        for exclude in (None, left_out[:, :0], left_out, left_out[:, :1]):
            ids, best = session.recommend(user, sequence, k, exclude)
            assert (ids.dtype, best.dtype) == (np.int64, np.float32)
            right = expected(scores, k, left_out[:, :0] if exclude is None else exclude)
            np.testing.assert_array_equal(ids, right[0])
            np.testing.assert_array_equal(best, right[1])


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "provider"), [*CELLS, *WITHOUT_HEAD])
def test_recommend_is_the_sorted_scores_of_that_session(
    tied: Path, small: Dataset, variant: str, provider: str
) -> None:
    session = load(tied, variant, provider)
    random = np.random.default_rng(0)
    for size in (1, 2, 8, 64):
        user, sequence = batch(random, small.users, small.items, size, 50)
        check(session, user, sequence, (1, 2, 10, 99, 100))


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "provider"), CELLS[:3])
def test_the_shipped_model_too(variant: str, provider: str) -> None:
    session = load(shipped_checkpoint(), variant, provider)
    model = session.artifact.model
    assert model.items == 10_000
    user, sequence = batch(np.random.default_rng(1), model.users, model.items, 16, 50)
    check(session, user, sequence, (1, 10, 100))


@pytest.mark.parametrize(("variant", "provider"), CELLS)
def test_the_head_is_what_answers(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, variant: str, provider: str
) -> None:
    session = load(small_checkpoint, variant, provider)
    wanted = session.recommend([1, 2], [[5, 6], [0, 7]], 3, [[8], [0]])
    monkeypatch.delattr(type(session), "_scores")
    np.testing.assert_equal(session.recommend([1, 2], [[5, 6], [0, 7]], 3, [[8], [0]]), wanted)


@pytest.mark.parametrize(("variant", "provider"), CELLS[:4])
def test_a_provider_runs_all_of_it(small_checkpoint: Path, variant: str, provider: str) -> None:
    placement = load(small_checkpoint, variant, provider).placement()
    assert len(placement) == 1
    assert provider == "cpu" or [*placement.values()] == [1]


@pytest.mark.slow
def test_openvino_compiled_for_each_shape_gives_the_same(tied: Path, small: Dataset) -> None:
    session = ssept.load(tied, "onnx_topk", "openvino_native", options={"reshape": True})
    check(session, *batch(np.random.default_rng(2), small.users, small.items, 2, 20), (2, 10))


@pytest.mark.parametrize(("variant", "provider"), [*CELLS[:2], *WITHOUT_HEAD])
def test_all_that_is_left_can_be_had_and_no_more(
    tied: Path, small: Dataset, variant: str, provider: str
) -> None:
    session = load(tied, variant, provider)
    exclude = np.array([[3, 3, 7, 0, -1, small.items + 1], [1, 2, 3, 4, 0, 0]])
    left = small.items - 4  # for the second user
    ids, _ = session.recommend([1, 2], [[1], [2]], left, exclude)
    assert sorted(ids[1]) == [*range(5, small.items + 1)]
    assert not {0, 3, 7} & set(ids[0])
    with pytest.raises(ValueError, match=rf"k is {left + 1}; expected 1 to {left}"):
        session.recommend([1, 2], [[1], [2]], left + 1, exclude)
    with pytest.raises(ValueError, match="k is 0"):
        session.recommend([1, 2], [[1], [2]], 0, exclude)
    ids, _ = session.recommend([1], [[1]], small.items)
    assert sorted(ids[0]) == [*range(1, small.items + 1)]


@pytest.mark.parametrize("exclude", [[1, 2], [[1]], [[1], [2], [3]], [[[1]], [[2]]]])
@pytest.mark.parametrize("variant", ["onnx", "onnx_topk"])
def test_a_wrong_shape_of_what_to_leave_out_is_refused(
    small_checkpoint: Path, variant: str, exclude: list[int]
) -> None:
    session = ssept.load(small_checkpoint, variant)
    with pytest.raises(ValueError, match=r"exclude has shape .* expected \[2, any\]"):
        session.recommend([1, 2], [[1], [2]], 3, exclude)


def test_the_file_answers_a_plain_onnxruntime_call(tied: Path, small: Dataset) -> None:
    path = build(tied, "onnx_topk").path
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=[CPU])
    assert [value.name for value in session.get_inputs()] == ["user", "sequence", "k", "exclude"]
    outputs = [value.name for value in session.get_outputs()]
    assert outputs == ["scores", "topk_ids", "topk_scores"]
    exclude = np.array([[9, 0, 9], [0, 0, 0]])
    feeds = {"user": np.array([1, 2]), "sequence": np.array([[0, 5], [6, 7]])}
    feeds |= {"k": np.array([small.items]), "exclude": exclude}
    scores, ids, best = session.run(None, feeds)
    right = expected(scores, small.items, exclude)
    np.testing.assert_array_equal(ids, right[0])
    np.testing.assert_array_equal(best, right[1])
    assert (ids[0, -1], best[0, -1]) == (0, -np.inf)  # more than is left was asked for
    assert 0 not in ids[1]


def test_an_onnx_file_with_the_head_is_known_by_it(tied: Path, small: Dataset) -> None:
    artifact = build(tied, "onnx_topk")
    session = ssept.load(artifact.path)
    assert session.artifact.signature == artifact.signature
    assert session.artifact.signature.topk
    check(session, *batch(np.random.default_rng(3), small.users, small.items, 2, 50), (10,))
    assert not ssept.load(build(tied, "onnx").path).artifact.signature.topk


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.input[2].type.tensor_type.shape.ClearField("dim"), "k of the top-k"),
        (lambda graph: graph.output.pop(0), "no output cannot be the scores"),
    ],
    ids=["k is a scalar", "no scores"],
)
def test_a_head_of_another_form_is_refused(
    small_checkpoint: Path, tmp_path: Path, change: object, message: str
) -> None:
    model = onnx.load(build(small_checkpoint, "onnx_topk").path)
    change(model.graph)  # type: ignore[operator]
    path = tmp_path / "other.onnx"
    if message.startswith("k"):  # else the file would be broken
        one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
        model.graph.node.insert(0, helper.make_node("Constant", [], ["one"], value=one))
        model.graph.node.insert(1, helper.make_node("Reshape", ["k", "one"], ["k1"]))
        model.graph.node[-1].input[1] = "k1"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=message):
        ssept.load(path)


def test_a_manifest_tells_of_the_head_and_older_ones_do_not(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    artifacts = [build(small_checkpoint, name) for name in ("onnx", "onnx_topk")]
    copy_artifacts(artifacts, tmp_path)
    read = read_artifacts(tmp_path)
    assert [read[name].signature.topk for name in ("onnx", "onnx_topk")] == [False, True]
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    for entry in manifest["artifacts"]:
        del entry["signature"]["topk"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert not read_artifacts(tmp_path)["onnx"].signature.topk


def test_every_onnx_variant_has_one_with_the_head_within_its_own_budgets() -> None:
    plain = {
        name: variant
        for name, variant in VARIANTS.items()
        if variant.format == "onnx" and name != CUSTOM and not name.endswith("_topk")
    }
    assert {"onnx", "onnx_graph", "quant_static", "ort_dynamic"} <= plain.keys()
    for name, variant in plain.items():
        head = VARIANTS[f"{name}_topk"]
        assert head.base == name
        for budget in ("max_score_error", "min_overlap", "max_ndcg_loss"):
            assert getattr(head, budget) == getattr(variant, budget)


class OnCpu(GpuSession):
    """A GPU's session, with the CPU in the place of the GPU."""

    device = "cpu"


def test_a_session_with_bindings_runs_the_head_too(tied: Path, small: Dataset) -> None:
    session = OnCpu(build(tied, "onnx_topk"), 1, CPU, SessionOptions())
    check(session, *batch(np.random.default_rng(4), small.users, small.items, 8, 50), (10,))


def test_a_provider_that_does_not_run_the_head_says_so(small_checkpoint: Path) -> None:
    class Plain(Session):
        def _scores(self, user: np.ndarray, sequence: np.ndarray) -> np.ndarray:
            return np.zeros((len(user), self.artifact.model.items + 1), np.float32)

        def placement(self) -> dict[str, int]:
            return {}

    session = Plain(build(small_checkpoint, "onnx_topk"), 1)
    with pytest.raises(ProviderError, match="load the variant without it"):
        session.recommend([1], [[1]], 3)


def test_a_head_that_gives_another_number_is_an_error(tied: Path) -> None:
    class Short(OnnxRuntimeSession):
        def _head(
            self, user: np.ndarray, sequence: np.ndarray, k: int, exclude: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            return super()._head(user, sequence, k - 1, exclude)

    session = Short(build(tied, "onnx_topk"), 1, CPU, SessionOptions())
    with pytest.raises(ProviderError, match=r"gave ids \[1, 2\] and .*; expected \[1, 3\]"):
        session.recommend([1], [[1]], 3)


def test_ties_that_a_runtime_left_open_are_settled_where_they_can_be() -> None:
    ids = np.array([[7, 4, 9, 2, 5], [3, 8, 1, 6, 2]])
    scores = np.array([[5, 3, 3, 3, 1], [9, 8, 7, 6, 5]], dtype=np.float32)
    settled = first_k(ids, scores, 2)
    assert settled is not None
    assert settled[0].tolist() == [[7, 2], [3, 8]]
    assert settled[1].tolist() == [[5, 3], [9, 8]]
    assert first_k(ids[:, :4], scores[:, :4], 2) is None  # a fifth might have the same score
    untied = first_k(ids, scores, 1)
    assert untied is not None
    assert untied[0].tolist() == [[7], [3]]
