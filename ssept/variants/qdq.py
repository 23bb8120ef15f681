"""Mends what a quantizer leaves behind: graph rewrites that keep or raise accuracy and cut work."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from ssept.errors import ArtifactError

ITEM_TABLE = "item.weight"
SHARED_TABLE = f"{ITEM_TABLE}_int8"
SCORES = "scores"


def operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator an ONNX file has, most frequent first."""
    graph = onnx.load(path, load_external_data=False).graph
    return dict(Counter(sorted(node.op_type for node in graph.node)).most_common())


def producer(graph: GraphProto, name: str) -> NodeProto:
    """Find the node that computes a tensor.

    Raises:
        ArtifactError: no node does.
    """
    found: NodeProto | None = next((node for node in graph.node if name in node.output), None)
    if found is None:
        raise ArtifactError(f"the graph has no node that computes {name}")
    return found


def float_scores(graph: GraphProto) -> None:
    """Drop the rounding of the scores themselves.

    256 levels for thousands of items tie most of them with a neighbour: it cost more NDCG than
    all the rest of the quantization together.
    """
    dequantize = producer(graph, SCORES)
    if dequantize.op_type != "DequantizeLinear":
        return
    quantize = producer(graph, dequantize.input[0])
    producer(graph, quantize.input[0]).output[0] = SCORES
    graph.node.remove(dequantize)
    graph.node.remove(quantize)


def float_feed_forward(graph: GraphProto) -> None:
    """Drop the rounding of what the feed-forward layers put out.

    A few large values set its range, so that hardly any levels are left for the others: alone it
    cost more NDCG than all the other roundings of products together.
    """
    for relu in [node for node in graph.node if node.op_type == "Relu"]:
        quantize = _users(graph, relu.output[0])
        if len(quantize) != 1 or quantize[0].op_type != "QuantizeLinear":
            continue
        (dequantize,) = _users(graph, quantize[0].output[0])
        for product in _users(graph, dequantize.output[0]):
            product.output[0] = _drop_rounding(graph, product.output[0])


def gather_before_dequantize(graph: GraphProto) -> None:
    """Look rows up in the INT8 tables and dequantize those, instead of the whole table per call.

    The second rounding behind the lookup goes: the rows have the table's own scale.
    """
    tables = {tensor.name for tensor in graph.initializer}
    for gather in [node for node in graph.node if node.op_type == "Gather"]:
        whole = [node for node in graph.node if gather.input[0] in node.output]
        if not whole or whole[0].op_type != "DequantizeLinear" or whole[0].input[0] not in tables:
            continue
        rows = _drop_rounding(graph, gather.output[0])
        quantized = f"{rows}_int8"
        gather.input[0], gather.output[0] = whole[0].input[0], quantized
        dequantize = helper.make_node(
            "DequantizeLinear",
            [quantized, *whole[0].input[1:]],
            [rows],
            f"{gather.name}_dequantize",
        )
        graph.node.insert(list(graph.node).index(gather) + 1, dequantize)
        if not _users(graph, whole[0].output[0]):
            graph.node.remove(whole[0])


def share_item_table(graph: GraphProto) -> None:
    """Store the item table once: the input's rows are read from what the scores multiply with.

    A quantizer sees two tables, one transposed, and stores both. The transposition of a constant
    is done when the file is loaded.

    Raises:
        ArtifactError: the scores' table has a scale per item, which rows cannot be read with.
    """
    weight = producer(graph, producer(graph, SCORES).input[1])
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if constants[weight.input[1]].size != 1:
        raise ArtifactError("the item table must be quantized per tensor to be shared")
    table = np.ascontiguousarray(constants[weight.input[0]].T)
    (gather,) = (
        node
        for node in graph.node
        if node.op_type == "Gather" and node.input[0].startswith(ITEM_TABLE)
    )
    (dequantize,) = _users(graph, gather.output[0])
    graph.initializer.append(numpy_helper.from_array(table, SHARED_TABLE))
    gather.input[0] = SHARED_TABLE
    dequantize.input[1:] = weight.input[1:]
    transposed = f"{SHARED_TABLE}_transposed"
    transpose = helper.make_node("Transpose", [SHARED_TABLE], [transposed], transposed, perm=[1, 0])
    graph.node.insert(list(graph.node).index(weight), transpose)
    weight.input[0] = transposed


def save(model: ModelProto, destination: Path) -> None:
    """Write a quantized model without what no node uses.

    Raises:
        ArtifactError: it has QLinear operators, which OpenVINO does not run.
    """
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    domains = {node.domain for node in graph.node}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    imports = [opset for opset in model.opset_import if opset.domain in domains]
    del graph.initializer[:], graph.value_info[:], model.opset_import[:]
    graph.initializer.extend(kept)
    model.opset_import.extend(imports)
    bound = sorted({node.op_type for node in graph.node if node.op_type.startswith("QLinear")})
    if bound:
        raise ArtifactError(
            f"quantizing gave {', '.join(bound)} instead of QuantizeLinear and DequantizeLinear"
        )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, destination)


def _users(graph: GraphProto, name: str) -> list[NodeProto]:
    return [node for node in graph.node if name in node.input]


def _drop_rounding(graph: GraphProto, name: str) -> str:
    """Remove a QuantizeLinear and DequantizeLinear that alone follow `name`; what they gave."""
    users = _users(graph, name)
    if len(users) != 1 or users[0].op_type != "QuantizeLinear":
        return name
    quantize = users[0]
    (dequantize,) = _users(graph, quantize.output[0])
    graph.node.remove(quantize)
    graph.node.remove(dequantize)
    return str(dequantize.output[0])
