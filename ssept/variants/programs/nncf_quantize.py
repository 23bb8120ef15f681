"""Quantizes an ONNX file with NNCF; runs in that tool's own environment.

The request on standard input: `model` and `destination`, paths; `calibration`, an .npz file with
`user` and `sequence`.
"""

import json
import sys
import tempfile
from pathlib import Path

import nncf  # type: ignore[import-not-found]
import numpy as np
import onnx
import onnxruntime
from nncf.quantization.advanced_parameters import (  # type: ignore[import-not-found]
    AdvancedQuantizationParameters,
    OverflowFix,
)

BATCH_SIZE = 64


def folded(path: str) -> onnx.ModelProto:
    """Fold what depends on constants only.

    SmoothQuant reads the weights of a product, and fails at the item table, which the export
    stores once and transposes in the graph.
    """
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def batches(path: str) -> list[dict[str, np.ndarray]]:
    """Iterate over the calibration sequences as feeds, in batches."""
    with np.load(path) as arrays:
        user, sequence = arrays["user"], arrays["sequence"]
    starts = range(0, len(user), BATCH_SIZE)
    return [
        {"user": user[start : start + BATCH_SIZE], "sequence": sequence[start : start + BATCH_SIZE]}
        for start in starts
    ]


def main() -> None:
    """Quantize as the request says."""
    request = json.load(sys.stdin)
    feeds = batches(request["calibration"])
    model = nncf.quantize(
        folded(request["model"]),
        nncf.Dataset(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,  # its own default for transformers
        subset_size=len(feeds),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    onnx.save(model, request["destination"])
    print(json.dumps({}))


if __name__ == "__main__":
    main()
