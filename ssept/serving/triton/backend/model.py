"""ONNX Runtime behind Triton's Python backend: what its own backend `onnxruntime` does on a CPU.

It loads the same repository, unchanged. The server runs it in a process for each instance, with
the packages of that environment; `triton_python_backend_utils` comes from the server, and
`onnx_external`, ssept's own, lies beside this file in the server's backend directory.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_external  # type: ignore[import-not-found]
import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

FILE_NAME = "model.onnx"  # unless the configuration names another
# The parameters of Triton's own backend that mean something on a CPU.
THREADS = {
    "intra_op_thread_count": "intra_op_num_threads",
    "inter_op_thread_count": "inter_op_num_threads",
}


class TritonPythonModel:
    """One instance of a model; the server knows the class by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the file of this version as the configuration says."""
        config = json.loads(args["model_config"])
        _check_place(config, args["model_instance_kind"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        path = Path(triton.get_model_dir()) / (config.get("default_model_filename") or FILE_NAME)
        try:
            onnx_external.external_files(path)
        except ValueError as error:
            raise triton.TritonModelException(str(error)) from error
        self.session = onnxruntime.InferenceSession(
            str(path),
            _options(config.get("parameters", {})),
            providers=["CPUExecutionProvider"],
        )
        self._check_names()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch with a single run of the session."""
        feeds = {name: [_array(request, name) for request in requests] for name in self.inputs}
        wanted = {name for request in requests for name in request.requested_output_names()}
        names = [name for name in self.outputs if name in wanted]
        batch = {name: _joined(arrays) for name, arrays in feeds.items()}
        results = dict(zip(names, self.session.run(names, batch), strict=True))
        sizes = [len(array) for array in feeds[self.inputs[0]]]
        ends = np.cumsum(sizes)
        return [
            _response(request, results, slice(end - size, end))
            for request, size, end in zip(requests, sizes, ends, strict=True)
        ]

    def _check_names(self) -> None:
        """Refuse at start what Triton's own backend refuses at start."""
        for kind, names, nodes in (
            ("input", self.inputs, self.session.get_inputs()),
            ("output", self.outputs, self.session.get_outputs()),
        ):
            known = [node.name for node in nodes]
            if unknown := set(names) - set(known):
                raise triton.TritonModelException(
                    f"config.pbtxt: the file has no {kind} {', '.join(sorted(unknown))}; "
                    f"it has {', '.join(known)}"
                )


def _check_place(config: dict[str, Any], kind: str) -> None:
    """Refuse what only Triton's own backend does, rather than do it otherwise on the CPU."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    if kind != "CPU" or any(accelerators.values()):
        raise triton.TritonModelException(
            "config.pbtxt: instances on a GPU and accelerators need Triton's own backend "
            "onnxruntime, in its container; here is ONNX Runtime on the CPU"
        )


def _options(parameters: dict[str, Any]) -> onnxruntime.SessionOptions:
    """Return the session's options; one thread by default, because instances share the cores."""
    options = onnxruntime.SessionOptions()
    for parameter, name in THREADS.items():
        setattr(options, name, int(parameters.get(parameter, {}).get("string_value", 1)))
    return options


def _array(request: Any, name: str) -> np.ndarray:
    array: np.ndarray = triton.get_input_tensor_by_name(request, name).as_numpy()
    return array


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _response(request: Any, results: dict[str, np.ndarray], rows: slice) -> Any:
    wanted = request.requested_output_names()
    return triton.InferenceResponse(
        [triton.Tensor(name, array[rows]) for name, array in results.items() if name in wanted]
    )
