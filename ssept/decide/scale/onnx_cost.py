"""The work of an ONNX file: the bytes and multiply-adds that a call needs.

The shapes are those of a run in ONNX Runtime with its optimisations off: so operators of any domain
are understood, and the nodes are those of the file.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ssept.artifacts import TOPK_IDS, TOPK_SCORES, Artifact, model_files
from ssept.decide.scale.roofline import FLOAT32, INT8, Work
from ssept.errors import ArtifactError, SseptError
from ssept.providers.onnx.session import Feeds, cpu_session, feeds, refusals
from ssept.providers.session import Ids

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

# Of each product of matrices, the place of its left factor among the inputs, and its precision;
# None means that of the factors.
PRODUCTS: dict[str, tuple[int, str | None]] = {
    "MatMul": (0, None),
    "Gemm": (0, None),
    "FusedMatMul": (0, None),
    "FusedGemm": (0, None),
    "MatMulInteger": (0, INT8),
    "MatMulIntegerToFloat": (0, INT8),
    "DynamicQuantizeMatMul": (0, INT8),
    "QLinearMatMul": (0, INT8),
    "QGemm": (0, INT8),
}
# What multiplies too, or has a graph inside, and is not counted here.
UNCOUNTED = {
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "EPContext", "Einsum", "FusedConv", "GRU",
    "GroupQueryAttention", "If", "LSTM", "Loop", "MatMulBnb4", "MatMulNBits", "MultiHeadAttention",
    "PackedAttention", "QAttention", "QLinearConv", "RNN", "Scan",
}  # fmt: skip
# What keeps the rows of a table, so that looking rows up before it or behind it is the same.
ROW_BY_ROW = {"Cast", "DequantizeLinear", "Identity"}
# What only moves values, between a DequantizeLinear and the product that it is meant for.
MOVING = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def work_of(artifact: Artifact, user: Ids, sequence: Ids, k: int) -> Work:
    """Return the least work of a call of an ONNX file, as `recommend` makes it.

    Multiply-adds: of each product of matrices, (values in its result) x (values in a row of its
    left factor). They count as INT8 in MatMulInteger and its kin, and where both factors of a
    MatMul or Gemm come from DequantizeLinear, which providers multiply in INT8; else in the
    precision of the factors.

    Bytes: each initializer once, in its own type, but of one that is only looked up in by Gather
    no more than the distinct rows that these inputs ask for; the inputs; and the outputs that are
    asked for, `topk_ids` and `topk_scores` of a file with the top-k head, else all scores.

    It is a bound from below. Free are: everything that multiplies no matrices (norms, softmax,
    sums, the search for the best k), all values in between, which may stay in the caches or never
    be stored, and the conversion of constants, which is done when the file is loaded. It is the
    bound of *this* graph: another that computes the same with fewer products may be faster.

    Args:
        artifact: of an ONNX file.
        user, sequence, k: of the call, int64[B] and int64[B, L].

    Raises:
        ArtifactError: it holds products that are not counted here, or ONNX Runtime's CPU provider
            cannot run it.
        SseptError: the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise SseptError(f"counting work needs {error.name}: install the train extra") from error
    model = onnx.load(model_files(artifact.path)[0])
    _check_counted(artifact.path, model)
    signature = artifact.signature
    inputs = feeds(signature, user, sequence, k)
    outputs = [TOPK_IDS, TOPK_SCORES] if signature.topk else [signature.scores]
    graph = _Graph(artifact.path, model, inputs, outputs)
    ends_bytes = sum(array.nbytes for array in inputs.values())
    ends_bytes += sum(graph.array(name).nbytes for name in outputs)
    return Work(graph.weight_bytes() + ends_bytes, graph.multiply_adds())


def _check_counted(path: Path, model: "ModelProto") -> None:
    kinds = UNCOUNTED | {function.name for function in model.functions}
    if found := sorted({node.op_type for node in model.graph.node} & kinds):
        raise ArtifactError(
            f"{path.name}: the cost of {', '.join(found)} is not counted, so the lower bound of "
            "its time is unknown"
        )


class _Graph:
    """A graph, and those of its values that counting needs."""

    def __init__(self, path: Path, model: "ModelProto", inputs: Feeds, outputs: list[str]) -> None:
        self._path = path
        self._nodes = list(model.graph.node)
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._values: Feeds = dict(inputs)
        asked = set(outputs)
        for node in self._nodes:
            if node.op_type in PRODUCTS:
                asked |= {node.input[PRODUCTS[node.op_type][0]], node.output[0]}
            elif node.op_type == "Gather":
                asked.add(node.input[1])
        self._values |= _run(path, model, inputs, sorted(asked & self._producers.keys()))

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return a value: an input, an initializer, or one of the run."""
        if name not in self._values:
            from onnx import numpy_helper

            self._values[name] = numpy_helper.to_array(self._initializers[name])
        return self._values[name]

    def multiply_adds(self) -> dict[str, int]:
        """Count the multiply-adds of all products of matrices, by precision."""
        counts: dict[str, int] = defaultdict(int)
        for node in self._nodes:
            if node.op_type in PRODUCTS:
                left = self.array(node.input[PRODUCTS[node.op_type][0]])
                counts[self._precision(node)] += self.array(node.output[0]).size * _depth(
                    node, left.shape
                )
        return dict(counts)

    def _precision(self, node: "NodeProto") -> str:
        place, precision = PRODUCTS[node.op_type]
        if precision:
            return precision
        if all(self._dequantized(name) for name in node.input[:2]):
            return INT8
        dtype = self.array(node.input[place]).dtype
        if dtype != np.float32:
            raise ArtifactError(
                f"{self._path.name}: {node.name} multiplies in {dtype}, whose peak rate is not "
                f"measured; {FLOAT32} and {INT8} are"
            )
        return FLOAT32

    def _dequantized(self, name: str) -> bool:
        while (node := self._producers.get(name)) and node.op_type in MOVING:
            name = node.input[0]
        return node is not None and node.op_type == "DequantizeLinear"

    def weight_bytes(self) -> int:
        """Count the bytes of initializers that must be read."""
        return sum(self._read_bytes(tensor) for tensor in self._initializers.values())

    def _read_bytes(self, tensor: "TensorProto") -> int:
        whole = len(tensor.raw_data) or self.array(tensor.name).nbytes
        read = 0
        for node, place in self._readers(tensor.name):
            if node.op_type != "Gather" or place != 0:
                return whole
            axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
            rows = tensor.dims[axis]
            asked = len(np.unique(self.array(node.input[1]) % rows))
            read += whole // rows * asked
        return min(whole, read)

    def _readers(self, name: str) -> Iterator[tuple["NodeProto", int]]:
        """Yield each node that reads a value or an equivalent row by row, and the input's place."""
        for node in self._nodes:
            for place, read in enumerate(node.input):
                if read == name and place == 0 and node.op_type in ROW_BY_ROW:
                    yield from self._readers(node.output[0])
                elif read == name:
                    yield node, place


def _depth(node: "NodeProto", left: tuple[int, ...]) -> int:
    """Return the number of products in a value of the result: the left factor's inner size."""
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    if not flags.get("transA"):
        return left[-1]
    return left[0] if flags.get("transBatchA") else left[-2]


def _run(path: Path, model: "ModelProto", inputs: Feeds, names: list[str]) -> Feeds:
    """Return values of one run with the unchanged graph of the file."""
    import onnx

    present = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    try:
        session = cpu_session(model.SerializeToString())
        return dict(zip(names, session.run(names, inputs), strict=True))
    except refusals() as error:
        raise ArtifactError(
            f"{path.name}: ONNX Runtime's CPU provider does not run it unchanged, so its cost "
            f"is unknown: {str(error).splitlines()[0]}"
        ) from error
