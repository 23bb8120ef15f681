"""A provider that was asked for runs all of a model, or the cell fails and says what did not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import FallbackError, ProviderError
from ssept.measure.cold_start import cold_start
from ssept.measure.machine import read_machine
from ssept.providers import budget
from ssept.providers.onnx.proof import PROOF_BATCH, fallen_off, nodes_by_provider
from ssept.providers.onnx.session_options import OpenVinoOptions, SessionOptions
from ssept.providers.onnxruntime_gpu import Bindings, GpuSession
from ssept.providers.options import Value
from ssept.providers.torch_cuda import CudaOptions, DeviceSession
from ssept.variants import build
from tests.conftest import batch
from tests.helpers.integer_products import right_integer_products
from tests.helpers.matrix import run_matrix
from tests.helpers.models import quantized_model

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"


def node(operator: str, provider: str, *outputs: tuple[str, list[int]]) -> dict[str, Any]:
    """An event of ONNX Runtime's profile: a node that ran."""
    return {
        "cat": "Node",
        "name": f"some_{operator}_kernel_time",
        "args": {
            "op_name": operator,
            "provider": provider,
            "output_type_shape": [{kind: shape} for kind, shape in outputs],
        },
    }


PROFILE = [
    {"cat": "Session", "name": "model_loading_uri", "args": {}},
    {"cat": "Node", "name": "some_MatMul_fence_before", "args": {"op_name": "MatMul"}},
    node("Gather", CUDA, ("float", [PROOF_BATCH, 50, 100])),
    node("Shape", CPU, ("int64", [2])),
    node("Squeeze", CPU, ("int64", [])),
    node("Concat", CPU, ("int64", [4])),
    node("MatMul", CUDA, ("float", [PROOF_BATCH, 301])),
]


@pytest.mark.parametrize(
    ("elsewhere", "names"),
    [
        ([], []),
        ([node("TopK", CPU, ("float", [PROOF_BATCH, 10]), ("int64", [PROOF_BATCH, 10]))], ["TopK"]),
        ([node("Gather", CPU, ("float", [PROOF_BATCH, 50, 50]))], ["Gather"]),
        ([node("LessOrEqual", CPU, ("bool", [PROOF_BATCH]))], ["LessOrEqual"]),
        ([node("Range", CPU, ("int64", [50]))], ["Range"]),
        ([node("ReduceMax", CPU, ("float", []))], ["ReduceMax"]),
        ([node("Softmax", CPU, ("float", [9, 9]))] * 3, ["Softmax"]),
        ([node("Erf", CPU, ("float", [99])), node("Exp", CPU, ("float", [99]))], ["Erf", "Exp"]),
        ([node("Loop", CPU)], ["Loop"]),
    ],
)
def test_operators_that_fell_off_are_named_and_shapes_are_not(
    elsewhere: list[dict[str, Any]], names: list[str]
) -> None:
    assert fallen_off(PROFILE + elsewhere, CUDA) == names


def test_nodes_are_counted_by_provider() -> None:
    assert nodes_by_provider(PROFILE) == {"CUDA": 2, "CPU": 3}


@pytest.mark.parametrize(
    ("variant", "provider", "name"),
    [
        ("torch", "torch", "torch cpu"),
        ("onnx", "cpu", "CPU"),
        ("onnx", "openvino", "OpenVINO"),
        ("onnx", "openvino_native", "OpenVINO CPU f32"),
    ],
)
def test_a_provider_proves_its_use(
    small_checkpoint: Path, variant: str, provider: str, name: str
) -> None:
    placement = ssept.load(small_checkpoint, variant, provider).placement()
    assert list(placement) == [name]
    assert placement[name] == 1 or provider == "cpu"


@pytest.mark.parametrize(
    "options",
    [
        {"device_type": "GPU"},
        {"precision": "FP16"},
        {"load_config": "{not JSON"},
    ],
    ids=["no such device", "FP16 on a CPU", "a broken setting"],
)
def test_onnx_runtimes_openvino_that_would_fall_back_is_refused(
    small_checkpoint: Path, options: dict[str, Value]
) -> None:
    (given,) = (f"{name}={value}" for name, value in options.items())
    with pytest.raises(FallbackError, match="does not start, and CPUExecutionProvider") as refused:
        ssept.load(small_checkpoint, "onnx", "openvino", options=options)
    assert given in str(refused.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param(
            {"INFERENCE_PRECISION_HINT": "f16"},
            FallbackError,
            "CPU f16 was requested, but ",
            marks=pytest.mark.skipif(
                "avx512_fp16" in read_machine().instruction_sets,
                reason="this CPU computes in f16",
            ),
        ),
        ({"device_name": "AUTO"}, ProviderError, "not supported property"),  # gives no proof
        ({"device_name": "NPU"}, ProviderError, "does not run"),
        ({"CACHE_DIR": "/proc/none"}, ProviderError, "/proc/none"),
    ],
)
def test_openvino_that_would_take_something_else_is_refused(
    small_checkpoint: Path, options: dict[str, Value], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ssept.load(small_checkpoint, "onnx", "openvino_native", options=options)


@pytest.fixture
def quantized(tmp_path: Path, small: Dataset) -> Path:
    return quantized_model(tmp_path / "quantized.onnx", small.items)


def test_operators_that_openvino_leaves_are_named(quantized: Path) -> None:
    assert ssept.load(quantized).placement()["CPU"] > 1
    with pytest.raises(FallbackError, match=r"not run all of quantized\.onnx: QLinearMatMul would"):
        ssept.load(quantized, provider="openvino")


@pytest.mark.slow
@right_integer_products
def test_a_cell_fails_with_the_operators_named(
    quantized: Path, small_folder: Path, tmp_path: Path
) -> None:
    run = run_matrix(
        tmp_path / "results",
        f"--data-dir={small_folder}",
        f"--onnx={quantized}",
        "--providers=openvino,cpu",
        "--rounds=45",
        "-k=edge",
    )
    assert run.code == 1
    assert "QLinearMatMul would run" in run.outcomes("failed")["test_edge[custom-openvino]"]
    assert "test_edge[custom-cpu]" in run.cells("edge")


def test_without_the_strict_lock_a_profile_finds_the_same(quantized: Path) -> None:
    """What holds for CUDA, with OpenVINO in the place of the GPU."""
    artifact = ssept.load(quantized).artifact
    with pytest.raises(FallbackError, match="QLinearMatMul would run"):
        GpuSession(artifact, 1, OPENVINO, OpenVinoOptions())


class OnCpu(GpuSession):
    """A GPU's session, with the CPU in the place of the GPU."""

    device = "cpu"


def test_bound_inputs_and_outputs_give_the_same_scores(
    small_checkpoint: Path, small: Dataset
) -> None:
    artifact = build(small_checkpoint, "onnx")
    plain, bound = ssept.load(artifact), OnCpu(artifact, 1, CPU, SessionOptions())
    random = np.random.default_rng(0)
    for size, length in ((1, 50), (3, 50), (3, 20), (1, 50), (3, 20)):
        user, sequence = batch(random, small.users, small.items, size, length)
        expected, actual = plain.scores(user, sequence), bound.scores(user, sequence)
        np.testing.assert_array_equal(actual, expected)


def test_each_shape_has_a_cuda_graph_of_its_own(small_checkpoint: Path) -> None:
    class Spy:
        def __init__(self, session: Any) -> None:
            self.session = session
            self.graphs: list[str] = []

        def io_binding(self) -> Any:
            return self.session.io_binding()

        def run_with_iobinding(self, binding: Any, run_options: Any) -> None:
            self.graphs.append(run_options.get_run_config_entry("gpu_graph_id"))
            self.session.run_with_iobinding(binding, run_options)

    import onnxruntime

    artifact = build(small_checkpoint, "onnx")
    spy = Spy(onnxruntime.InferenceSession(artifact.path, providers=[CPU]))
    bindings = Bindings(spy, "scores", artifact.model.items, "cpu", 0)
    for size, length in ((1, 50), (2, 50), (1, 50), (1, 7)):
        sequence = np.ones((size, length), dtype=np.int64)
        scores = bindings.run({"user": sequence[:, 0].copy(), "sequence": sequence})
        assert scores.shape == (size, artifact.model.items + 1)
    first, second, again, third = spy.graphs
    assert first == again
    assert len({first, second, third}) == 3


@pytest.mark.slow
def test_torch_compile_is_one_graph_and_agrees_with_eager(
    small_checkpoint: Path, small: Dataset
) -> None:
    eager, compiled = (
        ssept.load(small_checkpoint, "torch", name) for name in ("torch", "torch_compile")
    )
    assert compiled.placement() == {"inductor cpu": 1}
    random = np.random.default_rng(0)
    for size, length in ((1, 50), (7, 50), (64, 20), (1, 33)):
        user, sequence = batch(random, small.users, small.items, size, length)
        expected, actual = eager.scores(user, sequence), compiled.scores(user, sequence)
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)


def test_torch_compile_that_would_run_eagerly_is_refused(small_checkpoint: Path) -> None:
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(FallbackError, match="eager torch would run instead"),
    ):
        ssept.load(small_checkpoint, "torch", "torch_compile")


@pytest.mark.slow
def test_torch_compile_that_cannot_compile_says_why(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "nothing compiled before"))
    with pytest.raises(ProviderError, match=r"torch\.compile does not run .*C\+\+ compiler"):
        cold_start(build(small_checkpoint, "torch"), "torch_compile", 1)


def test_torch_in_bfloat16_is_proved_and_within_its_budget(
    small_checkpoint: Path, small: Dataset
) -> None:
    """What torch_cuda_bf16 does, on the CPU."""
    artifact = build(small_checkpoint, "torch")
    eager = ssept.load(artifact, provider="torch")
    session = DeviceSession(artifact, 1, "cpu", "bfloat16", CudaOptions())
    assert session.placement() == {"torch cpu bfloat16": 1}
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 64, 50)
    scores = session.scores(user, sequence)
    assert scores.dtype == np.float32
    error = np.abs(scores - eager.scores(user, sequence)).max()
    assert 1e-4 < error < budget("torch", "torch_cuda_bf16").max_score_error
