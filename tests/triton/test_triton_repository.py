"""Triton's model repository: what is written, that it answers as in process, what is refused."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

import ssept
from ssept.cli import main
from ssept.data.dataset import Dataset
from ssept.errors import ArtifactError, SseptError
from ssept.serving.interface import MODEL
from ssept.serving.triton.config import TritonSettings
from ssept.serving.triton.repository import answers_any_ids, check, write_repository
from ssept.variants import build
from tests.conftest import batch
from tests.helpers.integer_products import REASON
from tests.helpers.models import quantized_model

ALL = ["scores", "topk_ids", "topk_scores"]
RANDOM = np.random.default_rng(0)


@pytest.fixture
def repository(small_checkpoint: Path, tmp_path: Path) -> Path:
    write_repository(build(small_checkpoint, "onnx_topk"), tmp_path / "repository")
    return tmp_path / "repository"


def write(checkpoint: Path, out: Path, *options: object) -> int:
    words = ["triton", "repository", out, "--checkpoint", checkpoint, *options]
    return main([str(word) for word in words])


def config_of(repository: Path) -> Any:
    text = (repository / MODEL / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def session_of(repository: Path, version: int = 1) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        repository / MODEL / str(version) / "model.onnx", providers=["CPUExecutionProvider"]
    )


def ask(
    session: onnxruntime.InferenceSession, user: np.ndarray, sequence: np.ndarray
) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    answers = session.run(names, {"USER_ID": user[:, None], "SEQ": sequence})
    return dict(zip(names, answers, strict=True))


@pytest.mark.parametrize(
    "variant",
    ["onnx_topk", "fused_int8_topk", "onnx_graph_topk", "ort_dynamic_topk", "onnx", "ort_dynamic"],
)
def test_the_served_file_answers_exactly_as_in_process(
    small_checkpoint: Path, small: Dataset, tmp_path: Path, variant: str
) -> None:
    if "onnx" not in variant and REASON:
        pytest.skip(REASON)  # what is wrong there differs from call to call
    assert write(small_checkpoint, tmp_path, "--variant", variant) == 0
    served, inner = session_of(tmp_path), ssept.load(small_checkpoint, variant)
    assert [value.name for value in served.get_inputs()] == ["USER_ID", "SEQ"]
    for size in (1, 2, 64):
        user, sequence = batch(RANDOM, small.users, small.items, size, 50)
        answers = ask(served, user, sequence)
        np.testing.assert_array_equal(answers["scores"], inner.scores(user, sequence))
        if not variant.endswith("_topk"):
            assert answers.keys() == {"scores"}
            continue
        ids, best = inner.recommend(user, sequence, 100)
        np.testing.assert_array_equal(answers["topk_ids"], ids)
        np.testing.assert_array_equal(answers["topk_scores"], best)


@pytest.mark.parametrize("bits", [64, 34, 33, 32])
@pytest.mark.parametrize("variant", ["onnx_topk", "fused_topk"])
def test_random_ids_count_as_unknown(
    small_checkpoint: Path, tmp_path: Path, variant: str, bits: int
) -> None:
    write_repository(build(small_checkpoint, variant), tmp_path)
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    sequence = RANDOM.integers(least, most, (64, 50), endpoint=True)
    sequence[0, :2] = least, most
    user = np.concatenate([sequence[1:, 0], [least]])
    answers = ask(session_of(tmp_path), user, sequence)
    ids, best = ssept.load(small_checkpoint, variant).recommend([0], [[0]], 100)
    np.testing.assert_array_equal(answers["topk_ids"], ids.repeat(64, axis=0))
    np.testing.assert_allclose(answers["topk_scores"], best.repeat(64, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "names"), [("scores", ALL[:1]), ("topk", ALL[1:]), ("topk, scores", ALL)]
)
def test_only_the_outputs_asked_for_are_in_it(
    small_checkpoint: Path, tmp_path: Path, outputs: str, names: list[str]
) -> None:
    assert write(small_checkpoint, tmp_path, "--outputs", outputs) == 0
    assert sorted(value.name for value in session_of(tmp_path).get_outputs()) == names
    assert [output.name for output in config_of(tmp_path).output] == names
    assert check(tmp_path) == config_of(tmp_path)


def test_what_no_output_needs_is_gone(repository: Path) -> None:
    after = onnx.load(repository / MODEL / "1" / "model.onnx").graph
    read = {name for node in after.node for name in node.input}
    assert {constant.name for constant in after.initializer} <= read


def test_the_configuration_says_what_the_file_is(
    small_checkpoint: Path, small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(small_checkpoint, tmp_path, "--top-k", 7) == 0
    assert f"{tmp_path / MODEL / '1' / 'model.onnx'}: fused_topk of tiny" in capsys.readouterr().out
    config = config_of(tmp_path)
    assert (config.name, config.platform, config.backend) == (
        "recommender_model_onnx",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    tensors = [(one.name, one.data_type, list(one.dims)) for one in (*config.input, *config.output)]
    int64, fp32 = model_config_pb2.TYPE_INT64, model_config_pb2.TYPE_FP32
    assert tensors == [
        ("USER_ID", int64, [1]),
        ("SEQ", int64, [50]),
        ("scores", fp32, [small.items + 1]),
        ("topk_ids", int64, [7]),
        ("topk_scores", fp32, [7]),
    ]
    assert config.max_batch_size == 64
    assert config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [
        (1, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    ]
    assert [sample.batch_size for sample in config.model_warmup] == [1, 64]
    assert config.version_policy.latest.num_versions == 1
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_settings_of_the_server(small_checkpoint: Path, tmp_path: Path) -> None:
    options = "--max-batch-size 16 --preferred-batch-sizes 4,8 --queue-delay 200 --threads 2 "
    options += "--instances 2 --gpus 0,1 --accelerator tensorrt --serve-versions latest:3"
    assert write(small_checkpoint, tmp_path, *options.split()) == 0
    config = config_of(tmp_path)
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 200
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.version_policy.latest.num_versions == 3
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    (group,) = config.instance_group
    assert (group.count, list(group.gpus)) == (2, [0, 1])
    assert "kind: KIND_GPU" in (tmp_path / MODEL / "config.pbtxt").read_text()


def test_openvino_and_requests_run_one_by_one(small_checkpoint: Path, tmp_path: Path) -> None:
    options = ("--accelerator", "openvino", "--no-dynamic-batching", "--instances", 2)
    assert write(small_checkpoint, tmp_path, *options) == 0
    config = config_of(tmp_path)
    assert not config.HasField("dynamic_batching")
    (accelerator,) = config.optimization.execution_accelerators.cpu_execution_accelerator
    assert accelerator.name == "openvino"
    text = (tmp_path / MODEL / "config.pbtxt").read_text()
    assert "count: 2" in text
    assert "kind: KIND_CPU" in text


def test_a_second_version_beside_the_first(
    small_checkpoint: Path, small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(small_checkpoint, tmp_path) == 0
    second = ("--variant", "ort_dynamic_topk", "--version", 2, "--serve-versions", "1,2")
    assert write(small_checkpoint, tmp_path, *second) == 0
    assert "versions there: 1, 2" in capsys.readouterr().out
    assert list(config_of(tmp_path).version_policy.specific.versions) == [1, 2]
    user, sequence = batch(RANDOM, small.users, small.items, 4, 50)
    for version, variant in ((1, "onnx_topk"), (2, "ort_dynamic_topk")):
        ids = ask(session_of(tmp_path, version), user, sequence)["topk_ids"]
        wanted, _ = ssept.load(small_checkpoint, variant).recommend(user, sequence, 100)
        np.testing.assert_array_equal(ids, wanted)
    assert write(small_checkpoint, tmp_path, "--version", 2, "--serve-versions", "all") == 0
    assert config_of(tmp_path).version_policy.HasField("all")
    assert check(tmp_path).version_policy.HasField("all")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options", [["--top-k", "5"], ["--outputs", "topk"], ["--variant", "onnx"]]
)
def test_a_version_that_takes_or_gives_something_else_is_refused(
    small_checkpoint: Path,
    repository: Path,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(repository)
    assert write(small_checkpoint, repository, "--version", 2, *options) == 1
    said = one_line(capsys)
    assert "version 1 has USER_ID TYPE_INT64 [1]" in said
    assert "write it to another repository" in said
    assert contents(repository) == before
    assert write(small_checkpoint, repository, *options) == 0  # in the place of version 1


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    assert said.startswith("ssept: error: ")
    return said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--variant torch", "--variant torch: expected one of onnx, "),
        ("--variant nonsense", "--variant nonsense: expected one of onnx, "),
        ("--variant onnx --outputs topk", "onnx has no top-k head"),
        ("--variant onnx --top-k 5", "onnx has no top-k head"),
        ("--outputs scores --top-k 5", "the best 5 are requested, but topk is not among"),
        ("--outputs all", "outputs all: expected names from scores, topk"),
        ("--top-k 9999", "the best 9999 are requested; expected 1 to "),
        ("--accelerator tensorrt", "tensorrt runs on GPUs"),
        ("--accelerator openvino --gpus 0", "openvino runs on the CPU"),
        ("--gpus 1,1", "GPUs 1, 1: give each number once"),
        ("--no-dynamic-batching --queue-delay 5", "need dynamic batching"),
        ("--no-dynamic-batching --preferred-batch-sizes 5", "need dynamic batching"),
        ("--preferred-batch-sizes 8,65", "size 65 is above the largest batch, 64"),
        ("--serve-versions 1,3", "version_policy names version 3, which is not there"),
        ("--onnx model.onnx", "--onnx cannot be combined with --checkpoint or --variant"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    small_checkpoint: Path,
    tmp_path: Path,
    options: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert write(small_checkpoint, tmp_path, *options.split()) == 1
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--version", "0"),
        ("--top-k", "many"),
        ("--instances", "-1"),
        ("--gpus", "0,a"),
        ("--gpus", ""),
        ("--accelerator", "cuda"),
        ("--serve-versions", "latest:0"),
        ("--serve-versions", "0,1"),
        ("--serve-versions", "newest"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused(
    small_checkpoint: Path, tmp_path: Path, option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        write(small_checkpoint, tmp_path, f"{option}={value}")
    assert stopped.value.code == 2


def test_a_torch_file_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a torch file; expected an ONNX one"):
        write_repository(build(small_checkpoint, "torch"), tmp_path)


def test_without_tritonclient_the_extra_is_named(
    small_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    assert write(small_checkpoint, tmp_path) == 1
    assert "install the triton extra" in one_line(capsys)
    assert not list(tmp_path.iterdir())


def other_exporter(path: Path, items: int) -> Path:
    """A file with names, types and shapes of its own, and a name that a repository uses too."""
    random = np.random.default_rng(0)
    constants = {
        "table": random.normal(size=(items + 1, 8)).astype(np.float32),
        "users": random.normal(size=(100, 8)).astype(np.float32),
        "matrix": random.normal(size=(8, items + 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "SEQ"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gather", ["users", "who"], ["user_rows"]),
        helper.make_node("Squeeze", ["user_rows"], ["user"], axes=[1]),
        helper.make_node("Add", ["mean", "user"], ["scores"]),
        helper.make_node("MatMul", ["scores", "matrix"], ["logits"]),
    ]
    int32 = TensorProto.INT32
    graph = helper.make_graph(
        nodes,
        "other",
        [
            helper.make_tensor_value_info("SEQ", int32, ["n", 12]),
            helper.make_tensor_value_info("who", int32, ["n", 1]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", items + 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def test_a_file_of_another_exporter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = other_exporter(tmp_path / "other.onnx", 60), tmp_path / "out"
    assert main(["triton", "repository", str(out), "--onnx", str(file)]) == 0
    assert "the model fails on unknown ids" in capsys.readouterr().err
    user, sequence = RANDOM.integers(1, 100, 3), RANDOM.integers(1, 61, (3, 12))
    answers = ask(session_of(out), user, sequence)
    np.testing.assert_array_equal(answers["scores"], ssept.load(file).scores(user, sequence))
    assert [(one.name, list(one.dims)) for one in check(out).output] == [("scores", [61])]


def test_a_file_with_the_head_gives_the_best(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = build(small_checkpoint, "onnx_topk").path
    assert main(["triton", "repository", str(tmp_path), "--onnx", str(file), "--top-k", "3"]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"ssept: {file}: user=user, sequence=sequence, scores=scores; ")
    assert said.endswith("sequences of at most 50\n")
    user, sequence = np.array([1, 2]), np.ones((2, 50), np.int64)
    ids, _ = ssept.load(file).recommend(user, sequence, 3)
    np.testing.assert_array_equal(ask(session_of(tmp_path), user, sequence)["topk_ids"], ids)


def test_an_unguarded_file_is_told_from_a_guarded_one(tmp_path: Path, repository: Path) -> None:
    file = write_repository(
        ssept.load(quantized_model(tmp_path / "plain.onnx", 60)).artifact, tmp_path / "out"
    )
    assert not answers_any_ids(file)
    assert answers_any_ids(repository / MODEL / "1" / "model.onnx")


Change = Callable[[Any], None]


def changed_config(repository: Path, change: Change) -> None:
    config = config_of(repository)
    change(config)
    text = text_format.MessageToString(config)
    (repository / MODEL / "config.pbtxt").write_text(text)


def rename(config: Any) -> None:
    config.output[1].name = "best"


def another_dim(config: Any) -> None:
    config.input[1].dims[0] = 49


def any_scores(config: Any) -> None:
    config.output[0].dims[0] = -1


def another_type(config: Any) -> None:
    config.input[0].data_type = model_config_pb2.TYPE_INT32


def another_rank(config: Any) -> None:
    config.output[2].dims.append(1)


def fewer_inputs(config: Any) -> None:
    del config.input[1]


def setting(**values: object) -> Change:
    def change(config: Any) -> None:
        for name, value in values.items():
            setattr(config, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting(name="other"), "config.pbtxt: name is other"),
        (setting(platform="tensorrt_plan"), "config.pbtxt: platform is tensorrt_plan"),
        (setting(backend="python"), "config.pbtxt: backend is python; expected onnxruntime"),
        (setting(backend="", platform=""), "config.pbtxt: backend is missing"),
        (rename, "1/model.onnx: has no best, which config.pbtxt names; it has scores, topk_ids"),
        (another_dim, "1/model.onnx: SEQ has dims [50]; config.pbtxt says [49]"),
        (any_scores, "config.pbtxt says [-1]"),
        (another_type, "1/model.onnx: USER_ID is TYPE_INT64; config.pbtxt says TYPE_INT32"),
        (another_rank, "topk_scores has dims [100]; config.pbtxt says [100, 1]"),
        (fewer_inputs, "1/model.onnx: has 2 inputs, USER_ID, SEQ; config.pbtxt has 1"),
        (setting(max_batch_size=0), "USER_ID has dims [-1, 1]; config.pbtxt says [1]"),
    ],
)
def test_the_configuration_is_held_against_the_file(
    repository: Path, change: Change, message: str
) -> None:
    changed_config(repository, change)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        check(repository)


def test_a_file_without_a_free_batch_axis_is_refused(repository: Path) -> None:
    path = repository / MODEL / "1" / "model.onnx"
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=r"USER_ID is \[1, 1\]; its first axis"):
        check(repository)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("", None, "no such model; `ssept triton repository` writes it"),
        ("config.pbtxt", None, "config.pbtxt: is missing"),
        ("config.pbtxt", "name: recommender", "config.pbtxt: no configuration of a Triton model"),
        ("config.pbtxt", "nme: 'x'", "config.pbtxt: no configuration of a Triton model: 1:1"),
        ("1", None, "has no version; expected a folder 1 with model.onnx"),
        ("1/model.onnx", None, "1/model.onnx: is missing"),
        ("1/model.onnx", "not a model", "1/model.onnx: not an ONNX file"),
    ],
)
def test_what_is_missing_or_broken_is_named(
    repository: Path, tmp_path: Path, part: str, text: str | None, message: str
) -> None:
    path = repository / MODEL / part
    if text is None:
        path.rename(tmp_path / "elsewhere")
    else:
        path.write_text(text)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        check(repository)


def test_other_folders_are_no_versions(repository: Path) -> None:
    for name in ("01", "old", ".2"):
        (repository / MODEL / name).mkdir()
    check(repository)


def test_a_failed_write_leaves_what_was_there(small_checkpoint: Path, repository: Path) -> None:
    before = contents(repository)
    artifact = build(small_checkpoint, "onnx_topk")
    with pytest.raises(ArtifactError, match="version 9, which is not there"):
        write_repository(artifact, repository, TritonSettings(versions=(9,)), version=2)
    with pytest.raises(SseptError, match="unknown accelerator 'cuda'"):
        write_repository(artifact, repository, TritonSettings(accelerator="cuda"))
    assert contents(repository) == before
