"""ONNX Runtime's execution providers, each of which runs the whole graph or refuses it."""

import ctypes.util
import importlib
import importlib.util
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution

from ssept.artifacts import Artifact
from ssept.errors import ProviderError
from ssept.providers.nvidia import no_gpu
from ssept.providers.onnx.integer_products import check_integer_products
from ssept.providers.onnx.session import OnnxRuntimeSession
from ssept.providers.onnx.session_options import (
    CudaOptions,
    OpenVinoOptions,
    SessionOptions,
    TensorRtOptions,
)
from ssept.providers.onnxruntime_gpu import GpuSession
from ssept.providers.session import Session
from ssept.variants import ONNXRUNTIME_DISTRIBUTIONS

TENSORRT_LIBRARY, TENSORRT_MODULE = "nvinfer", "tensorrt_libs"


@dataclass(frozen=True)
class OnnxRuntime:
    """One execution provider of ONNX Runtime.

    Attributes:
        name: ONNX Runtime's name for it.
        install: what to do where ONNX Runtime does not have it.
        options: the options with their defaults.
    """

    name: str
    install: str
    options: SessionOptions = field(default_factory=SessionOptions)

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None.

        Raises:
            ProviderError: onnxruntime distributions overwrote one another.
        """
        if not importlib.util.find_spec("onnxruntime"):
            return f"onnxruntime is not installed: {self.install}"
        check_one_onnxruntime()
        import onnxruntime

        if self.name not in onnxruntime.get_available_providers():
            return f"onnxruntime has no {self.name}: {self.install}"
        return None

    def load(self, artifact: Artifact, threads: int, options: SessionOptions) -> Session:
        """Start a session whose whole graph runs on this provider."""
        return OnnxRuntimeSession(artifact, threads, self.name, options)


class Cpu(OnnxRuntime):
    """ONNX Runtime's own kernels for the CPU."""

    def load(self, artifact: Artifact, threads: int, options: SessionOptions) -> Session:
        """Start a session, unless these kernels would calculate wrongly."""
        check_integer_products(artifact.path)
        return super().load(artifact, threads, options)


class Cuda(OnnxRuntime):
    """ONNX Runtime on an NVIDIA GPU."""

    def unavailable(self) -> str | None:
        """As for every provider; also where there is no GPU."""
        return super().unavailable() or no_gpu()

    def load(self, artifact: Artifact, threads: int, options: SessionOptions) -> Session:
        """Start a session whose graph, but for arithmetic on shapes, runs on this provider."""
        import onnxruntime

        onnxruntime.preload_dlls()  # pip puts CUDA's libraries where no linker looks
        return GpuSession(artifact, threads, self.name, options)


class TensorRt(Cuda):
    """ONNX Runtime with TensorRT."""

    def unavailable(self) -> str | None:
        """As for CUDA; also where TensorRT is missing, which no onnxruntime package carries."""
        if reason := super().unavailable():
            return reason
        if importlib.util.find_spec(TENSORRT_MODULE) or ctypes.util.find_library(TENSORRT_LIBRARY):
            return None
        return f"lib{TENSORRT_LIBRARY} is not found: install the TensorRT that onnxruntime needs"

    def load(self, artifact: Artifact, threads: int, options: SessionOptions) -> Session:
        """As for CUDA; the first one of an artifact builds its engine, which takes minutes."""
        if importlib.util.find_spec(TENSORRT_MODULE):
            importlib.import_module(TENSORRT_MODULE)  # loads pip's libraries
        return super().load(artifact, threads, options)


def check_one_onnxruntime() -> None:
    """Refuse an environment where onnxruntime distributions overwrote one another.

    Raises:
        ProviderError: more than one is installed.
    """
    present = []
    for name in ONNXRUNTIME_DISTRIBUTIONS:
        try:
            present.append(f"{name} {distribution(name).version}")
        except PackageNotFoundError:
            continue
    if len(present) > 1:
        raise ProviderError(
            f"{' and '.join(present)} are installed over each other (all write the folder "
            "onnxruntime); uninstall all of them, then install exactly one"
        )


cpu = Cpu("CPUExecutionProvider", "install the cpu extra")
openvino = OnnxRuntime("OpenVINOExecutionProvider", "install the openvino extra", OpenVinoOptions())
cuda = Cuda("CUDAExecutionProvider", "install the gpu extra", CudaOptions())
tensorrt = TensorRt("TensorrtExecutionProvider", "install the gpu extra", TensorRtOptions())
