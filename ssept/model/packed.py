"""The network over windows laid end to end: no padding is computed."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ssept.model.network import SSEPT, Attention, Block


def encode_packed(model: SSEPT, user: Tensor, items: Tensor, lengths: Sequence[int]) -> Tensor:
    """Compute the states of windows laid end to end, as `SSEPT.encode` does of padded ones.

    Windows of one length attend in one call, so neighbours should have the same length.

    Args:
        model: the network.
        user: int64[B].
        items: the vectors of the windows' items, float32[T, d_i]; no padding.
        lengths: the number of items of each window, B numbers whose sum is T.

    Returns:
        float32[T, d].
    """
    config = model.config
    counts = torch.tensor(lengths)
    window = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(items)) - (starts + counts - config.max_length)[window]
    x = items * math.sqrt(config.item_dim)
    if config.user_dim:
        # A lookup, not an index: the gradient of an index is an order of magnitude slower.
        users = functional.embedding(window, model.user(user) * math.sqrt(config.user_dim))
        x = torch.cat([x, users], dim=-1)
    x = model.dropout(x + model.position(place))
    groups = [(length, len(list(same))) for length, same in groupby(lengths)]
    for block in model.blocks:
        assert isinstance(block, Block)
        x = _block(block, x, groups)
    states: Tensor = model.norm(x)
    return states


def _block(block: Block, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
    normed = block.attention_norm(x)
    y = block.feed_forward_norm(_attention(block.attention, normed, x, groups) + normed)
    z: Tensor = block.feed_forward(y) + y
    return z


def _attention(
    attention: Attention, normed: Tensor, raw: Tensor, groups: list[tuple[int, int]]
) -> Tensor:
    """Attend within each window: groups of (length, number of windows)."""
    sizes = [length * count for length, count in groups]
    inputs = (attention.query(normed), attention.key(raw), attention.value(raw))
    dropped = attention.dropout.p if attention.training else 0.0
    attended = []
    for (length, count), *group in zip(groups, *(x.split(sizes) for x in inputs), strict=True):
        q, k, v = (x.view(count, length, attention.heads, -1).transpose(1, 2) for x in group)
        out = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=True)
        attended.append(out.transpose(1, 2).reshape(count * length, -1))
    return torch.cat(attended)


def scorer(model: SSEPT) -> Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Any]:
    """Wrap the network as a function of arrays: int64[B], int64[B, L] to float32[B, items+1].

    A row's items come after its padding; rows of a similar length do best side by side.
    """

    def scores(user: npt.NDArray[np.int64], sequence: npt.NDArray[np.int64]) -> Any:
        lengths = (sequence != 0).sum(1)
        order = np.argsort(lengths, kind="stable")
        last = np.cumsum(lengths[order]) - 1
        with torch.inference_mode():
            states = encode_packed(
                model,
                torch.from_numpy(user[order]),
                model.item(torch.from_numpy(sequence[order][sequence[order] != 0])),
                lengths[order].tolist(),
            )
            back = np.empty_like(order)
            back[order] = last
            item_states = states[torch.from_numpy(back), : model.config.item_dim]
            return (item_states @ model.item.weight.T).numpy()

    return scores
