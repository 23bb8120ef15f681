"""The network's weights in float64, and the products of weights that the rewrite needs."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ssept.model.network import SSEPTConfig

Array = npt.NDArray[np.float64]


class FoldedWeights:
    """The weights of a network by the names of its layers.

    Attributes:
        positions: the positions' embeddings, float64[max_length, d].
    """

    def __init__(self, config: SSEPTConfig, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._dim, self._heads = config.dim, config.heads
        self.positions = weights["position.weight"]

    def table(self, name: str) -> Array:
        """Return the embeddings of "items" or "users", scaled as in the input, with guards."""
        table = self._weights[f"{name.removesuffix('s')}.weight"]
        return guarded_rows(table * math.sqrt(table.shape[1]))

    def linear(self, name: str) -> tuple[Array, Array]:
        """Return the weight float64[in, out] and the bias float64[out] of a linear layer."""
        return self._weights[f"{name}.weight"].T, self._weights[f"{name}.bias"]

    def norm(self, name: str) -> tuple[Array, Array]:
        """Return the gain and the bias of a norm, float64[d] each."""
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    def to_keys(self, name: str) -> tuple[Array, Array]:
        """From a normed row to what meets a block's raw input instead of keys.

        For each head Wq·Wkᵀ/√(d/heads), of the head's columns: float64[d, heads·d], and what the
        queries' bias becomes, float64[heads·d].
        """
        query, bias = self.linear(f"{name}.attention.query")
        key, _ = self.linear(f"{name}.attention.key")
        scale = 1 / math.sqrt(self._dim // self._heads)
        columns = [self._columns(head) for head in range(self._heads)]
        products = [query[:, own] @ key[:, own].T * scale for own in columns]
        offsets = [bias[own] @ key[:, own].T * scale for own in columns]
        return np.concatenate(products, axis=1), np.concatenate(offsets)

    def to_parts(self, weight: Array) -> Array:
        """From every head's query on x = parts·weight to its queries on the parts.

        Args:
            weight: float64[w, d].

        Returns:
            float64[heads·d, heads·w].
        """
        folded: Array = np.asarray(np.kron(np.eye(self._heads), weight.T), dtype=np.float64)
        return folded

    def per_head(self, value: Array, weight: Array) -> Array:
        """From every head's weighted sum of parts to the values side by side.

        Args:
            value: of the values' projection, float64[d, d].
            weight: of the parts, float64[w, d].

        Returns:
            float64[heads·w, d].
        """
        stacked = np.zeros((self._heads, len(weight), self._dim))
        for head in range(self._heads):
            own = self._columns(head)
            stacked[head][:, own] = weight @ value[:, own]
        return stacked.reshape(-1, self._dim)

    def _columns(self, head: int) -> slice:
        width = self._dim // self._heads
        return slice(head * width, (head + 1) * width)


def guarded_rows(table: Array) -> Array:
    """Repeat row 0 behind a table's last row, for ids that are clipped to -1 … rows."""
    return np.concatenate([table, table[:1]])
