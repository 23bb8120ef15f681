"""The rewritten network as a model file: exact in FP32, or with INT8 where that pays."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ssept.files import written_file
from ssept.model.checkpoint import load_checkpoint
from ssept.variants.rewrite.builder import GraphBuilder
from ssept.variants.rewrite.exact_best import ExactBestBuilder
from ssept.variants.rewrite.graphs import scores_graph


def export(checkpoint: Path, destination: Path) -> None:
    """Write the plain export's scores, to rounding, from a smaller graph."""
    write(checkpoint, destination, ())


def export_int8(checkpoint: Path, destination: Path) -> None:
    """Write the same graph with all linear layers and tables in INT8, as `ssept sweep` chose.

    Attention's own products stay in FP32: both their sides would have to be quantized in every
    call.
    """
    write(checkpoint, destination, None)


def export_exact_topk(checkpoint: Path, destination: Path) -> None:
    """Write the graph in FP32 with its best k, found by INT8 scores and what these may miss."""
    write(checkpoint, destination, (), builder=ExactBestBuilder)


def write(
    checkpoint: Path,
    destination: Path,
    int8: Collection[str] | None,
    graph_of: Callable[..., ir.Model] = scores_graph,
    builder: type[GraphBuilder] = GraphBuilder,
) -> list[str]:
    """Write the rewritten network with the named layers in INT8.

    Args:
        checkpoint: the checkpoint file.
        destination: the path to write.
        int8: names of linear layers and tables, or None for all of them.
        graph_of: `scores_graph`, or `state_graph` for the network without the scores.
        builder: the kind of graph.

    Returns:
        The names of all linear layers and tables.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ValueError: there is no layer of a name.
    """
    model = load_checkpoint(checkpoint).model
    weights = {
        name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()
    }
    graph = builder(int8)
    rewritten = graph_of(graph, model.config, weights)
    for name in int8 or ():
        if name not in graph.names:
            raise ValueError(f"unknown layer {name!r}; expected one of {', '.join(graph.names)}")
    with written_file(destination) as temporary:
        ir.save(rewritten, temporary)
    return graph.names
