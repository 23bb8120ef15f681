"""PyTorch, eager or as CUDA graphs, on an NVIDIA GPU."""

from dataclasses import dataclass
from typing import Any

from ssept.artifacts import Artifact
from ssept.providers.nvidia import no_gpu
from ssept.providers.options import tried
from ssept.providers.session import Session
from ssept.providers.torch import Torch, TorchSession

WARMUP_CALLS = 3  # before a capture, so that libraries make their workspaces outside it


@dataclass(frozen=True)
class CudaOptions:
    """Options of torch on CUDA.

    Attributes:
        device_id: which of the visible GPUs.
        cuda_graphs: capture one graph for each shape and replay it.
        allow_tf32: matrix products with 10 bits of mantissa, a switch of the whole process.
    """

    device_id: int = 0
    cuda_graphs: bool = tried(False, True)
    allow_tf32: bool = False


class TorchCuda(Torch):
    """Torch on CUDA, in one floating-point type."""

    options: Any = CudaOptions()

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        if reason := super().unavailable() or no_gpu():
            return reason
        import torch

        if not torch.cuda.is_available():
            return f"torch {torch.__version__} cannot use the GPU: install a CUDA build of torch"
        return None

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session of the checkpoint's own network on the GPU."""
        return DeviceSession(artifact, threads, f"cuda:{options.device_id}", self.dtype, options)


class DeviceSession(TorchSession):
    """The network on a device; inputs go there and scores come back in each call."""

    def __init__(
        self, artifact: Artifact, threads: int, device: str, dtype: str, options: CudaOptions
    ) -> None:
        super().__init__(artifact, threads)
        torch = self._torch
        torch.backends.cuda.matmul.allow_tf32 = options.allow_tf32
        self._device = torch.device(device)
        self._model.to(self._device, getattr(torch, dtype))
        self._dtype = dtype
        self.compiles_shapes = options.cuda_graphs
        self._graphs: dict[tuple[int, ...], Graph] | None = {} if options.cuda_graphs else None

    def _call(self, user: Any, sequence: Any) -> Any:
        if self._graphs is None:
            scores = self._model(user.to(self._device), sequence.to(self._device))
        else:
            shape = tuple(sequence.shape)
            if shape not in self._graphs:
                self._graphs[shape] = Graph(self._model, user, sequence, self._device)
            scores = self._graphs[shape].replay(user, sequence)
        return scores.float().cpu()

    def placement(self) -> dict[str, int]:
        """One module, on the device and in the type of its parameters."""
        parameter = next(self._model.parameters())
        return {f"torch {parameter.device.type} {str(parameter.dtype).removeprefix('torch.')}": 1}


class Graph:
    """The kernels of one call at one shape, captured once; tensors keep their places."""

    def __init__(self, model: Any, user: Any, sequence: Any, device: Any) -> None:
        import torch

        self._user, self._sequence = user.to(device), sequence.to(device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARMUP_CALLS):
                    model(self._user, self._sequence)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self._graph):
                self._scores = model(self._user, self._sequence)

    def replay(self, user: Any, sequence: Any) -> Any:
        """Compute scores of this input shape, in memory that the next replay uses again."""
        self._user.copy_(user)
        self._sequence.copy_(sequence)
        self._graph.replay()
        return self._scores


float32 = TorchCuda("float32")
bfloat16 = TorchCuda("bfloat16")
