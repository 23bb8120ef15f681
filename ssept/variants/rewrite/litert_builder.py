"""The rewritten network in LiteRT's file format, operator by operator, for one length."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from ssept.variants.rewrite.folding import Array

IDENTIFIER = b"TFL3"
VERSION = 3  # of the format
LEVELS = 127  # of INT8 on each side of 0
FLOAT, INT = schema.TensorType.FLOAT32, schema.TensorType.INT32
TYPES = {"float32": FLOAT, "int32": INT, "int8": schema.TensorType.INT8}
# The first versions of the operators that take several batches, and INT8 weights.
PRODUCT_VERSION, INT8_PRODUCT_VERSION = 5, 9

Static = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        index: of the tensor.
        shape: with a batch of 1.
        turned: whether its last two axes are swapped, which a product does on its way.
    """

    index: int
    shape: tuple[int, ...]
    turned: bool = False


Value = Tensor | Static


class LiteRtBuilder:
    """A graph that grows by an operator at a time; what is known of its shapes is computed here.

    Its operators are called as in ONNX, so that `rewrite.graphs` writes both. Of its inputs, int32,
    the batch is free and the length is the longest; LiteRT has no int64 tables.

    An INT8 layer takes the range of each row of its input anew in each call.

    Attributes:
        names: of all linear layers and tables written so far.
    """

    def __init__(self, int8: Collection[str] | None, length: int) -> None:
        """Start with nothing.

        Args:
            int8: names of linear layers and tables to store and multiply in INT8, None for all.
            length: of the sequences.
        """
        self.names: list[str] = []
        self._int8 = int8
        self._length = length
        self._buffers = [schema.BufferT()]  # the first is empty by the format
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._inputs: list[Tensor] = []
        self._constants: dict[str, Tensor] = {}
        self._arrays: dict[int, npt.NDArray[np.float32]] = {}

    def input(self, name: str, *shape: str) -> Tensor:
        """Add an input of the model, int32."""
        sizes = [1, self._length][: len(shape)]
        self._inputs.append(self._tensor(name, sizes, INT, signature=[-1, *sizes[1:]]))
        return self._inputs[-1]

    def constant(self, name: str, array: Array) -> Tensor:
        """Add a float32 constant."""
        return self._constant(name, array.astype(np.float32))

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
        """x·weight, + bias or another value; arguments as of `GraphBuilder.linear`."""
        del positions
        self.names.append(name)
        added = None if bias is None else self.constant(f"{name}.bias", bias)
        stored = self._weight(f"{name}.weight", weight.T, 1, int8=self._is_int8(name))
        y = self._product(x, stored, added, int8=self._is_int8(name), relu=relu and plus is None)
        if plus is None:
            return y
        y = self._add(y, plus)
        return self._emit("RELU", [y], y.shape) if relu else y

    def rows(self, name: str, table: Array, ids: Tensor) -> Tensor:
        """Look up rows of a table, float32[..., columns]; arguments as of `GraphBuilder.rows`."""
        self.names.append(name)
        stored = self._weight(f"{name}.table", table, None, int8=self._is_int8(name))
        if not self._is_int8(name):
            return self._gather(stored, ids)
        flat = self._reshaped(ids, (int(np.prod(ids.shape)),))
        found = self._emit("EMBEDDING_LOOKUP", [flat, stored], (*flat.shape, table.shape[1]))
        return self._reshaped(found, (*ids.shape, table.shape[1]))

    def products(self, name: str, x: Tensor, table_name: str, table: Array, rows: int) -> Tensor:
        """Multiply with all rows of a table, which is stored once; those behind `rows` too."""
        del rows
        self.names.append(name)
        int8 = self._is_int8(table_name)
        stored = self._weight(f"{table_name}.table", table, None, int8=int8)
        return self._product(x, stored, None, int8=int8)

    def model(self, output: Tensor, name: str, *shape: int | str) -> bytes:
        """All of it as a file, with one float32 output of this name."""
        del shape
        self._tensors[output.index].name = name.encode()
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self._tensors, self._operators
        graph.inputs, graph.outputs = [each.index for each in self._inputs], [output.index]
        model = schema.ModelT()
        model.version, model.description, model.subgraphs = VERSION, b"ssept", [graph]
        model.operatorCodes, model.buffers = self._codes, self._buffers
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    # The operators of ONNX

    def _shape(self, x: Tensor, start: int, end: int) -> Static:
        return np.array(x.shape[start:end])

    def _neg(self, x: Static) -> Static:
        return -x

    def _clip(self, x: Tensor, low: Static, high: Static) -> Tensor:
        """Clip ids from -1 on; that one becomes the last row, which it means in ONNX."""
        y = self._emit("MINIMUM", [x, self._int(high)], x.shape, "MaximumMinimumOptions", kind=INT)
        y = self._emit("MAXIMUM", [y, self._int(low)], x.shape, "MaximumMinimumOptions", kind=INT)
        return self._emit("FLOOR_MOD", [y, self._int(high + 1)], x.shape, "FloorModOptions", INT)

    def _slice(self, x: Tensor, starts: Static, ends: Static, axes: Static | None = None) -> Tensor:
        axes = np.arange(len(starts)) if axes is None else axes
        if x.index not in self._arrays:
            ((start,), (end,), (axis,)) = starts, ends, axes
            return self._part(x, int(axis), int(start), int(end - start))
        array = self._arrays[x.index]
        for start, axis in zip(starts.tolist(), axes.tolist(), strict=True):
            array = np.take(array, np.arange(array.shape[axis])[start:], axis)
        return self._constant(f"{self._tensors[x.index].name.decode()}.{starts.tolist()}", array)

    def _gather(self, x: Tensor, at: Value, axis: int = 0) -> Tensor:
        if not isinstance(at, Tensor):
            place = int(at) % x.shape[axis]
            part = self._part(x, axis, place, 1)
            return self._reshaped(part, (*x.shape[:axis], *x.shape[axis + 1 :]))
        return self._emit("GATHER", [x, at], (*at.shape, *x.shape[1:]), "GatherOptions")

    def _unsqueeze(self, x: Tensor, axes: Static) -> Tensor:
        (axis,) = axes.tolist()
        return self._reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:]))

    def _reshape(self, x: Tensor, shape: Static) -> Tensor:
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())]
        rest = int(np.prod(x.shape)) // -int(np.prod(wanted))
        return self._reshaped(x, tuple(rest if size == -1 else size for size in wanted))

    def _transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        *others, row, column = x.shape
        del perm  # always of the last two axes
        return Tensor(x.index, (*others, column, row), not x.turned)

    def _matmul(self, x: Tensor, y: Tensor) -> Tensor:
        turned = {"adjX": x.turned, "adjY": y.turned}
        shape = (*x.shape[:-1], y.shape[-1])
        return self._emit("BATCH_MATMUL", [x, y], shape, "BatchMatMulOptions", **turned)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return self._emit("ADD", [x, y], np.broadcast_shapes(x.shape, y.shape), "AddOptions")

    def _mul(self, x: Any, y: Any) -> Any:
        if not isinstance(x, Tensor):
            return x * y
        return self._emit("MUL", [x, y], np.broadcast_shapes(x.shape, y.shape), "MulOptions")

    def _softmax(self, x: Tensor, axis: int) -> Tensor:
        del axis  # the last
        return self._emit("SOFTMAX", [x], x.shape, "SoftmaxOptions", beta=1.0)

    def _concat(self, *parts: Tensor, axis: int) -> Tensor:
        first = parts[0].shape
        shape = (*first[:-1], sum(part.shape[-1] for part in parts))
        return self._emit(
            "CONCATENATION", parts, shape, "ConcatenationOptions", axis=axis % len(first)
        )

    def _instancenormalization(
        self, x: Tensor, ones: Tensor, zeros: Tensor, epsilon: float
    ) -> Tensor:
        """Rows of mean 0 and variance 1."""
        del ones, zeros
        mean = self._mean(x)
        distance = self._emit("SUB", [x, mean], x.shape, "SubOptions")
        square = self._emit("SQUARED_DIFFERENCE", [x, mean], x.shape, "SquaredDifferenceOptions")
        variance = self._add(self._mean(square), self.constant("epsilon", np.array([epsilon])))
        normal: Tensor = self._mul(distance, self._emit("RSQRT", [variance], variance.shape))
        return normal

    def _layernormalization(
        self, x: Tensor, gain: Tensor, bias: Tensor, axis: int, epsilon: float
    ) -> Tensor:
        del axis
        normal = self._instancenormalization(x, gain, bias, epsilon)
        return self._add(self._mul(normal, gain), bias)

    # Those of LiteRT

    def _emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        options: str = "",
        kind: int = FLOAT,
        version: int = 1,
        **values: Any,
    ) -> Tensor:
        """Add an operator with the values of its options."""
        name = f"value_{len(self._tensors)}"
        output = self._tensor(name, shape, kind, signature=[-1, *shape[1:]])
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, code), version)
        operator.inputs = [-1 if each is None else each.index for each in inputs]
        operator.outputs = [output.index]
        if options:
            made = getattr(schema, f"{options}T")()
            for name, value in values.items():
                setattr(made, name, value)
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = made
        self._operators.append(operator)
        return output

    def _code(self, code: int, version: int) -> int:
        for index, known in enumerate(self._codes):
            if (known.builtinCode, known.version) == (code, version):
                return index
        made = schema.OperatorCodeT()
        made.builtinCode, made.version = code, version
        made.deprecatedBuiltinCode = min(code, 127)  # a byte, which older readers look at
        self._codes.append(made)
        return len(self._codes) - 1

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
        return self._emit(
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
        axis = self._ints(len(x.shape) - 1)
        return self._emit("MEAN", [x, axis], (*x.shape[:-1], 1), "ReducerOptions", keepDims=True)

    def _part(self, x: Tensor, axis: int, start: int, size: int) -> Tensor:
        """Take a range of one axis; of the batch, all."""
        begin, sizes = [0] * len(x.shape), [-1, *x.shape[1:]]
        begin[axis], sizes[axis] = start, size
        shape = (x.shape[0], *sizes[1:])
        kind = self._tensors[x.index].type
        inputs = [x, self._ints(*begin), self._ints(*sizes)]
        return self._emit("SLICE", inputs, shape, "SliceOptions", kind=kind)

    def _reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        sizes, kind = [-1, *shape[1:]], self._tensors[x.index].type
        inputs = [x, self._ints(*sizes)]
        return self._emit("RESHAPE", inputs, shape, "ReshapeOptions", kind=kind, newShape=sizes)

    # What is stored

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
        return self._constant(name, np.round(array / scale).astype(np.int8), quantization)

    def _int(self, number: Static) -> Tensor:
        return self._constant(f"int_{number}", number.astype(np.int32))

    def _ints(self, *numbers: int) -> Tensor:
        return self._constant("_".join(map(str, ("ints", *numbers))), np.array(numbers, np.int32))

    def _constant(self, name: str, array: npt.NDArray[Any], quantization: Any = None) -> Tensor:
        if name not in self._constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            self._buffers.append(buffer)
            kind, place = TYPES[array.dtype.name], len(self._buffers) - 1
            made = self._tensor(name, array.shape, kind, place, quantization=quantization)
            self._constants[name] = made
            if kind == FLOAT:
                self._arrays[made.index] = array
        return self._constants[name]

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        buffer: int = 0,
        signature: Sequence[int] | None = None,
        quantization: Any = None,
    ) -> Tensor:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), [*shape], kind, buffer
        made.shapeSignature, made.quantization = signature, quantization
        self._tensors.append(made)
        return Tensor(len(self._tensors) - 1, tuple(shape))
