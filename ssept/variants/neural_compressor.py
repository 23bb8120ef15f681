"""INT8 by Intel Neural Compressor, which runs in an environment of its own, file to file.

All three keep weights to 7 bits: CPUs without VNNI add pairs of products in 16 bits, which 8-bit
weights overflow. The tool's default decides by the CPU that it runs on; so the file would differ
from machine to machine, and be wrong where it is copied to an older one.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ssept.environments import environment, pinned, run
from ssept.files import written_file
from ssept.variants import qdq
from ssept.variants.calibration import Calibration

FOLDER = Path(__file__).parent
REQUIREMENTS = FOLDER / "requirements" / "neural-compressor.txt"
PROGRAM = FOLDER / "programs" / "quantize.py"
TOOLS = pinned(REQUIREMENTS, "neural-compressor", "onnxruntime", "onnx")
MEGABYTES = 600

DYNAMIC: dict[str, Any] = {"approach": "dynamic", "reduce_range": True}
STATIC: dict[str, Any] = {"approach": "static", "quant_format": "QDQ", "reduce_range": True}


def dynamic(base: Path, destination: Path) -> None:
    """Weights and embeddings in INT8; the ranges of activations are taken from each batch."""
    _save(_quantized(base, DYNAMIC), destination)


def static(base: Path, destination: Path, calibration: Calibration) -> None:
    """Weights, embeddings and the inputs of every product with a weight in INT8, by QDQ pairs."""
    # The outputs stay in float32: they would be rounded once more before the next operator
    # that needs them in float32 anyway.
    config = STATIC | {"recipes": {"optypes_to_exclude_output_quant": ["MatMul"]}}
    model = _quantized(base, config, calibration)
    qdq.gather_before_dequantize(model.graph)
    _save(model, destination)


def static_aggressive(base: Path, destination: Path, calibration: Calibration) -> None:
    """Also what the products with a weight give in INT8, and one item table for both its uses.

    The ranges of the products are percentiles (99.999 %); the tool offers none for what other
    operators compute. Weights are symmetric and per channel, the item table per tensor.
    """
    scores = qdq.producer(onnx.load(base).graph, qdq.SCORES).name
    config = STATIC | {
        "op_type_dict": {"MatMul": {"activation": {"algorithm": ["percentile"]}}},
        "op_name_dict": {scores: {"weight": {"granularity": ["per_tensor"]}}},
    }
    model = _quantized(base, config, calibration)
    qdq.float_scores(model.graph)
    qdq.float_feed_forward(model.graph)
    qdq.gather_before_dequantize(model.graph)
    qdq.share_item_table(model.graph)
    _save(model, destination)


def _quantized(
    base: Path, config: dict[str, Any], calibration: Calibration | None = None
) -> ModelProto:
    """Quantize a float32 file by the tool."""
    python = environment("neural-compressor", REQUIREMENTS, MEGABYTES)
    with tempfile.TemporaryDirectory(prefix="ssept-") as name:
        arrays, result = Path(name) / "calibration.npz", Path(name) / "quantized.onnx"
        if calibration:
            np.savez(arrays, user=calibration.user, sequence=calibration.sequence)
            config = config | {"calibration_sampling_size": [len(calibration.user)]}
        request = {
            "model": str(base.resolve()),
            "destination": str(result),
            "config": config,
            "calibration": str(arrays) if calibration else None,
        }
        run(python, PROGRAM, request)
        return onnx.load(result)


def _save(model: ModelProto, destination: Path) -> None:
    with written_file(destination) as temporary:
        qdq.save(model, temporary)
