"""A plugin that adds bad variants through the public table, to see the matrix catch them."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import numpy_helper

from ssept.variants import VARIANTS


def noisy(base: Path, destination: Path) -> None:
    """The plain export with one weight matrix slightly off."""
    model = onnx.load(base)
    table = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(table) + 0.05
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    onnx.save(model, destination)


def unsupported(base: Path, destination: Path) -> None:
    """The plain export behind an operator that OpenVINO does not know."""
    model = onnx.load(base)
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == "scores":
                node.output[place] = "raw"
    model.graph.node.append(
        onnx.helper.make_node(
            "Scaler", ["raw"], ["scores"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]
        )
    )
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, destination)


VARIANTS["noisy"] = replace(
    VARIANTS["onnx_graph"], build="tests.helpers.toys.toys:noisy", tools=("onnx",)
)
VARIANTS["unsupported"] = replace(VARIANTS["noisy"], build="tests.helpers.toys.toys:unsupported")
