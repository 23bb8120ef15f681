"""ONNX operators written down one by one, with chosen linear layers and tables in INT8."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.tape import Tape

from ssept.variants.rewrite.folding import Array

OPSET = 18
IR_VERSION = 10  # the plain export's
# Unsigned, around this zero: products of two unsigned bytes overflow on no CPU.
ZERO_POINT = 128
LEVELS = 127  # on each side of it


class GraphBuilder:
    """A graph that grows by an operator at a time.

    An INT8 layer takes the range of its input anew in each call (DynamicQuantizeLinear), so that
    nothing has to be calibrated; ONNX Runtime joins its operators into one.

    Attributes:
        names: of all linear layers and tables written so far.
    """

    def __init__(self, int8: Collection[str] | None = ()) -> None:
        """Start with nothing.

        Args:
            int8: names of linear layers and tables to store and multiply in INT8, None for all;
                the others are in FP32.
        """
        self._int8 = int8
        self.names: list[str] = []
        self._tape = Tape()
        self._constants: dict[str, ir.Value] = {}
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []

    def input(self, name: str, *shape: str | int) -> ir.Value:
        """Add an input of the model, int64."""
        value = ir.val(name, dtype=ir.DataType.INT64, shape=shape)
        self._inputs.append(value)
        return value

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Add an operator, and return its output."""
        return self._tape.op(kind, list(inputs), attributes)

    def split(self, x: ir.Value, widths: Sequence[int]) -> Sequence[ir.Value]:
        """Split the columns of a value."""
        inputs = [x, self.integers(*widths)]
        return self._tape.op_multi_out("Split", inputs, {"axis": -1}, num_outputs=len(widths))

    def top(self, x: ir.Value, k: ir.Value, **attributes: Any) -> Sequence[ir.Value]:
        """Find the k largest numbers of each row of [B, n], and their columns."""
        return self._tape.op_multi_out("TopK", [x, k], {"axis": 1, **attributes}, num_outputs=2)

    def either(
        self, condition: ir.Value, then: Callable[[], ir.Value], other: Callable[[], ir.Value]
    ) -> ir.Value:
        """Compute one of two values, as a boolean says; only the chosen one's operators run.

        Args:
            condition: bool, without dimensions.
            then, other: add the operators. Constants that they use must be there before.
        """
        branches = {}
        outside = self._tape
        for name, add in (("then_branch", then), ("else_branch", other)):
            self._tape = Tape()
            value = add()
            for number, node in enumerate(self._tape.nodes):  # else numbered anew in each graph
                node.outputs[0].name = f"{name}_{number}"
            branches[name] = ir.Graph(
                [], [value], nodes=self._tape.nodes, name=name, opset_imports={"": OPSET}
            )
        self._tape = outside
        return self.op("If", condition, **branches)

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, *shape: int | str) -> None:
        """Add an output of the model behind the one that `model` names."""
        value.name, value.shape, value.dtype = name, ir.Shape(shape), dtype
        self._outputs.append(value)

    def constant(self, name: str, array: Array) -> ir.Value:
        """Add a float32 constant."""
        return self._constant(name, array.astype(np.float32))

    def scalar(self, number: int) -> ir.Value:
        """Add an int64 constant without dimensions."""
        return self._constant(f"scalar_{number}", np.array(number))

    def integers(self, *numbers: int) -> ir.Value:
        """Add an int64 constant of one dimension."""
        return self._constant("_".join(map(str, ("integers", *numbers))), np.array(numbers))

    def linear(
        self,
        name: str,
        x: ir.Value,
        weight: Array,
        bias: Array | None = None,
        *,
        plus: ir.Value | None = None,
        relu: bool = False,
        positions: ir.Value | None = None,
    ) -> ir.Value:
        """Add x·weight, + bias or another value.

        Args:
            name: of the layer.
            x: float32[B, in], or [B, L, in].
            weight, bias: float64[in, out] and [out].
            plus: float32[B, out] instead of a bias.
            relu: whether negative results become 0.
            positions: a value of shape [B, L], where x has both axes.
        """
        self.names.append(name)
        if self._is_int8(name):
            y = self._int8_product(name, x, *_quantized(weight, 0), bias)
            y = self.op("Add", y, plus) if plus is not None else y
            return self.op("Relu", y) if relu else y
        # As a Gemm, which takes two dimensions, the bias costs next to nothing and so does ReLU.
        inputs = [x if positions is None else self.op("Reshape", x, self.integers(-1, len(weight)))]
        inputs.append(self.constant(f"{name}.weight", weight))
        if plus is not None:
            inputs.append(plus)
        elif bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        y = self.op("Gemm", *inputs)
        y = self.op("Relu", y) if relu else y
        if positions is None:
            return y
        shape = self.op(
            "Concat", self.op("Shape", positions), self.integers(weight.shape[1]), axis=0
        )
        return self.op("Reshape", y, shape)

    def rows(self, name: str, table: Array, ids: ir.Value) -> ir.Value:
        """Look up rows of a table, float32[..., columns].

        Args:
            name: of the table, whose constant `products` shares.
            table: float64[rows, columns].
            ids: int64 of any shape.
        """
        self.names.append(name)
        if not self._is_int8(name):
            return self.op("Gather", self.constant(f"{name}.table", table), ids)
        quantized, scale = self._int8_table(name, table)
        rows = self.op("Gather", quantized, ids)
        return self.op("DequantizeLinear", rows, scale, self._zero_point())

    def products(
        self, name: str, x: ir.Value, table_name: str, table: Array, rows: int
    ) -> ir.Value:
        """Multiply with the first rows of a table, float32[B, rows].

        Args:
            name: of the layer.
            x: float32[B, columns].
            table_name, table: as for `rows`.
            rows: how many of the table's rows.
        """
        self.names.append(name)

        def columns(stored: ir.Value) -> ir.Value:  # runtimes do this once, when they load
            first = self.op(
                "Slice", stored, self.integers(0), self.integers(rows), self.integers(0)
            )
            return self.op("Transpose", first, perm=[1, 0])

        if not self._is_int8(name):
            return self.op("MatMul", x, columns(self.constant(f"{table_name}.table", table)))
        quantized, scale = self._int8_table(table_name, table)
        return self._scaled(x, columns(quantized), scale)

    def model(self, output: ir.Value, name: str, *shape: int | str) -> ir.Model:
        """All of it, with one float32 output of this name and shape."""
        output.name, output.shape, output.dtype = name, ir.Shape(shape), ir.DataType.FLOAT
        graph = ir.Graph(
            self._inputs,
            [output, *self._outputs],
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": OPSET},
            name="ssept",
        )
        return ir.Model(graph, ir_version=IR_VERSION)

    def _is_int8(self, name: str) -> bool:
        return self._int8 is None or name in self._int8

    def _constant(self, name: str, array: npt.NDArray[Any]) -> ir.Value:
        if name not in self._constants:
            tensor = ir.tensor(np.array(array, order="C"), name=name)
            self._constants[name] = self._tape.initializer(tensor)
        return self._constants[name]

    def _zero_point(self) -> ir.Value:
        return self._constant("zero_point", np.array(ZERO_POINT, dtype=np.uint8))

    def _int8_table(self, name: str, table: Array) -> tuple[ir.Value, ir.Value]:
        quantized, scale = _quantized(table, None)
        stored = self._constant(f"{name}.table_int8", quantized)
        return stored, self.constant(f"{name}.table_scale", scale)

    def _int8_product(
        self,
        name: str,
        x: ir.Value,
        weight: npt.NDArray[np.uint8],
        scale: Array,
        bias: Array | None,
    ) -> ir.Value:
        stored = self._constant(f"{name}.weight_int8", weight)
        y = self._scaled(x, stored, self.constant(f"{name}.weight_scale", scale))
        return y if bias is None else self.op("Add", y, self.constant(f"{name}.bias", bias))

    def _scaled(self, x: ir.Value, weight: ir.Value, scale: ir.Value) -> ir.Value:
        """Multiply x with an INT8 weight, in FP32."""
        return self.int8_product(self.int8_input(x), weight, scale)

    def int8_input(self, x: ir.Value) -> Sequence[ir.Value]:
        """Quantize a value by its range: bytes, their scale and their zero point."""
        return self._tape.op_multi_out("DynamicQuantizeLinear", [x], num_outputs=3)

    def int8_product(self, x: Sequence[ir.Value], weight: ir.Value, scale: ir.Value) -> ir.Value:
        """Multiply what `int8_input` gave with bytes around ZERO_POINT and their scale, in FP32."""
        x_int8, x_scale, x_zero = x
        product = self.op("MatMulInteger", x_int8, weight, x_zero, self._zero_point())
        product = self.op("Cast", product, to=ir.DataType.FLOAT)
        return self.op("Mul", product, self.op("Mul", x_scale, scale))

    def int8_constant(self, name: str, array: npt.NDArray[np.uint8]) -> ir.Value:
        """Add a constant of bytes."""
        return self._constant(name, array)


def _quantized(array: Array, axis: int | None) -> tuple[npt.NDArray[np.uint8], Array]:
    """Unsigned bytes around ZERO_POINT and their scale, one for all or one along an axis each."""
    scale = np.abs(array).max(axis=axis) / LEVELS
    scale = np.where(scale > 0, scale, 1.0)
    return (np.round(array / scale) + ZERO_POINT).astype(np.uint8), scale
