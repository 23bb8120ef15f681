"""A file of LiteRT: tensors, operators and what is stored, by the schema of the runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
VERSION = 3  # of the format
FLOAT, INT = schema.TensorType.FLOAT32, schema.TensorType.INT32
TYPES = {"float32": FLOAT, "int32": INT, "int8": schema.TensorType.INT8}


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


class LiteRtFile:
    """A model of one graph, which grows by an operator at a time.

    Attributes:
        tensors, operators: of the schema.
        inputs: of the graph.
        arrays: the float32 constants by their tensors.
    """

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]  # the first is empty by the format
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self._codes: list[Any] = []
        self.inputs: list[Tensor] = []
        self._constants: dict[str, Tensor] = {}
        self.arrays: dict[int, npt.NDArray[np.float32]] = {}

    def packed(self, outputs: Sequence[Tensor]) -> bytes:
        """Return the file."""
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self.tensors, self.operators
        graph.inputs = [each.index for each in self.inputs]
        graph.outputs = [each.index for each in outputs]
        model = schema.ModelT()
        model.version, model.description, model.subgraphs = VERSION, b"ssept", [graph]
        model.operatorCodes, model.buffers = self._codes, self._buffers
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def emit(
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
        name = f"value_{len(self.tensors)}"
        output = self.tensor(name, shape, kind, signature=[-1, *shape[1:]])
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
        self.operators.append(operator)
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

    def integer(self, number: npt.NDArray[np.int64]) -> Tensor:
        """Store an int32 without dimensions."""
        return self.stored(f"int_{number}", number.astype(np.int32))

    def ints(self, *numbers: int) -> Tensor:
        """Store int32 of one dimension."""
        return self.stored("_".join(map(str, ("ints", *numbers))), np.array(numbers, np.int32))

    def stored(self, name: str, array: npt.NDArray[Any], quantization: Any = None) -> Tensor:
        """Store an array once under its name."""
        if name not in self._constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            self._buffers.append(buffer)
            kind, place = TYPES[array.dtype.name], len(self._buffers) - 1
            made = self.tensor(name, array.shape, kind, place, quantization=quantization)
            self._constants[name] = made
            if kind == FLOAT:
                self.arrays[made.index] = array
        return self._constants[name]

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        buffer: int = 0,
        signature: Sequence[int] | None = None,
        quantization: Any = None,
    ) -> Tensor:
        """Add a tensor; a buffer of 0 is one that is computed or given."""
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), [*shape], kind, buffer
        made.shapeSignature, made.quantization = signature, quantization
        self.tensors.append(made)
        return Tensor(len(self.tensors) - 1, tuple(shape))

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Reshape all but the batch."""
        sizes, kind = [-1, *shape[1:]], self.tensors[x.index].type
        inputs = [x, self.ints(*sizes)]
        return self.emit("RESHAPE", inputs, shape, "ReshapeOptions", kind=kind, newShape=sizes)
