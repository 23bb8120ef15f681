"""The rewritten network for LiteRT: a .tflite file, exact in FP32 or with INT8 weights.

The file is written operator by operator, as the ONNX file of `fused` is. LiteRT's own converter
(litert-torch 0.10) needs some thirty packages more, and stores the item table twice.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ssept.files import written_file
from ssept.model.checkpoint import load_checkpoint
from ssept.variants.rewrite.graphs import scores_graph
from ssept.variants.rewrite.litert_builder import LiteRtBuilder


def export(checkpoint: Path, destination: Path) -> None:
    """Write it in FP32."""
    _write(checkpoint, destination, ())


def export_int8(checkpoint: Path, destination: Path) -> None:
    """Write it with all linear layers and tables in INT8; attention's own products stay in FP32."""
    _write(checkpoint, destination, None)


def export_topk(checkpoint: Path, destination: Path) -> None:
    """Write it in FP32, with the best items found in the graph."""
    _write(checkpoint, destination, (), topk=True)


def export_int8_topk(checkpoint: Path, destination: Path) -> None:
    """Write it in INT8, with the best items found in the graph."""
    _write(checkpoint, destination, None, topk=True)


def _write(
    checkpoint: Path, destination: Path, int8: Collection[str] | None, *, topk: bool = False
) -> None:
    model = load_checkpoint(checkpoint).model
    weights = {
        name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()
    }
    graph = LiteRtBuilder(int8, model.config.max_length, topk=topk)
    file = scores_graph(graph, model.config, weights)
    with written_file(destination) as temporary:
        temporary.write_bytes(file)
