"""The ONNX file that Triton serves: a variant's, with the names and shapes that clients send."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.artifacts import EXCLUDE, TOPK_IDS, Artifact, K, Signature, model_files
from ssept.errors import ArtifactError, SseptError
from ssept.serving.interface import SCORES, SEQ, USER_ID, Interface, Tensor

INNER = "model/"  # before the names of the variant's own, so that they meet none of the new ones
USER, USER_SHAPE = "triton/user", "triton/user_shape"
KNOWN = "triton/known/"  # before the names of clients' inputs
LEAST, MOST, PADDING = "triton/least", "triton/most", "triton/padding"
BATCH = "batch"
OLDEST_IR = 4  # before it, constants had to be inputs too
Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


def rewrite(artifact: Artifact, tensors: Interface, destination: Path) -> None:
    """Write a variant's file with the inputs and outputs of `tensors`, behind a batch axis.

    Of the top-k head, `k` becomes a constant and `exclude` leaves only the padding out. What no
    output needs is dropped.

    Raises:
        SseptError: onnx is not installed.
        ArtifactError: the file has tensors elsewhere, or what comes of it is no valid graph.
    """
    try:
        import onnx
    except ImportError as error:
        raise SseptError("writing an ONNX file needs onnx: install the train extra") from error

    # To rename outputs afterwards would take a node each, and that of `scores` copies them all.
    file, *_ = model_files(artifact.path)
    model = onnx.compose.add_prefix(onnx.load(file), INNER, rename_outputs=False)
    model.ir_version = max(model.ir_version, OLDEST_IR)
    graph = model.graph
    front, back = _front(artifact.signature), _back(artifact.signature, tensors)
    nodes, read = _needed([*_made(front), *graph.node, *_made(back)], tensors.outputs)
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in _constants(artifact.signature, tensors).items()
    ]
    _replace(graph.node, nodes)
    _replace(
        graph.initializer, [one for one in (*graph.initializer, *constants) if one.name in read]
    )
    _replace(graph.input, _values(tensors.inputs))
    _replace(graph.output, _values(tensors.outputs))
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ArtifactError(f"{artifact.path}: no valid graph for Triton: {error}") from error
    onnx.save(model, destination)


def _front(signature: Signature) -> list[Step]:
    """From the clients' inputs to the variant's; casts to the type that is there cost nothing."""
    kind = {"to": _kind(f"TYPE_{signature.dtype.upper()}")}
    return [
        *_known(USER_ID),
        ("Cast", [KNOWN + USER_ID], USER, kind),
        ("Reshape", [USER, USER_SHAPE], INNER + signature.user, {}),
        *_known(SEQ),
        ("Cast", [KNOWN + SEQ], INNER + signature.sequence, kind),
        ("Sub", [USER_ID, USER_ID], INNER + EXCLUDE, {}),  # the padding alone
    ]


def _known(ids: str) -> list[Step]:
    """Replace ids outside 32 bits by 0.

    Not left to the variant's own guard: up to 1.24 at least, ONNX Runtime's Clip is wrong on x86
    for int64 that need 33 bits, and the Gather behind it fails for all requests of the batch.
    """
    low, high, both = (f"{KNOWN}{ids}/{part}" for part in ("low", "high", "both"))
    return [
        ("Greater", [ids, LEAST], low, {}),
        ("Less", [ids, MOST], high, {}),
        ("And", [low, high], both, {}),
        ("Where", [both, ids, PADDING], KNOWN + ids, {}),
    ]


def _back(signature: Signature, tensors: Interface) -> list[Step]:
    """From the variant's outputs to the clients', where the names are not the same already."""
    asked_for = any(tensor.name == SCORES for tensor in tensors.outputs)
    renamed = asked_for and signature.scores != SCORES
    return [("Identity", [signature.scores], SCORES, {})] if renamed else []


def _constants(signature: Signature, tensors: Interface) -> dict[str, npt.NDArray[np.int64]]:
    shape = [-1, 1] if signature.user_is_column else [-1]
    k = [tensor.dims for tensor in tensors.outputs if tensor.name == TOPK_IDS]
    return {
        USER_SHAPE: np.array(shape),
        INNER + K: np.array(k, np.int64).ravel(),
        LEAST: np.array(-(2**31)),
        MOST: np.array(2**31),
        PADDING: np.array(0),
    }


def _made(steps: list[Step]) -> list[Any]:
    from onnx import helper

    return [
        helper.make_node(kind, inputs, [output], f"to {output}", **attributes)
        for kind, inputs, output, attributes in steps
    ]


def _values(tensors: tuple[Tensor, ...]) -> list[Any]:
    from onnx import helper

    return [
        helper.make_tensor_value_info(tensor.name, _kind(tensor.type), [BATCH, *tensor.dims])
        for tensor in tensors
    ]


def _kind(triton_type: str) -> int:
    """Return ONNX's number of a Triton type."""
    from onnx import TensorProto

    names = {"TYPE_FP32": "FLOAT"}
    kind: int = TensorProto.DataType.Value(names.get(triton_type, triton_type[len("TYPE_") :]))
    return kind


def _needed(nodes: list[Any], outputs: tuple[Tensor, ...]) -> tuple[list[Any], set[str]]:
    """Return the nodes that the outputs depend on, in running order, and all tensors they read."""
    read, needed = {tensor.name for tensor in outputs}, []
    for node in reversed(nodes):
        if read.intersection(node.output):
            needed.append(node)
            read.update(_reads(node))
    return needed[::-1], read


def _reads(node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, also within its branches and loops."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)
