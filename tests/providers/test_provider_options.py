"""Options of providers: named, checked, and really applied."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ssept
from ssept.artifacts import Artifact, Signature
from ssept.errors import ProviderError
from ssept.providers import PROVIDERS
from ssept.providers.onnx.session_options import CudaOptions, OpenVinoOptions, TensorRtOptions
from ssept.providers.options import Value, declared, with_changes
from ssept.variants import build
from tests.helpers.matrix import run_matrix


@pytest.fixture
def artifact(small_checkpoint: Path) -> Artifact:
    return build(small_checkpoint, "onnx")


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_default_and_every_value_to_try_is_a_value_of_its_option(name: str) -> None:
    provider = PROVIDERS[name]
    defaults = provider.options()
    for option, default in defaults.items():
        if default is not None:
            assert provider.read_option(option, str(default)) == default
    for option, values in provider.worth_trying().items():
        assert values[0] == defaults[option]
        assert [provider.read_option(option, str(value)) for value in values] == values


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        ("cpu", "graph_optimization_level execution_mode inter_op_num_threads allow_spinning"),
        (
            "openvino",
            "device_type precision num_streams cache_dir load_config reshape_input "
            "disable_dynamic_shapes allow_spinning",
        ),
        (
            "openvino_native",
            "PERFORMANCE_HINT NUM_STREAMS INFERENCE_PRECISION_HINT CACHE_DIR device_name",
        ),
        (
            "cuda",
            "device_id gpu_mem_limit arena_extend_strategy cudnn_conv_algo_search "
            "enable_cuda_graph use_tf32 allow_spinning",
        ),
        (
            "tensorrt",
            "device_id trt_fp16_enable trt_int8_enable trt_engine_cache_enable "
            "trt_engine_cache_path trt_profile_min_shapes trt_profile_opt_shapes "
            "trt_profile_max_shapes trt_max_workspace_size",
        ),
        ("torch_compile", "dynamic mode"),
        ("torch_cuda", "device_id cuda_graphs allow_tf32"),
    ],
)
def test_options_have_the_providers_own_names(provider: str, names: str) -> None:
    assert set(names.split()) <= set(PROVIDERS[provider].options())


def test_what_decides_whether_a_cell_is_honest_is_off_or_explicit() -> None:
    assert PROVIDERS["openvino_native"].options()["INFERENCE_PRECISION_HINT"] == "f32"
    assert PROVIDERS["openvino_native_bf16"].options()["INFERENCE_PRECISION_HINT"] == "bf16"
    assert PROVIDERS["openvino"].options()["precision"] == "FP32"
    assert PROVIDERS["cuda"].options()["use_tf32"] is False
    assert PROVIDERS["torch_cuda"].options()["allow_tf32"] is False


@pytest.mark.parametrize(
    ("provider", "options", "message"),
    [
        (
            "openvino",
            {"num_stream": 1},
            "unknown option 'num_stream'; expected one of .*, num_streams, ",
        ),
        ("torch", {"mode": "x"}, "unknown option 'mode'; there are none"),
        ("openvino", {"num_streams": "2"}, "num_streams: expected a whole number, got '2'"),
        ("openvino", {"num_streams": True}, "num_streams: expected a whole number"),
        ("cpu", {"allow_spinning": 1}, "allow_spinning: expected true or false, got 1"),
        ("openvino", {"load_config": 1}, "load_config: expected text"),
        ("cpu", {"execution_mode": "FAST"}, "expected one of ORT_SEQUENTIAL, ORT_PARALLEL"),
        ("cuda", {"no_such": 1}, "unknown option 'no_such'"),
    ],
)
def test_what_is_not_known_is_refused_before_anything_is_loaded(
    artifact: Artifact,
    small_checkpoint: Path,
    provider: str,
    options: dict[str, Value],
    message: str,
) -> None:
    chosen = small_checkpoint if provider == "torch" else artifact
    with pytest.raises(ProviderError, match=message):
        ssept.load(chosen, "torch", provider, options=options)


@pytest.mark.parametrize(
    ("provider", "name", "text", "value"),
    [
        ("openvino", "num_streams", "2", 2),
        ("openvino", "load_config", '{"CPU": {}}', '{"CPU": {}}'),
        ("cuda", "enable_cuda_graph", "true", True),
        ("cuda", "enable_cuda_graph", "0", False),
        ("cuda", "gpu_mem_limit", "1000", 1000),
        ("openvino_native", "ENABLE_CPU_PINNING", "False", False),
        ("openvino_native", "PERFORMANCE_HINT", "THROUGHPUT", "THROUGHPUT"),
    ],
)
def test_texts_are_read_in_the_options_own_type(
    provider: str, name: str, text: str, value: Value
) -> None:
    read = PROVIDERS[provider].read_option(name, text)
    assert (type(read), read) == (type(value), value)


def test_a_whole_number_is_a_number() -> None:
    @dataclass(frozen=True)
    class Slope:
        slope: float = 1.0

    assert with_changes(Slope(), {"slope": 2}).slope == 2.0
    assert declared(Slope)["slope"].read("2e-1") == 0.2


def test_a_session_option_reaches_onnx_runtime(artifact: Artifact) -> None:
    plain = ssept.load(artifact, options={"graph_optimization_level": "ORT_DISABLE_ALL"})
    # Its optimisation joins and drops nodes.
    assert plain.placement()["CPU"] > ssept.load(artifact).placement()["CPU"]


@pytest.mark.parametrize(
    ("provider", "name"), [("openvino", "cache_dir"), ("openvino_native", "CACHE_DIR")]
)
def test_a_providers_own_option_reaches_it(
    artifact: Artifact, tmp_path: Path, provider: str, name: str
) -> None:
    ssept.load(artifact, provider=provider, options={name: str(tmp_path / "kept")})
    assert list((tmp_path / "kept").rglob("*.blob"))


def test_shapes_that_an_option_fixed_are_not_answered_with_less(artifact: Artifact) -> None:
    session = ssept.load(
        artifact, provider="openvino", options={"reshape_input": "user[1],sequence[1,50]"}
    )
    with pytest.raises(ProviderError, match="for 3 users"):
        session.scores([1, 2, 3], [[1] * 50] * 3)


def test_threads_go_to_openvino_and_session_options_do_not(artifact: Artifact) -> None:
    given = OpenVinoOptions(cache_dir="kept").of_provider(artifact, 3)
    assert given["num_of_threads"] == "3"
    assert given["cache_dir"] == "kept"
    assert "load_config" not in given  # left to the provider
    assert "allow_spinning" not in given


def test_a_profiled_session_captures_no_cuda_graph(artifact: Artifact) -> None:
    cuda = CudaOptions(enable_cuda_graph=True).profiled()
    tensorrt = TensorRtOptions(trt_cuda_graph_enable=True).profiled()
    assert cuda.of_provider(artifact, 1)["enable_cuda_graph"] == "False"
    assert tensorrt.of_provider(artifact, 1)["trt_cuda_graph_enable"] == "False"


def test_tensorrt_gets_the_shapes_of_the_matrix(artifact: Artifact) -> None:
    given = TensorRtOptions().of_provider(artifact, 1)
    assert given["trt_profile_min_shapes"] == "user:1,sequence:1x1"
    assert given["trt_profile_opt_shapes"] == "user:1,sequence:1x50"
    assert given["trt_profile_max_shapes"] == "user:256,sequence:256x50"


def test_tensorrt_gets_the_names_and_ranks_of_the_file(artifact: Artifact) -> None:
    other = replace(
        artifact, signature=Signature(user="U", sequence="S", user_is_column=True, length=50)
    )
    given = TensorRtOptions().of_provider(other, 1)
    assert given["trt_profile_min_shapes"] == "U:1x1,S:1x50"
    own = TensorRtOptions(trt_profile_max_shapes="user:8,sequence:8x50")
    assert own.of_provider(artifact, 1)["trt_profile_max_shapes"] == "user:8,sequence:8x50"


def test_tensorrt_keeps_the_engines_of_each_model_apart(
    artifact: Artifact, own_cache: Path
) -> None:
    # TensorRT's own key is the model's name: other weights would else find this engine.
    folders = [
        TensorRtOptions().of_provider(model, 1)["trt_engine_cache_path"]
        for model in (artifact, replace(artifact, sha256="0" * 64))
    ]
    assert len(set(folders)) == 2
    assert all(Path(folder).is_relative_to(own_cache) for folder in folders)


@pytest.mark.slow
def test_the_matrix_takes_options_and_says_so(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    run = run_matrix(
        tmp_path,
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--variants=onnx",
        "--providers=cpu,openvino",
        "--provider-option=cpu.graph_optimization_level=ORT_DISABLE_ALL",
        "--provider-option=cpu.allow_spinning=false",
        "--provider-option=openvino.num_streams=1",
        "--batch-sizes=1",
        "--rounds=45",
        "-k=latency or footprint",
    )
    assert run.code == 0, run.output
    cells = run.cells("latency")
    given = {"graph_optimization_level": "ORT_DISABLE_ALL", "allow_spinning": False}
    assert cells["test_latency[onnx-cpu-b001]"]["options"] == given
    assert cells["test_latency[onnx-openvino-b001]"]["options"] == {"num_streams": 1}
    assert run.cells("footprint")["test_footprint[onnx-cpu]"]["options"] == given
    # The cell is not the baseline: that keeps its defaults, and so its optimised graph.
    optimised = ssept.load(build(small_checkpoint, "onnx")).placement()["CPU"]
    assert cells["test_latency[onnx-cpu-b001]"]["placement"]["CPU"] > optimised


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("gpu.device_id=1", "expected PROVIDER.NAME=VALUE, with a provider from torch, "),
        ("openvino.num_streams", "expected PROVIDER.NAME=VALUE"),
        ("openvino.nm_streams=1", "unknown option 'nm_streams'; expected one of "),
        ("openvino.num_streams=many", "expected a whole number, got 'many'"),
    ],
)
def test_a_wrong_option_ends_the_run_at_its_start(
    tmp_path: Path, option: str, message: str
) -> None:
    run = run_matrix(tmp_path, f"--provider-option={option}", "--collect-only")
    assert run.code == 4
    assert message in " ".join(run.output.split())
