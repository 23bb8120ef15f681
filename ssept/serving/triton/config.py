"""Triton's config.pbtxt: how the server runs the model, as Triton's own protobuf message."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssept.errors import ArtifactError, SseptError
from ssept.serving.interface import MODEL, Interface, Tensor

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
GPU_ACCELERATOR, CPU_ACCELERATOR = "tensorrt", "openvino"
ACCELERATORS = (GPU_ACCELERATOR, CPU_ACCELERATOR)


@dataclass(frozen=True, kw_only=True)
class TritonSettings:
    """How the server runs the model.

    Attributes:
        max_batch_size: the most sequences in one run, of one request or of several.
        dynamic_batching: whether requests that wait are put together.
        preferred_batch_sizes: sizes of what is put together that need not wait for more.
        queue_delay_us: for how many microseconds other sizes may wait for more requests.
        instances: copies of the model side by side, on each GPU where there are `gpus`.
        gpus: the numbers of the GPUs to run on; none of them means the CPU.
        threads: of each instance, within an operator. 0 lets ONNX Runtime take all cores.
        accelerator: "tensorrt" on GPUs, "openvino" on the CPU, or None for ONNX Runtime's own.
        versions: which versions are served: a number of the latest, those listed, or None for all.

    Raises:
        SseptError: two of them contradict one another.
    """

    max_batch_size: int = 64
    dynamic_batching: bool = True
    preferred_batch_sizes: tuple[int, ...] = ()
    queue_delay_us: int = 0
    instances: int = 1
    gpus: tuple[int, ...] = ()
    threads: int = 1
    accelerator: str | None = None
    versions: int | tuple[int, ...] | None = 1

    def __post_init__(self) -> None:
        waits = self.preferred_batch_sizes or self.queue_delay_us
        if waits and not self.dynamic_batching:
            raise SseptError("preferred batch sizes and a queue delay need dynamic batching")
        if max(self.preferred_batch_sizes, default=0) > self.max_batch_size:
            raise SseptError(
                f"preferred batch size {max(self.preferred_batch_sizes)} is above the largest "
                f"batch, {self.max_batch_size}"
            )
        if len(set(self.gpus)) < len(self.gpus):
            raise SseptError(f"GPUs {', '.join(map(str, self.gpus))}: give each number once")
        if self.accelerator not in (None, *ACCELERATORS):
            raise SseptError(
                f"unknown accelerator {self.accelerator!r}; expected one of "
                f"{', '.join(ACCELERATORS)}"
            )
        if self.accelerator == GPU_ACCELERATOR and not self.gpus:
            raise SseptError(
                f"{GPU_ACCELERATOR} runs on GPUs: give their numbers, for example --gpus 0"
            )
        if self.accelerator == CPU_ACCELERATOR and self.gpus:
            raise SseptError(f"{CPU_ACCELERATOR} runs on the CPU: leave --gpus out")


def model_config(tensors: Interface, settings: TritonSettings) -> Any:
    """Make Triton's message for a model, `inference.ModelConfig`.

    Raises:
        SseptError: the triton extra is not installed.
    """
    messages, _ = _protobuf()
    return messages.ModelConfig(
        name=MODEL,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=settings.max_batch_size,
        input=[messages.ModelInput(**_fields(messages, tensor)) for tensor in tensors.inputs],
        output=[messages.ModelOutput(**_fields(messages, tensor)) for tensor in tensors.outputs],
        dynamic_batching=_batching(messages, settings),
        instance_group=[_instances(messages, settings)],
        version_policy=_version_policy(messages, settings.versions),
        optimization=_optimization(messages, settings.accelerator),
        model_warmup=_warm_up(messages, tensors, settings.max_batch_size),
        parameters={
            "intra_op_thread_count": messages.ModelParameter(string_value=str(settings.threads)),
            "inter_op_thread_count": messages.ModelParameter(string_value="1"),
        },
    )


def interface_of(config: Any) -> Interface:
    """Return the inputs and outputs that a configuration names."""
    messages, _ = _protobuf()

    def tensors(named: Any) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(one.name, messages.DataType.Name(one.data_type), tuple(one.dims))
            for one in named
        )

    return Interface(tensors(config.input), tensors(config.output))


def to_text(config: Any) -> str:
    """Return a configuration as the text of config.pbtxt; read back, it is the same message."""
    _, text_format = _protobuf()
    text: str = text_format.MessageToString(config)
    assert text_format.Parse(text, type(config)()) == config
    return text


def read_config(path: Path) -> Any:
    """Read a config.pbtxt.

    Raises:
        ArtifactError: it is missing, or no configuration.
        SseptError: the triton extra is not installed.
    """
    messages, text_format = _protobuf()
    if not path.is_file():
        raise ArtifactError(
            f"{path}: is missing; `ssept triton repository` writes a model with its configuration"
        )
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), messages.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path}: no configuration of a Triton model: {reason}") from error


def read_versions(text: str) -> int | tuple[int, ...] | None:
    """Read "latest", "latest:N", "all" or version numbers separated by commas."""
    name, _, count = text.partition(":")
    if text == "all":
        return None
    if name == "latest" and (count.isdecimal() or text == name) and count != "0":
        return int(count or 1)
    numbers = text.split(",")
    if all(number.isdecimal() and int(number) for number in numbers):
        return tuple(sorted({int(number) for number in numbers}))
    raise argparse.ArgumentTypeError(
        f"{text}: expected latest, latest:N, all, or version numbers separated by commas"
    )


def _fields(messages: Any, tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": messages.DataType.Value(tensor.type),
        "dims": tensor.dims,
    }


def _batching(messages: Any, settings: TritonSettings) -> Any:
    """Configure batching; without it Triton runs each request alone."""
    if not settings.dynamic_batching:
        return None
    return messages.ModelDynamicBatching(
        preferred_batch_size=settings.preferred_batch_sizes,
        max_queue_delay_microseconds=settings.queue_delay_us,
    )


def _instances(messages: Any, settings: TritonSettings) -> Any:
    """Make one group: Triton makes `count` instances on each of its GPUs."""
    group = messages.ModelInstanceGroup
    kind = group.KIND_GPU if settings.gpus else group.KIND_CPU
    return group(count=settings.instances, kind=kind, gpus=settings.gpus)


def _version_policy(messages: Any, versions: int | tuple[int, ...] | None) -> Any:
    policy = messages.ModelVersionPolicy
    if versions is None:
        return policy(all=policy.All())
    if isinstance(versions, int):
        return policy(latest=policy.Latest(num_versions=versions))
    return policy(specific=policy.Specific(versions=versions))


def _optimization(messages: Any, accelerator: str | None) -> Any:
    if accelerator is None:
        return None
    accelerators = messages.ModelOptimizationPolicy.ExecutionAccelerators
    place = "gpu" if accelerator == GPU_ACCELERATOR else "cpu"
    chosen = {f"{place}_execution_accelerator": [accelerators.Accelerator(name=accelerator)]}
    return messages.ModelOptimizationPolicy(execution_accelerators=accelerators(**chosen))


def _warm_up(messages: Any, tensors: Interface, max_batch_size: int) -> list[Any]:
    """Request a warm-up of each instance: a run of the smallest and of the largest batch."""
    inputs = {
        tensor.name: messages.ModelWarmup.Input(
            data_type=messages.DataType.Value(tensor.type), dims=tensor.dims, zero_data=True
        )
        for tensor in tensors.inputs
    }
    return [
        messages.ModelWarmup(name=f"batch {size}", batch_size=size, inputs=inputs)
        for size in sorted({1, max_batch_size})
    ]


def _protobuf() -> tuple[Any, Any]:
    """Import Triton's messages, and protobuf's text format."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    except (ImportError, RuntimeError) as error:  # the latter is tritonclient's own, without grpc
        raise SseptError(
            "Triton's configuration needs tritonclient with grpc: install the triton extra"
        ) from error
    return model_config_pb2, text_format
