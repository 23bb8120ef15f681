"""Options of ONNX Runtime: of every session, and of each execution provider, by its own names."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ssept.artifacts import Artifact, Signature
from ssept.files import cache_folder
from ssept.providers.options import tried

# What the evaluation feeds at once, and more than any default batch size of the matrix.
TENSORRT_LARGEST_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What every session of ONNX Runtime has; the CPU provider has nothing else.

    A subclass adds the options of its provider; those that are None are left to the provider.
    `intra_op_num_threads` is none of them: it is the number of threads that a session is given.
    """

    graph_optimization_level: Literal[
        "ORT_DISABLE_ALL",
        "ORT_ENABLE_BASIC",
        "ORT_ENABLE_EXTENDED",
        "ORT_ENABLE_LAYOUT",
        "ORT_ENABLE_ALL",
    ] = tried("ORT_ENABLE_ALL", "ORT_ENABLE_EXTENDED")
    execution_mode: Literal["ORT_SEQUENTIAL", "ORT_PARALLEL"] = "ORT_SEQUENTIAL"
    inter_op_num_threads: int = 1
    allow_spinning: bool = tried(True, False)
    enable_mem_pattern: bool = tried(True, False)
    enable_cpu_mem_arena: bool = True

    def of_provider(self, artifact: Artifact, threads: int) -> dict[str, str]:
        """Return the provider's own settings, as the texts that ONNX Runtime takes.

        Args:
            artifact: what will be loaded.
            threads: that a call may use.
        """
        del artifact, threads  # for the subclasses
        common = {field.name for field in dataclasses.fields(SessionOptions)}
        return {
            name: str(value)
            for name, value in vars(self).items()
            if name not in common and value is not None
        }

    def profiled(self) -> "SessionOptions":
        """Return them for a profiled run: a CUDA graph would hide its nodes."""
        return self


@dataclass(frozen=True, kw_only=True)
class OpenVinoOptions(SessionOptions):
    """The OpenVINO provider's options; `num_of_threads` is the number a session is given."""

    device_type: str = "CPU"
    precision: Literal["FP32", "FP16", "ACCURACY"] = "FP32"
    num_streams: int = 1
    cache_dir: str | None = None
    load_config: str | None = None
    reshape_input: str | None = None
    disable_dynamic_shapes: bool = False
    enable_qdq_optimizer: bool = False
    model_priority: Literal["LOW", "MEDIUM", "HIGH", "DEFAULT"] = "DEFAULT"

    def of_provider(self, artifact: Artifact, threads: int) -> dict[str, str]:
        """As for every provider, with the thread count."""
        return super().of_provider(artifact, threads) | {"num_of_threads": str(threads)}


@dataclass(frozen=True, kw_only=True)
class CudaOptions(SessionOptions):
    """The CUDA provider's options.

    `use_tf32` is off where ONNX Runtime has it on: its products have 10 bits of mantissa, and a
    cell that is called FP32 is to be FP32.
    """

    device_id: int = 0
    gpu_mem_limit: int | None = None
    arena_extend_strategy: Literal["kNextPowerOfTwo", "kSameAsRequested"] = "kNextPowerOfTwo"
    cudnn_conv_algo_search: Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"] = "EXHAUSTIVE"
    do_copy_in_default_stream: bool = True
    enable_cuda_graph: bool = tried(False, True)
    use_tf32: bool = False
    prefer_nhwc: bool = False
    tunable_op_enable: bool = False
    tunable_op_tuning_enable: bool = False

    def profiled(self) -> "CudaOptions":
        """Return the options of a profile: these without CUDA graphs."""
        return dataclasses.replace(self, enable_cuda_graph=False)


@dataclass(frozen=True, kw_only=True)
class TensorRtOptions(SessionOptions):
    """The TensorRT provider's options.

    Engines are kept between runs: one takes minutes to build. TensorRT's own cache key is the
    name of the model and of its tensors, not its weights, so the default folder is one per
    artifact. The profile's shapes are batch 1 to TENSORRT_LARGEST_BATCH and length 1 to the
    longest, best at one sequence of the longest; a batch outside them has no engine.
    """

    device_id: int = 0
    trt_max_workspace_size: int | None = None
    trt_fp16_enable: bool = False
    trt_int8_enable: bool = False
    trt_int8_calibration_table_name: str | None = None
    trt_engine_cache_enable: bool = True
    trt_engine_cache_path: str | None = None
    trt_timing_cache_enable: bool = True
    trt_timing_cache_path: str | None = None
    trt_profile_min_shapes: str | None = None
    trt_profile_opt_shapes: str | None = None
    trt_profile_max_shapes: str | None = None
    trt_builder_optimization_level: int = 3
    trt_min_subgraph_size: int = 1
    trt_cuda_graph_enable: bool = tried(False, True)

    def of_provider(self, artifact: Artifact, threads: int) -> dict[str, str]:
        """As for every provider, with the cache's folder and the shapes of the profile."""
        folder = cache_folder() / "tensorrt"
        signature, longest = artifact.signature, artifact.model.max_length
        defaults = {
            "trt_engine_cache_path": str(folder / artifact.sha256[:16]),
            "trt_timing_cache_path": str(folder),
            "trt_profile_min_shapes": _shapes(signature, 1, signature.length or 1),
            "trt_profile_opt_shapes": _shapes(signature, 1, longest),
            "trt_profile_max_shapes": _shapes(signature, TENSORRT_LARGEST_BATCH, longest),
        }
        return defaults | super().of_provider(artifact, threads)

    def profiled(self) -> "TensorRtOptions":
        """Return the options of a profile: these without CUDA graphs."""
        return dataclasses.replace(self, trt_cuda_graph_enable=False)


def _shapes(signature: Signature, batch: int, length: int) -> str:
    """Format the shapes of both inputs for TensorRT's profile: `user:1,sequence:1x50`."""
    column = "x1" if signature.user_is_column else ""
    return f"{signature.user}:{batch}{column},{signature.sequence}:{batch}x{length}"
