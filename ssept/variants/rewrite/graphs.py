"""The network rewritten for inference: the same scores from fewer, larger operators.

Only the last position is asked for. So:

- The last block has one query, and everything linear around it moves to that query. Its keys need
  no projection, (n·Wq)(x·Wk)ᵀ = (n·Wq·Wkᵀ)·xᵀ; nor do its values, a·(x·Wv) = (a·x)·Wv; nor does
  the second layer of the feed-forward network before it, since x = y·G + r·F is linear in what
  that network's first layer leaves, r, and in the norm before it, y.
- What adds the same number to every key of a query drops out of the softmax: the bias of the keys
  and all constants in x. What adds the same row to every value comes out once, since the weights
  of a query sum to 1: the bias of the values and the same constants.
- Of a norm, only the normalised rows are computed; its gain and bias are folded into the linear
  layers behind it.
- Scores come from the item half of the state: the user's half of a candidate is the same for all.
- Padding is hidden as a key, so its rows may hold anything, and only a last position that is
  padding must be zeroed.

All folding is done in float64. Sequences shorter than `max_length` cost less; any number of blocks
and heads is possible, but a block before the last one projects queries to d columns for each head.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssept.artifacts import STATE, Signature
from ssept.model.network import LAYER_NORM_EPSILON, SSEPTConfig
from ssept.variants.rewrite.folding import Array, FoldedWeights
from ssept.variants.rewrite.inputs import Inputs
from ssept.variants.rewrite.operators import ROW_AXIS, Operators, Value


@dataclass(frozen=True)
class Part:
    """A summand of a block's input, x[j] = constant + the sum of part[j]·weight.

    Attributes:
        value: float32[B, L, w].
        weight: float64[w, d].
    """

    value: Value
    weight: Array


@dataclass(frozen=True)
class Parts:
    """A block's input that is not added up: float32[B, L, d] in parts."""

    parts: Sequence[Part]
    constant: Array

    @property
    def weight(self) -> Array:
        """The parts' weights one below the other, float64[sum of w, d]."""
        return np.concatenate([part.weight for part in self.parts])

    @property
    def width(self) -> int:
        """The sum of the parts' widths."""
        return len(self.weight)


def scores_graph(graph: Operators, config: SSEPTConfig, weights: Mapping[str, Array]) -> Any:
    """Build the rewritten network, a model from `user` and `sequence` to `scores`.

    Args:
        graph: what makes the operators, in its own precision.
        config: the network's sizes.
        weights: by their names in the network's state_dict, in float64.
    """
    return _Rewrite(graph, config, weights).scores_model()


def state_graph(graph: Operators, config: SSEPTConfig, weights: Mapping[str, Array]) -> Any:
    """Build it up to `state`, float32[B, item_dim]; products with the items' rows are scores.

    Args:
        graph, config, weights: as for `scores_graph`.
    """
    return _Rewrite(graph, config, weights).state_model()


class _Rewrite:
    def __init__(self, graph: Operators, config: SSEPTConfig, weights: Mapping[str, Array]) -> None:
        self.graph = graph
        self.config = config
        self.weights = FoldedWeights(config, weights)
        self.inputs = Inputs(graph, config, self.weights)

    def scores_model(self) -> Any:
        graph, config = self.graph, self.config
        # The item table is stored once, with the scale of the input: the state takes it back.
        state = self._state(1 / math.sqrt(config.item_dim))
        scores = graph.products(
            "scores", state, "items", self.weights.table("items"), config.items + 1
        )
        return graph.model(scores, Signature().scores, "batch", config.items + 1)

    def state_model(self) -> Any:
        return self.graph.model(self._state(1.0), STATE, "batch", self.config.item_dim)

    def _state(self, scale: float) -> Value:
        """Compute the item half of the last state times a scale, float32[B, item_dim]."""
        graph, config = self.graph, self.config
        x = Parts([Part(self.inputs.embedded(), np.eye(config.dim))], np.zeros(config.dim))
        for number in range(config.blocks - 1):
            x = self._block(f"blocks.{number}", self._added_up(f"blocks.{number}", x))
        state = self._last_block(f"blocks.{config.blocks - 1}", x)
        state = self.inputs.zero_at_padding(state)
        state = self._norm("norm", state, scale=scale)
        return graph.op(
            "Slice", state, graph.integers(0), graph.integers(config.item_dim), graph.integers(1)
        )

    # The blocks

    def _block(self, name: str, x: Value) -> Parts:
        """Add a block that is not the last: all positions, float32[B, L, d] to parts."""
        graph, heads, dim = self.graph, self.config.heads, self.config.dim
        gain, bias = self.weights.norm(f"{name}.attention_norm")
        normed = self._normalized(x)
        to_keys, offset = self.weights.to_keys(name)
        value, value_bias = self.weights.linear(f"{name}.attention.value")
        query = graph.linear(
            f"{name}.query",
            normed,
            gain[:, None] * to_keys,
            bias @ to_keys + offset,
            positions=self.inputs.items,
        )
        # A head's queries are rows between those of the others, so none is transposed.
        scores = graph.op("MatMul", self._rows(query, dim), self._transposed(x))
        weights = graph.op("Softmax", self.inputs.hide(scores), axis=-1)
        attended = self._rows(graph.op("MatMul", weights, x), heads * dim)
        y = graph.linear(
            f"{name}.value",
            attended,
            self.weights.per_head(value, np.eye(dim)),
            value_bias + bias,
            positions=self.inputs.items,
        )
        residual = graph.op("Mul", normed, graph.constant(f"{name}.attention_gain", gain))
        y = self._normalized(graph.op("Add", y, residual))
        gain, bias = self.weights.norm(f"{name}.feed_forward_norm")
        first, first_bias = self.weights.linear(f"{name}.feed_forward.0")
        second, second_bias = self.weights.linear(f"{name}.feed_forward.3")
        hidden = graph.linear(
            f"{name}.feed_forward",
            y,
            gain[:, None] * first,
            bias @ first + first_bias,
            relu=True,
            positions=self.inputs.items,
        )
        return Parts([Part(y, np.diag(gain)), Part(hidden, second)], bias + second_bias)

    def _added_up(self, name: str, x: Parts) -> Value:
        """Add up the input of a block to one value, float32[B, L, d]."""
        if len(x.parts) == 1:
            return x.parts[0].value
        y, hidden = x.parts
        gain = self.graph.constant(f"{name}.input_gain", np.diag(y.weight))
        product = self.graph.linear(
            f"{name}.input", hidden.value, hidden.weight, x.constant, positions=self.inputs.items
        )
        return self.graph.op("Add", product, self.graph.op("Mul", y.value, gain))

    def _last_block(self, name: str, x: Parts) -> Value:
        """Add the last block for the last position, parts of [B, L, d] to float32[B, d]."""
        graph, heads = self.graph, self.config.heads
        to_keys, offset = self.weights.to_keys(name)
        value, value_bias = self.weights.linear(f"{name}.attention.value")
        # Of the values, what is the same for every key; the norm's bias carries it.
        constant = value_bias + x.constant @ value
        normed = self._norm(f"{name}.attention_norm", self._last(name, x), more=constant)
        offset = offset - constant @ to_keys
        by_part = self.weights.to_parts(x.weight)
        query = graph.linear(f"{name}.query", normed, to_keys @ by_part, offset @ by_part)
        query = graph.op("Reshape", query, graph.integers(-1, heads, x.width))
        attended = self._attend(query, x)
        attended = graph.op("Reshape", attended, graph.integers(-1, heads * x.width))
        per_head = self.weights.per_head(value, x.weight)
        y = graph.linear(f"{name}.value", attended, per_head, plus=normed)
        first, first_bias = self.weights.linear(f"{name}.feed_forward.0")
        second, second_bias = self.weights.linear(f"{name}.feed_forward.3")
        y = self._norm(f"{name}.feed_forward_norm", y, more=second_bias)
        hidden = graph.linear(
            f"{name}.feed_forward", y, first, first_bias - second_bias @ first, relu=True
        )
        return graph.linear(f"{name}.output", hidden, second, plus=y)

    def _last(self, name: str, x: Parts) -> Value:
        """Compute the last row of a block's input, float32[B, d]."""
        graph = self.graph
        rows = [graph.op("Gather", part.value, graph.scalar(-1), axis=1) for part in x.parts]
        if len(rows) == 1:
            return rows[0]
        joined = graph.op("Concat", *rows, axis=ROW_AXIS)
        return graph.linear(f"{name}.input", joined, x.weight, x.constant)

    def _attend(self, query: Value, x: Parts) -> Value:
        """Compute the weighted sum of each part's rows, [B, heads, width] to the same shape."""
        graph = self.graph
        values = [part.value for part in x.parts]
        queries: Sequence[Value] = [query]
        if len(values) > 1:
            queries = graph.split(query, [len(part.weight) for part in x.parts])
        scores = self.inputs.hidden_keys
        for part, its_query in zip(values, queries, strict=True):
            product = graph.op("MatMul", its_query, self._transposed(part))
            scores = graph.op("Add", product, scores)
        weights = graph.op("Softmax", scores, axis=-1)
        sums = [graph.op("MatMul", weights, part) for part in values]
        return graph.op("Concat", *sums, axis=ROW_AXIS) if len(sums) > 1 else sums[0]

    # Operators

    def _rows(self, x: Value, width: int) -> Value:
        """[B, …] in rows of this width; nothing to do for one head."""
        if self.config.heads == 1:
            return x
        return self.graph.op("Reshape", x, self.graph.integers(0, -1, width))

    def _transposed(self, x: Value) -> Value:
        return self.graph.op("Transpose", x, perm=[0, 2, 1])

    def _normalized(self, x: Value) -> Value:
        """Rows [B, L, d] of mean 0 and variance 1.

        As an InstanceNormalization of L channels: ONNX Runtime's LayerNormalization adds up one
        number after the other and took 2.3 times as long (B = 64, L = 50, d = 100).
        """
        return self.graph.op(
            "InstanceNormalization",
            x,
            self.inputs.ones,
            self.inputs.zeros,
            epsilon=LAYER_NORM_EPSILON,
        )

    def _norm(
        self,
        name: str,
        x: Value,
        more: Array | float = 0.0,
        scale: float = 1.0,
    ) -> Value:
        """Normalise rows [B, d], times a scale, with more added to the bias."""
        gain, bias = self.weights.norm(name)
        return self.graph.op(
            "LayerNormalization",
            x,
            self.graph.constant(f"{name}.gain", gain * scale),
            self.graph.constant(f"{name}.bias", bias * scale + more),
            axis=ROW_AXIS,
            epsilon=LAYER_NORM_EPSILON,
        )
