"""A user's own state dict, ONNX file and folder of artifacts."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import ssept
from ssept.artifacts.manifests import read_artifacts
from ssept.cli import main
from ssept.data.dataset import Dataset
from ssept.errors import ArtifactError, CheckpointError
from ssept.model.checkpoint import load_checkpoint
from ssept.model.store import checkpoint_for
from ssept.providers.onnx.file import describe
from ssept.variants import build
from tests.conftest import batch, untrained
from tests.helpers.matrix import run_matrix

BUILT = ("--variants", "onnx,onnx_graph")


@pytest.fixture
def weights(small_checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(small_checkpoint).model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        (None, ""),
        ("state_dict", "module."),
        *(
            pytest.param(wrapper, prefix, marks=pytest.mark.slow)
            for wrapper, prefix in (
                (None, "module."), ("state_dict", ""), ("model", ""), ("model", "module.")
            )
        ),
    ],
)  # fmt: skip
def test_a_pth_runs_as_its_checkpoint_does(
    tmp_path: Path,
    small_checkpoint: Path,
    small: Dataset,
    weights: dict[str, torch.Tensor],
    wrapper: str | None,
    prefix: str,
) -> None:
    own = {prefix + key: tensor for key, tensor in weights.items()}
    saved = {wrapper: own, "epoch": 3} if wrapper else own
    torch.save(saved | {"heads": 1}, tmp_path / "own.pth")
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 3, 9)
    expected = ssept.load(small_checkpoint).scores(user, sequence)
    for variant, provider in (("torch", "torch"), ("onnx", "cpu")):
        actual = ssept.load(tmp_path / "own.pth", variant, provider).scores(user, sequence)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_keys_that_do_not_fit_are_named(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    weights["item_embedding"] = torch.zeros(1)
    del weights["norm.bias"]
    torch.save(weights, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"missing: norm\.bias; not expected: item_embedding"):
        load_checkpoint(tmp_path / "own.pth")


def test_a_shape_that_does_not_fit_is_named(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    weights["blocks.0.feed_forward.0.weight"] = torch.zeros(2, 2)
    torch.save(weights, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"feed_forward\.0\.weight \(2, 2\) instead of"):
        load_checkpoint(tmp_path / "own.pth")


def test_another_networks_state_dict_shows_its_keys(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"no table item\.weight.*conv\.weight"):
        load_checkpoint(tmp_path / "own.pth")


class Code:
    """What must never run."""

    ran = False

    def __reduce__(self) -> tuple[type, tuple[()]]:
        Code.ran = True
        return (Code, ())


def test_a_pth_never_runs_code(tmp_path: Path) -> None:
    torch.save({"item.weight": Code()}, tmp_path / "own.pth")
    Code.ran = False
    with pytest.raises(CheckpointError, match="without running code"):
        load_checkpoint(tmp_path / "own.pth")
    assert not Code.ran


def test_a_pth_must_have_the_datas_sizes(
    tmp_path: Path, small: Dataset, small_checkpoint: Path, weights: dict[str, torch.Tensor]
) -> None:
    torch.save(weights | {"heads": 1}, tmp_path / "own.pth")
    chosen = checkpoint_for(small.data_hash, small.folder, tmp_path / "own.pth")
    assert chosen == tmp_path / "own.pth"
    other = dataclasses.replace(small, item_ids=small.item_ids[:-1])
    path = untrained(other, tmp_path / "other.safetensors")
    torch.save({"heads": 1} | load_checkpoint(path).model.state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="was not trained on them"):
        checkpoint_for(small.data_hash, small.folder, tmp_path / "other.pth")


class Elsewhere(torch.nn.Module):
    """Another exporter's idea of the same network: names, order, types and axes are its own."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: torch.Tensor, customer: torch.Tensor) -> torch.Tensor:
        return self.network(customer[:, 0].long(), history.long())


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "elsewhere.onnx"
    network = load_checkpoint(small_checkpoint).model
    rows = torch.export.Dim("rows")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            Elsewhere(network).eval(),
            (torch.ones(2, 50, dtype=torch.int32), torch.ones(2, 1, dtype=torch.int32)),
            path,
            input_names=["history", "customer"],
            output_names=["logits"],
            dynamic_shapes={"history": {0: rows}, "customer": {0: rows}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


def test_a_foreign_file_is_understood_by_its_shapes(
    foreign: Path, small: Dataset, small_checkpoint: Path
) -> None:
    signature = describe(foreign).signature
    assert (signature.user, signature.sequence, signature.scores) == (
        "customer",
        "history",
        "logits",
    )
    assert (signature.dtype, signature.user_is_column, signature.length) == ("int32", True, 50)
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 5, 11)
    expected = ssept.load(small_checkpoint).scores(user, sequence)
    for provider in ("cpu", "openvino"):
        actual = ssept.load(foreign, provider=provider).scores(user, sequence)
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.slow
def test_a_foreign_file_runs_through_the_whole_matrix(
    tmp_path: Path, foreign: Path, small_folder: Path
) -> None:
    run = run_matrix(
        tmp_path,
        "--data-dir",
        small_folder,
        "--onnx",
        foreign,
        "--rounds",
        "45",
        "--batch-sizes",
        "1,3",
    )
    assert run.code == 0, run.output
    for provider in ("cpu", "openvino"):
        assert f"test_latency[custom-{provider}-b003]" in run.cells("latency")
        assert f"test_accuracy[custom-{provider}-test]" in run.cells("accuracy")
    assert run.saved["ssept"]["baseline"] == "custom-cpu"


@pytest.mark.slow
def test_beside_a_checkpoint_it_is_compared_with_torch(
    tmp_path: Path, foreign: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    run = run_matrix(
        tmp_path,
        "--data-dir",
        small_folder,
        "--onnx",
        foreign,
        "--rounds",
        "45",
        "--checkpoint",
        small_checkpoint,
        "-k",
        "agreement and cpu",
    )
    assert run.code == 0, run.output
    facts = run.cells("agreement")["test_agreement[custom-cpu]"]
    assert facts["top10_overlap"] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"user": "who"}, "has no 'who' for user; it has history, customer"),
        ({"scores": "customer"}, "has no 'customer' for scores; it has logits"),
        ({"users": "customer"}, "unknown role 'users'; expected one of user, sequence, scores"),
    ],
)
def test_names_that_the_file_lacks_are_named(
    foreign: Path, names: dict[str, str], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        describe(foreign, names)


def test_two_inputs_that_look_alike_ask_for_names(tmp_path: Path) -> None:
    helper, integer = onnx.helper, onnx.TensorProto.INT64
    values = [helper.make_tensor_value_info(name, integer, ["b", "l"]) for name in ("a", "b", "c")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])], "g", values[:2], values[2:]
    )
    path = tmp_path / "alike.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="give their names as user=NAME,sequence=NAME"):
        describe(path)
    with pytest.raises(ArtifactError, match="expected float32"):
        describe(path, {"user": "a", "sequence": "b"})


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such ONNX file"):
        describe(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"broken\.onnx: not an ONNX file"):
        describe(tmp_path / "broken.onnx")


@pytest.mark.slow
def test_built_artifacts_are_copied_and_measured_without_the_checkpoint(
    tmp_path: Path,
    small_checkpoint: Path,
    small_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "artifacts"
    assert main(["build", "--checkpoint", str(small_checkpoint), *BUILT, "--out", str(out)]) == 0
    assert "tiny_onnx_graph.onnx" in capsys.readouterr().out
    assert set(read_artifacts(out)) == {"onnx", "onnx_graph"}
    ids, _ = ssept.load(out, "onnx_graph").recommend([1], [[1, 2]], 3)
    expected, _ = ssept.load(small_checkpoint).recommend([1], [[1, 2]], 3)
    assert ids.tolist() == expected.tolist()
    run = run_matrix(
        tmp_path / "results",
        "--data-dir",
        small_folder,
        "--artifacts",
        out,
        "--rounds",
        "45",
        "--providers",
        "cpu",
        "--batch-sizes",
        "1",
    )
    assert run.code == 0, run.output
    assert "test_accuracy[onnx-cpu-test]" in run.cells("accuracy")


def test_a_changed_artifact_is_refused(tmp_path: Path, small_checkpoint: Path) -> None:
    out = tmp_path / "artifacts"
    main(["build", "--checkpoint", str(small_checkpoint), "--variants", "onnx", "--out", str(out)])
    build(small_checkpoint, "onnx")
    (out / "tiny.onnx").write_bytes(b"half")
    with pytest.raises(ArtifactError, match=r"tiny\.onnx: missing, or not the file"):
        ssept.load(out)
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        ssept.load(tmp_path)
