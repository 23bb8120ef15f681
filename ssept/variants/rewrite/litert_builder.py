"""The rewritten network in LiteRT's file format, operator by operator, for one length."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from ssept.variants.rewrite.folding import Array
from ssept.variants.rewrite.litert_best import BLOCK, find_best
from ssept.variants.rewrite.litert_file import INT, LiteRtFile, Tensor

# The first versions of the operators that take several batches, and INT8 weights.
PRODUCT_VERSION, INT8_PRODUCT_VERSION = 5, 9
LEVELS = 127  # of INT8 on each side of 0

Static = npt.NDArray[np.int64]


Value = Tensor | Static


class LiteRtBuilder(LiteRtFile):
    """A graph that grows by an operator at a time; what is known of its shapes is computed here.

    Its operators are called as in ONNX, so that `rewrite.graphs` writes both. Of its inputs, int32,
    the batch is free and the length is the longest; LiteRT has no int64 tables.

    An INT8 layer takes the range of each row of its input anew in each call.

    Attributes:
        names: of all linear layers and tables written so far.
    """

    def __init__(self, int8: Collection[str] | None, length: int, *, topk: bool = False) -> None:
        """Start with nothing.

        Args:
            int8: names of linear layers and tables to store and multiply in INT8, None for all.
            length: of the sequences.
            topk: whether to find the best items too.
        """
        super().__init__()
        self.names: list[str] = []
        self._int8 = int8
        self._length = length
        self._topk = topk

    def input(self, name: str, *shape: str) -> Tensor:
        """Add an input of the model, int32."""
        sizes = [1, self._length][: len(shape)]
        self.inputs.append(self.tensor(name, sizes, INT, signature=[-1, *sizes[1:]]))
        return self.inputs[-1]

    def constant(self, name: str, array: Array) -> Tensor:
        """Add a float32 constant."""
        return self.stored(name, array.astype(np.float32))

    def scalar(self, number: int) -> Static:
        """Return a number for an operator."""
        return np.array(number)

    def integers(self, *numbers: int) -> Static:
        """Return numbers for an operator."""
        return np.array(numbers)

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Any:
        """Add an operator of ONNX, and return its output."""
        return getattr(self, f"_{kind.lower()}")(*inputs, **attributes)

    def split(self, x: Tensor, widths: Sequence[int]) -> list[Tensor]:
        """Split the columns of a value."""
        ends = np.cumsum(widths).tolist()
        return [
            self._part(x, len(x.shape) - 1, end - width, width)
            for end, width in zip(ends, widths, strict=True)
        ]

    def linear(
        self,
        name: str,
        x: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        plus: Tensor | None = None,
        relu: bool = False,
        positions: Any = None,
    ) -> Tensor:
        """Add x·weight, + bias or another value; arguments as of `GraphBuilder.linear`."""
        del positions
        self.names.append(name)
        added = None if bias is None else self.constant(f"{name}.bias", bias)
        stored = self._weight(f"{name}.weight", weight.T, 1, int8=self._is_int8(name))
        y = self._product(x, stored, added, int8=self._is_int8(name), relu=relu and plus is None)
        if plus is None:
            return y
        y = self._add(y, plus)
        return self.emit("RELU", [y], y.shape) if relu else y

    def rows(self, name: str, table: Array, ids: Tensor) -> Tensor:
        """Look up rows of a table, float32[..., columns]; arguments as of `GraphBuilder.rows`."""
        self.names.append(name)
        stored = self._table(name, table)
        if not self._is_int8(name):
            return self._gather(stored, ids)
        flat = self.reshaped(ids, (int(np.prod(ids.shape)),))
        found = self.emit("EMBEDDING_LOOKUP", [flat, stored], (*flat.shape, table.shape[1]))
        return self.reshaped(found, (*ids.shape, table.shape[1]))

    def products(self, name: str, x: Tensor, table_name: str, table: Array, rows: int) -> Tensor:
        """Multiply with all rows of a table, which is stored once.

        The first row, of the padding, and those behind `rows` are no item's. Where the best are
        found, their scores are the least that there are.
        """
        self.names.append(name)
        int8 = self._is_int8(table_name)
        stored = self._table(table_name, table)
        least = None
        if self._topk:
            places = np.arange(stored.shape[0])
            bias = np.where((places > 0) & (places < rows), 0.0, np.finfo(np.float32).min)
            least = self.constant(f"{name}.bias", bias)
        return self._product(x, stored, least, int8=int8)

    def model(self, output: Tensor, name: str, *shape: int | str) -> bytes:
        """All of it as a file, with one float32 output of this name.

        With the best items: also with an input `k` int32[1], and outputs `topk_scores`
        float32[batch, k] and `topk_ids` int32[batch, k].
        """
        del shape
        self.tensors[output.index].name = name.encode()
        outputs = [output, *(find_best(self, output) if self._topk else ())]
        return self.packed(outputs)

    # The operators of ONNX

    def _shape(self, x: Tensor, start: int, end: int) -> Static:
        return np.array(x.shape[start:end])

    def _neg(self, x: Static) -> Static:
        return -x

    def _clip(self, x: Tensor, low: Static, high: Static) -> Tensor:
        """Clip ids from -1 on; that one becomes the last row, which it means in ONNX."""
        y = self.emit(
            "MINIMUM", [x, self.integer(high)], x.shape, "MaximumMinimumOptions", kind=INT
        )
        y = self.emit("MAXIMUM", [y, self.integer(low)], x.shape, "MaximumMinimumOptions", kind=INT)
        return self.emit("FLOOR_MOD", [y, self.integer(high + 1)], x.shape, "FloorModOptions", INT)

    def _slice(self, x: Tensor, starts: Static, ends: Static, axes: Static | None = None) -> Tensor:
        axes = np.arange(len(starts)) if axes is None else axes
        if x.index not in self.arrays:
            ((start,), (end,), (axis,)) = starts, ends, axes
            return self._part(x, int(axis), int(start), int(end - start))
        array = self.arrays[x.index]
        for start, axis in zip(starts.tolist(), axes.tolist(), strict=True):
            array = np.take(array, np.arange(array.shape[axis])[start:], axis)
        return self.stored(f"{self.tensors[x.index].name.decode()}.{starts.tolist()}", array)

    def _gather(self, x: Tensor, at: Value, axis: int = 0) -> Tensor:
        if not isinstance(at, Tensor):
            place = int(at) % x.shape[axis]
            part = self._part(x, axis, place, 1)
            return self.reshaped(part, (*x.shape[:axis], *x.shape[axis + 1 :]))
        return self.emit("GATHER", [x, at], (*at.shape, *x.shape[1:]), "GatherOptions")

    def _unsqueeze(self, x: Tensor, axes: Static) -> Tensor:
        (axis,) = axes.tolist()
        return self.reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:]))

    def _reshape(self, x: Tensor, shape: Static) -> Tensor:
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())]
        rest = int(np.prod(x.shape)) // -int(np.prod(wanted))
        return self.reshaped(x, tuple(rest if size == -1 else size for size in wanted))

    def _transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        *others, row, column = x.shape
        del perm  # always of the last two axes
        return Tensor(x.index, (*others, column, row), not x.turned)

    def _matmul(self, x: Tensor, y: Tensor) -> Tensor:
        turned = {"adjX": x.turned, "adjY": y.turned}
        shape = (*x.shape[:-1], y.shape[-1])
        return self.emit("BATCH_MATMUL", [x, y], shape, "BatchMatMulOptions", **turned)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return self.emit("ADD", [x, y], np.broadcast_shapes(x.shape, y.shape), "AddOptions")

    def _mul(self, x: Any, y: Any) -> Any:
        if not isinstance(x, Tensor):
            return x * y
        return self.emit("MUL", [x, y], np.broadcast_shapes(x.shape, y.shape), "MulOptions")

    def _softmax(self, x: Tensor, axis: int) -> Tensor:
        del axis  # the last
        return self.emit("SOFTMAX", [x], x.shape, "SoftmaxOptions", beta=1.0)

    def _concat(self, *parts: Tensor, axis: int) -> Tensor:
        first = parts[0].shape
        shape = (*first[:-1], sum(part.shape[-1] for part in parts))
        return self.emit(
            "CONCATENATION", parts, shape, "ConcatenationOptions", axis=axis % len(first)
        )

    def _instancenormalization(
        self, x: Tensor, ones: Tensor, zeros: Tensor, epsilon: float
    ) -> Tensor:
        """Rows of mean 0 and variance 1."""
        del ones, zeros
        mean = self._mean(x)
        distance = self.emit("SUB", [x, mean], x.shape, "SubOptions")
        square = self.emit("SQUARED_DIFFERENCE", [x, mean], x.shape, "SquaredDifferenceOptions")
        variance = self._add(self._mean(square), self.constant("epsilon", np.array([epsilon])))
        normal: Tensor = self._mul(distance, self.emit("RSQRT", [variance], variance.shape))
        return normal

    def _layernormalization(
        self, x: Tensor, gain: Tensor, bias: Tensor, axis: int, epsilon: float
    ) -> Tensor:
        del axis
        normal = self._instancenormalization(x, gain, bias, epsilon)
        return self._add(self._mul(normal, gain), bias)

    # Those of LiteRT

    def _product(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        int8: bool,
        relu: bool = False,
    ) -> Tensor:
        activation = schema.ActivationFunctionType
        return self.emit(
            "FULLY_CONNECTED",
            [x, weight, bias],
            (*x.shape[:-1], weight.shape[0]),
            "FullyConnectedOptions",
            version=INT8_PRODUCT_VERSION if int8 else PRODUCT_VERSION,
            keepNumDims=True,
            asymmetricQuantizeInputs=int8,
            fusedActivationFunction=activation.RELU if relu else activation.NONE,
        )

    def _mean(self, x: Tensor) -> Tensor:
        axis = self.ints(len(x.shape) - 1)
        return self.emit("MEAN", [x, axis], (*x.shape[:-1], 1), "ReducerOptions", keepDims=True)

    def _part(self, x: Tensor, axis: int, start: int, size: int) -> Tensor:
        """Take a range of one axis; of the batch, all."""
        begin, sizes = [0] * len(x.shape), [-1, *x.shape[1:]]
        begin[axis], sizes[axis] = start, size
        shape = (x.shape[0], *sizes[1:])
        kind = self.tensors[x.index].type
        inputs = [x, self.ints(*begin), self.ints(*sizes)]
        return self.emit("SLICE", inputs, shape, "SliceOptions", kind=kind)

    # What is stored

    def _table(self, name: str, table: Array) -> Tensor:
        """Store a table, whose rows fill whole blocks where the best are found."""
        more = -len(table) % BLOCK if self._topk else 0
        padded = np.pad(table, ((0, more), (0, 0)))
        return self._weight(f"{name}.table", padded, None, int8=self._is_int8(name))

    def _is_int8(self, name: str) -> bool:
        return self._int8 is None or name in self._int8

    def _weight(self, name: str, array: Array, axis: int | None, *, int8: bool) -> Tensor:
        """Store float64[out, in]; in INT8 with one scale, or one for each row if axis is 1."""
        if not int8:
            return self.constant(name, array)
        scale = np.abs(array).max(axis=axis, keepdims=True) / LEVELS
        scale = np.where(scale > 0, scale, 1.0)
        quantization = schema.QuantizationParametersT()
        quantization.scale = scale.ravel().tolist()
        quantization.zeroPoint = [0] * scale.size
        return self.stored(name, np.round(array / scale).astype(np.int8), quantization)
