"""What a file format's builder offers to the rewritten network."""

from collections.abc import Sequence
from typing import Any, Protocol

from ssept.variants.rewrite.folding import Array

ROW_AXIS = -1  # of the numbers in a row

Value = Any  # what an operator gives, of the builder's own kind


class Operators(Protocol):
    """A graph that grows by an operator at a time, in the words of ONNX; see `GraphBuilder`."""

    def input(self, name: str, *shape: str) -> Value:
        """Add an input of the model."""

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """Add an operator, and return its output."""

    def split(self, x: Value, widths: Sequence[int]) -> Sequence[Value]:
        """Split the columns of a value."""

    def constant(self, name: str, array: Array) -> Value:
        """Add a float32 constant."""

    def scalar(self, number: int) -> Value:
        """Return an integer without dimensions."""

    def integers(self, *numbers: int) -> Value:
        """Return integers of one dimension."""

    def linear(
        self,
        name: str,
        x: Value,
        weight: Array,
        bias: Array | None = None,
        *,
        plus: Value | None = None,
        relu: bool = False,
        positions: Value | None = None,
    ) -> Value:
        """Add a linear layer."""

    def rows(self, name: str, table: Array, ids: Value) -> Value:
        """Look up rows of a table."""

    def products(self, name: str, x: Value, table_name: str, table: Array, rows: int) -> Value:
        """Multiply with the first rows of a table; a builder may leave others behind them."""

    def model(self, output: Value, name: str, *shape: int | str) -> Any:
        """All of it, with one float32 output of this name and shape."""
