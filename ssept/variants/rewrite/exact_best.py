"""The best items by all scores in FP32, of which only few are computed.

Scores in INT8 say where the best can be. Row x̂ of the INT8 table differs from row x, and the
quantized state ŝ from the state s, so that by the Cauchy-Schwarz inequality

    |s·x - ŝ·x̂| <= |s|·|x - x̂| + |s - ŝ|·|x̂|

No score lies farther from its INT8 one than that with the largest |x - x̂| and |x̂| of the table. So
when the k-th best of the scores that were computed exactly is above the largest INT8 score of all
others by more, the k best are known. Else the graph says that they are not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ssept.artifacts import EXCLUDE, TOPK_IDS, TOPK_SCORES, K
from ssept.variants.rewrite.builder import LEVELS, ZERO_POINT, GraphBuilder
from ssept.variants.rewrite.folding import Array

BLOCK = 32  # scores, of which the largest is looked at first
ROOM = 118  # items that are scored exactly beside the k best and those that are left out
LEAST_SUM = 168  # products, for which it is reckoned with at least
ROUNDING = 2.0**-24  # of float32, for each product in a sum, as a share of |s|·|x|


@dataclass(frozen=True)
class Table:
    """An item table and its INT8 form.

    Attributes:
        columns: uint8[w, R], around ZERO_POINT; R is a multiple of BLOCK, and what is behind the
            items is ZERO_POINT.
        scale: of the bytes.
        error: the largest distance of a row from its INT8 form.
        length: the largest length of a row's INT8 form.
        items: rows of items, 1…N.
    """

    columns: npt.NDArray[np.uint8]
    scale: float
    error: float
    length: float
    items: int


def quantized(table: Array, items: int) -> Table:
    """Quantize rows 0…N of a table, float64[any, w], by one scale."""
    rows = table[: items + 1]
    scale = float(np.float32(np.abs(rows).max() / LEVELS)) or 1.0  # as it is stored
    steps = np.round(rows / scale)
    distances = np.linalg.norm(rows - steps * scale, axis=1)
    lengths = np.linalg.norm(steps * scale, axis=1)
    behind = -len(rows) % BLOCK
    stored = np.pad(steps + ZERO_POINT, ((0, behind), (0, 0)), constant_values=ZERO_POINT)
    columns = np.ascontiguousarray(stored.astype(np.uint8).T)
    return Table(columns, scale, float(distances.max()), float(lengths.max()), items)


class ExactBestBuilder(GraphBuilder):
    """A graph whose scores, in FP32, have the best of them beside them."""

    def products(
        self, name: str, x: ir.Value, table_name: str, table: Array, rows: int
    ) -> ir.Value:
        """Multiply as `GraphBuilder.products`, and find the best."""
        stored = self.constant(f"{table_name}.table", table)
        k = find_best(self, x, stored, quantized(table, rows - 1))
        # ONNX Runtime computes what nobody asks for, so all scores are a branch of their own.
        everything = self.op("Equal", self.op("Squeeze", k), self.scalar(0))
        shape = self.integers(0, rows)
        self.integers(rows)  # which the branch uses
        product = super().products
        return self.either(
            everything,
            lambda: product(name, x, table_name, table, rows),
            lambda: self.op("ConstantOfShape", shape),
        )


def find_best(graph: GraphBuilder, state: ir.Value, rows: ir.Value, table: Table) -> ir.Value:
    """Add inputs `k` and `exclude` and outputs `topk_ids` and `topk_scores` as `topk.append` does.

    A user whose best are not known has ids of 0. All scores are given only where `k` is 0.

    Args:
        graph: to add to.
        state: float32[B, w].
        rows: the table in FP32, float32[at least N + 1, w].
        table: its INT8 form.

    Returns:
        the input `k`.
    """
    op, integers = graph.op, graph.integers
    k, exclude = graph.input(K, 1), graph.input(EXCLUDE, "batch", "excluded")
    wide = table.columns.shape[1]
    first, margin = _approximate(graph, state, table)
    excluded = op("Shape", exclude, start=1, end=2)
    wanted = op("Add", op("Add", k, excluded), integers(ROOM))
    wanted = op("Min", wanted, integers(wide))
    # The largest of each block first: what is among the best n lies in the n best blocks.
    blocks = op("Reshape", first, integers(0, wide // BLOCK, BLOCK))
    largest = op("ReduceMax", blocks, integers(2), keepdims=0)
    _, kept = graph.top(largest, op("Min", wanted, integers(wide // BLOCK)))
    inside = op("GatherND", blocks, op("Unsqueeze", kept, integers(2)), batch_dims=1)
    inside = op("Reshape", inside, integers(0, -1))
    wanted = op("Min", wanted, op("Shape", inside, start=1, end=2))
    values, places = graph.top(inside, wanted)
    ids = op("Add", _block_start(graph, kept, places), op("Mod", places, integers(BLOCK)))
    # In the order of their ids, so that the first of equal scores is the one of the smallest.
    ids, _ = graph.top(ids, wanted, largest=0)
    some = op("Gather", rows, op("Min", ids, integers(table.items)))
    exact = op("Squeeze", op("MatMul", some, op("Unsqueeze", state, integers(2))), integers(2))
    worst = graph.constant("worst", np.array(-np.inf))
    exact = op("Where", _unwanted(graph, ids, exclude, table), worst, exact)
    scores, at = graph.top(exact, k)
    largest_of_others = op("Add", _last(graph, values), margin)
    known = op("Greater", _last(graph, scores), largest_of_others)
    known = op("Or", known, op("GreaterOrEqual", wanted, integers(wide)))  # all were computed
    ids = op("Mul", op("GatherElements", ids, at, axis=1), op("Cast", known, to=ir.DataType.INT64))
    graph.output(ids, TOPK_IDS, ir.DataType.INT64, "batch", K)
    graph.output(scores, TOPK_SCORES, ir.DataType.FLOAT, "batch", K)
    return k


def _approximate(graph: GraphBuilder, state: ir.Value, table: Table) -> tuple[ir.Value, ir.Value]:
    """INT8 scores float32[B, R], and what they may differ by, float32[B, 1]."""
    op = graph.op
    small = graph.int8_input(state)
    again = op("DequantizeLinear", *small)
    columns = graph.int8_constant("items.columns_int8", table.columns)
    scale = graph.constant("items.scale", np.array(table.scale))
    scores = graph.int8_product(small, columns, scale)
    axis = graph.integers(1)
    lost = op("ReduceL2", op("Sub", state, again), axis, keepdims=1)
    length = op("ReduceL2", state, axis, keepdims=1)
    rounding = max(len(table.columns), LEAST_SUM) * ROUNDING * (table.length + table.error)
    of_table = np.array([[table.error + rounding]])
    margin = op(
        "Add",
        op("Mul", length, graph.constant("items.error", of_table)),
        op("Mul", lost, graph.constant("items.length", np.array([[table.length]]))),
    )
    return scores, margin


def _block_start(graph: GraphBuilder, kept: ir.Value, places: ir.Value) -> ir.Value:
    """Find the first id of the block that each place among the kept blocks lies in."""
    width = graph.integers(BLOCK)
    block = graph.op("GatherElements", kept, graph.op("Div", places, width), axis=1)
    return graph.op("Mul", block, width)


def _unwanted(graph: GraphBuilder, ids: ir.Value, exclude: ir.Value, table: Table) -> ir.Value:
    """Which ids are left out, or are behind the items: bool[B, n]."""
    op, axis = graph.op, graph.integers(2)
    same = op("Equal", op("Unsqueeze", ids, axis), op("Unsqueeze", exclude, graph.integers(1)))
    # As bytes: of booleans there is no largest before opset 20.
    left_out = op("ReduceMax", op("Cast", same, to=ir.DataType.UINT8), axis, keepdims=0)
    no_item = op(
        "Or", op("Greater", ids, graph.integers(table.items)), op("Less", ids, graph.integers(1))
    )
    return op("Or", op("Cast", left_out, to=ir.DataType.BOOL), no_item)


def _last(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Take the last column of [B, n], as [B, 1]."""
    end = graph.integers(np.iinfo(np.int64).max)
    return graph.op("Slice", x, graph.integers(-1), end, graph.integers(1))
