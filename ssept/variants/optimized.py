"""ONNX Runtime's own graph optimisation, applied once and saved."""

from pathlib import Path

import onnxruntime

from ssept.files import written_file


def optimize(base: Path, destination: Path) -> None:
    """Write the graph that ONNX Runtime would run on this machine's CPU."""
    with written_file(destination) as temporary:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(temporary)
        options.log_severity_level = 3  # it warns that the file is bound to this machine: it is
        onnxruntime.InferenceSession(base, options, providers=["CPUExecutionProvider"])
