"""The inputs of the rewritten network: ids to embedded rows, and what they hide."""

import numpy as np

from ssept.artifacts import Signature
from ssept.model.network import MASKED, SSEPTConfig
from ssept.variants.rewrite.folding import Array, FoldedWeights, guarded_rows
from ssept.variants.rewrite.operators import ROW_AXIS, Operators, Value


class Inputs:
    """Users and sequences in a graph.

    Attributes:
        items: the ids of the sequence, int64[B, L].
        hidden_keys: what hides padding when it is added to scores, float32[B, 1, L].
        ones, zeros: float32[L].
    """

    def __init__(self, graph: Operators, config: SSEPTConfig, weights: FoldedWeights) -> None:
        """Declare the inputs of the graph."""
        self.graph = graph
        self.config = config
        self.weights = weights
        names = Signature()
        self.user = graph.input(names.user, "batch")
        self.sequence = graph.input(names.sequence, "batch", "length")
        # Minus the length: where the tables of positions start, counted from their end.
        self.start = graph.op("Neg", graph.op("Shape", self.sequence, start=1, end=2))
        self.items = self._guarded(self.sequence, config.items)
        self.ones = self._from_start("ones", np.ones(config.max_length))
        self.zeros = self._from_start("zeros", np.zeros(config.max_length))
        hidden = guarded_rows(np.eye(1, config.items + 1)[0] * MASKED)
        hidden_keys = graph.op("Gather", graph.constant("hidden_keys", hidden), self.items)
        self.hidden_keys = graph.op("Unsqueeze", hidden_keys, graph.integers(1))  # [B, 1, L]

    def _guarded(self, ids: Value, last: int) -> Value:
        """Ids whose rows are in `guarded_rows`: too large is the row behind, negative the last."""
        low, high = self.graph.scalar(-1), self.graph.scalar(last + 1)
        return self.graph.op("Clip", ids, low, high)

    def embedded(self) -> Value:
        """Add both halves of the input, float32[B, L, d]."""
        graph, config = self.graph, self.config
        users = graph.op("Unsqueeze", self._guarded(self.user, config.users), graph.integers(1))
        halves = []
        for name, ids, columns in (
            ("items", self.items, slice(0, config.item_dim)),
            ("users", users, slice(config.item_dim, None)),
        ):
            rows = graph.rows(name, self.weights.table(name), ids)
            positions = self._from_start(f"{name}.position", self.weights.positions[:, columns])
            halves.append(graph.op("Add", rows, positions))
        return graph.op("Concat", *halves, axis=ROW_AXIS)

    def _from_start(self, name: str, table: Array) -> Value:
        """Slice the rows of a table of positions for this length."""
        graph = self.graph
        return graph.op(
            "Slice",
            graph.constant(name, table),
            self.start,
            graph.integers(np.iinfo(np.int64).max),
            graph.integers(0),
        )

    def zero_at_padding(self, state: Value) -> Value:
        """Zero the state float32[B, d] where the last position is no item."""
        graph = self.graph
        is_item = guarded_rows(1 - np.eye(self.config.items + 1, 1))
        last = graph.op("Gather", self.items, graph.scalar(-1), axis=1)
        return graph.op("Mul", state, graph.op("Gather", graph.constant("is_item", is_item), last))

    def hide(self, scores: Value) -> Value:
        """Hide what is later, and padding, in attention scores [B, L·heads, L]."""
        graph, config = self.graph, self.config
        later = np.triu(np.full((config.max_length, config.max_length), MASKED), 1)
        starts = graph.op("Mul", self.start, graph.integers(config.heads, 1))
        end = np.iinfo(np.int64).max
        causal = graph.op(
            "Slice",
            graph.constant("later", np.repeat(later, config.heads, axis=0)),
            starts,
            graph.integers(end, end),
        )
        return graph.op("Add", graph.op("Add", scores, causal), self.hidden_keys)
