"""A session of ONNX Runtime on a GPU: bound inputs and outputs, and proof from a profile."""

from typing import Any

import numpy as np

from ssept.artifacts import TOPK_IDS, TOPK_SCORES, Artifact
from ssept.errors import FallbackError
from ssept.providers.onnx.proof import fallen_off
from ssept.providers.onnx.session import Feeds, OnnxRuntimeSession
from ssept.providers.onnx.session_options import SessionOptions
from ssept.providers.session import Ids, Scores


class GpuSession(OnnxRuntimeSession):
    """An ONNX file on a GPU, all of it but for the arithmetic on shapes.

    `session.disable_cpu_ep_fallback` is too strict here: it counts every node that is assigned to
    the CPU, and ONNX Runtime assigns the nodes behind a Shape to it on purpose, since the GPU's
    kernels read the shapes they need from the CPU's memory. So a profiled run in a second session
    proves that nothing else is there, before the first call.
    """

    whole_graph = False
    device = "cuda"

    def __init__(
        self, artifact: Artifact, threads: int, provider: str, options: SessionOptions
    ) -> None:
        super().__init__(artifact, threads, provider, options)
        if names := fallen_off(self._profile, provider):
            raise FallbackError(
                f"{provider} does not run all of {artifact.path.name}: {', '.join(names)} would "
                "run on another provider"
            )
        device_id = getattr(options, "device_id", 0)
        self._bindings = Bindings(
            self._session, artifact.signature.scores, artifact.model.items, self.device, device_id
        )

    def _run(self, inputs: Feeds) -> Scores:
        return self._bindings.run(inputs)

    def _run_head(self, inputs: Feeds) -> tuple[Ids, Scores]:
        """Without bindings, nor CUDA graphs: the shapes of its outputs depend on a value, k."""
        import onnxruntime

        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", "-1")
        ids, scores = self._session.run([TOPK_IDS, TOPK_SCORES], inputs, run_options)
        return ids, scores


class Bindings:
    """Inputs and outputs that stay on a device, so that a call allocates nothing there.

    A CUDA graph also needs them in the same place each time; each pair of input shapes has a
    graph of its own.
    """

    def __init__(self, session: Any, output: str, items: int, device: str, device_id: int) -> None:
        self._session = session
        self._output = output
        self._columns = items + 1
        self._device = (device, device_id)
        self._bound: dict[tuple[tuple[int, ...], ...], tuple[Any, Any, dict[str, Any]]] = {}
        self._outputs: dict[int, Any] = {}

    def run(self, inputs: Feeds) -> Scores:
        """Compute the scores on a CPU device, in memory that the next call uses again."""
        shapes = tuple(array.shape for array in inputs.values())
        if shapes not in self._bound:
            self._bound[shapes] = self._bind(inputs)
        binding, run_options, values = self._bound[shapes]
        for name, array in inputs.items():
            values[name].update_inplace(array)
        self._session.run_with_iobinding(binding, run_options)
        scores: Scores = self._outputs[shapes[0][0]].numpy()
        return scores

    def _bind(self, inputs: Feeds) -> tuple[Any, Any, dict[str, Any]]:
        import onnxruntime

        binding = self._session.io_binding()
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array, *self._device)
            for name, array in inputs.items()
        }
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        (batch, *_), *_ = (array.shape for array in inputs.values())
        if batch not in self._outputs:
            self._outputs[batch] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                (batch, self._columns), np.float32, *self._device
            )
        binding.bind_ortvalue_output(self._output, self._outputs[batch])
        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", str(len(self._bound) + 1))
        return binding, run_options, values
