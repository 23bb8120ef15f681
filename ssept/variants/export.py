"""The plain FP32 export: the network as torch computes it, with dynamic batch and length."""

import logging
import warnings
from pathlib import Path

import onnx
import torch

from ssept.files import written_file
from ssept.model.checkpoint import load_checkpoint

OPSET = 18


def export(checkpoint: Path, destination: Path) -> None:
    """Write inputs `user` int64[batch], `sequence` int64[batch, length]; output `scores`."""
    model = load_checkpoint(checkpoint).model
    # Examples of size 1 would be specialised to that size.
    user = torch.tensor([1, 2])
    sequence = torch.ones(2, model.config.max_length, dtype=torch.int64)
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("length", max=model.config.max_length)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), written_file(destination) as temporary:
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model,
            (user, sequence),
            temporary,
            input_names=["user", "sequence"],
            output_names=["scores"],
            dynamic_shapes={"user": {0: batch}, "sequence": {0: batch, 1: length}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model_file = onnx.load(temporary)
        _strip_traces(model_file.graph)
        onnx.save(model_file, temporary)


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Drop the exporter's notes of where in the sources each node and value comes from.

    They hold the full paths of this machine's files, so the same model would differ by machine.
    """
    for noted in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del noted.metadata_props[:]
