"""The rewritten network as operators of torch, written by the same code as its ONNX graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssept.variants.rewrite.folding import Array

WIDTH_OF = 16  # a multiple of which rows have: matrix units and vector loads are slow with others
Place = int  # of a value among those of a call


@dataclass(frozen=True)
class Step:
    """One operator of a call: the places of its inputs and of its output."""

    function: Callable[..., Any]
    inputs: tuple[Place, ...]
    output: Place


class Rewritten(nn.Module):
    """The network up to its last state; the scores are products of that with `items`.

    Args:
        steps: the operators in their order.
        constants: tensors and integers by their places.
        inputs: the places of user and sequence.
        output: the place of the state.
        items, rows: the place of the table whose first rows the state is to be multiplied with.

    Attributes:
        items: those rows, [N + 1, w], padded with zeros as the state is.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        constants: dict[Place, Any],
        inputs: Sequence[Place],
        output: Place,
        items: Place,
        rows: int,
    ) -> None:
        super().__init__()
        self._steps = tuple(steps)
        self._inputs = tuple(inputs)
        self._output = output
        self._static = {}
        self._tables = {}
        for place, value in constants.items():
            if isinstance(value, Tensor):
                self.register_buffer(f"constant_{place}", value, persistent=False)
                self._tables[place] = f"constant_{place}"
            else:
                self._static[place] = value
        table = getattr(self, self._tables[items])[:rows]
        self._behind = -table.shape[1] % WIDTH_OF
        self.items: Tensor
        self.register_buffer("items", functional.pad(table, (0, self._behind)), persistent=False)

    def forward(self, user: Tensor, sequence: Tensor) -> Tensor:
        """State of the last position: int64[B] and int64[B, L] to [B, w], w as of `items`."""
        values: dict[Place, Any] = dict(self._static)
        values |= {place: getattr(self, name) for place, name in self._tables.items()}
        values |= dict(zip(self._inputs, (user, sequence), strict=True))
        for step in self._steps:
            values[step.output] = step.function(*(values[place] for place in step.inputs))
        return functional.pad(values[self._output], (0, self._behind))


class TorchBuilder:
    """A list of torch's operators that grows by one at a time; see `Operators`.

    Its model ends before the scores, whose table it keeps apart.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._steps: list[Step] = []
        self._constants: dict[Place, Any] = {}
        self._named: dict[str, Place] = {}
        self._inputs: list[Place] = []
        self._places = 0
        self._items: tuple[Place, int] | None = None

    def input(self, name: str, *shape: str) -> Place:
        """Add an input, int64."""
        del name, shape
        self._inputs.append(self._place())
        return self._inputs[-1]

    def constant(self, name: str, array: Array) -> Place:
        """Add a float32 constant."""
        if name not in self._named:
            tensor = torch.from_numpy(array.astype(np.float32))
            self._named[name] = self._kept(tensor)
        return self._named[name]

    def scalar(self, number: int) -> Place:
        """Add an integer."""
        return self._kept(int(number))

    def integers(self, *numbers: int) -> Place:
        """Add integers."""
        return self._kept([int(number) for number in numbers])

    def op(self, kind: str, *inputs: Place, **attributes: Any) -> Place:
        """Add an operator of ONNX, and return its output."""
        function = _OPERATORS[kind]
        return self._step(lambda *values: function(*values, **attributes), *inputs)

    def split(self, x: Place, widths: Sequence[int]) -> Sequence[Place]:
        """Split the columns of a value."""
        ends = np.cumsum(widths).tolist()
        return [
            self._step(lambda values, a=end - width, b=end: values[..., a:b], x)
            for end, width in zip(ends, widths, strict=True)
        ]

    def linear(
        self,
        name: str,
        x: Place,
        weight: Array,
        bias: Array | None = None,
        *,
        plus: Place | None = None,
        relu: bool = False,
        positions: Place | None = None,
    ) -> Place:
        """x·weight, + bias or another value; arguments as of `GraphBuilder.linear`."""
        del positions
        inputs = [x, self.constant(f"{name}.weight", weight.T)]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        y = self._step(functional.linear, *inputs)
        y = self._step(torch.add, y, plus) if plus is not None else y
        return self._step(torch.relu, y) if relu else y

    def rows(self, name: str, table: Array, ids: Place) -> Place:
        """Look up rows of a table, [..., columns]; arguments as of `GraphBuilder.rows`."""
        return self._step(lambda values, at: values[at], self.constant(name, table), ids)

    def products(self, name: str, x: Place, table_name: str, table: Array, rows: int) -> Place:
        """Keep the first rows of the table for the scores, and end before them."""
        del name
        self._items = self.constant(table_name, table), rows
        return x

    def model(self, output: Place, name: str, *shape: int | str) -> Rewritten:
        """All of it, up to the state."""
        del name, shape
        assert self._items
        return Rewritten(self._steps, self._constants, self._inputs, output, *self._items)

    def _step(self, function: Callable[..., Any], *inputs: Place) -> Place:
        self._steps.append(Step(function, inputs, self._place()))
        return self._steps[-1].output

    def _kept(self, value: Any) -> Place:
        place = self._place()
        self._constants[place] = value
        return place

    def _place(self) -> Place:
        self._places += 1
        return self._places


def _shape(x: Tensor, start: int, end: int) -> list[int]:
    return list(x.shape[start:end])


def _slice(x: Any, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Any:
    for axis, start, end in zip(axes or range(len(starts)), starts, ends, strict=True):
        x = x.narrow(axis, start % x.shape[axis], min(end, x.shape[axis]) - start % x.shape[axis])
    return x


def _gather(x: Tensor, at: Any, axis: int = 0) -> Tensor:
    return x.select(axis, at) if isinstance(at, int) else x[at]


def _reshape(x: Tensor, shape: list[int]) -> Tensor:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _normalized(x: Tensor, ones: Tensor, zeros: Tensor, epsilon: float) -> Tensor:
    del ones, zeros
    return functional.layer_norm(x, x.shape[-1:], eps=epsilon)


def _normed(x: Tensor, gain: Tensor, bias: Tensor, axis: int, epsilon: float) -> Tensor:
    del axis
    return functional.layer_norm(x, x.shape[-1:], gain, bias, epsilon)


def _mul(x: Any, y: Any) -> Any:
    if isinstance(x, list):
        return [a * b for a, b in zip(x * (len(y) // len(x)), y, strict=True)]
    return x * y


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Shape": _shape,
    "Neg": lambda x: [-each for each in x],
    "Clip": lambda x, low, high: x.clamp(low, high),
    "Slice": _slice,
    "Gather": _gather,
    "Unsqueeze": lambda x, axes: x.unsqueeze(axes[0]),
    "Reshape": _reshape,
    "Transpose": lambda x, perm: x.permute(*perm),
    "Concat": lambda *parts, axis: torch.cat(parts, dim=axis),
    "MatMul": torch.matmul,
    "Add": torch.add,
    "Mul": _mul,
    "Softmax": lambda x, axis: torch.softmax(x, dim=axis),
    "InstanceNormalization": _normalized,
    "LayerNormalization": _normed,
}
