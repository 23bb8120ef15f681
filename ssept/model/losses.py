"""Losses of next-item prediction, each a sum over positions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ssept.model.network import SSEPT

# Scores that are held at once, so that they fit a cache, and for how few positions at least.
SCORES, FEWEST_POSITIONS = 2**20, 16
TINY = 1e-30


def binary_cross_entropy(
    model: SSEPT, user: Tensor, states: Tensor, positives: Tensor, negatives: Tensor
) -> Tensor:
    """Compute the paper's loss: each positive against one sampled negative.

    A candidate's vector is [item; user * sqrt(d_u)]; the user's half shifts both logits alike,
    which matters to this loss though never to a ranking.

    Args:
        model: the network.
        user: of each position, int64[T].
        states: float32[T, d].
        positives, negatives: vectors of items, float32[T, d_i].
    """
    item_states = states[:, : model.config.item_dim]
    user_vector = model.user(user) * model.config.user_dim**0.5
    shift = (states[:, model.config.item_dim :] * user_vector).sum(-1)
    positive_logits = (item_states * positives).sum(-1) + shift
    negative_logits = (item_states * negatives).sum(-1) + shift
    return (functional.softplus(-positive_logits) + functional.softplus(negative_logits)).sum()


def cross_entropy(
    states: Tensor,
    positives: Tensor,
    wanted: Tensor,
    table: Tensor,
    row: Tensor,
    own: Sequence[tuple[int, Tensor]] = (),
) -> Tensor:
    """Compute the softmax cross-entropy of each positive over candidates.

    Scores are made for a few positions at a time, and their gradients with them: the memory does
    not grow with positions times items.

    Args:
        states: float32[T, d].
        positives: items, int64[T]. A positive always counts, a candidate or not.
        wanted: their vectors, float32[T, d_i].
        table: the vectors of the candidates, float32[n, d_i].
        row: of each item its row of `table`, or -1, int64[items + 1].
        own: items to leave out, beside the positive itself: for each run of positions their
            number and the items, int64[m]. Empty leaves none out.
    """
    item_states = states[:, : table.shape[1]]
    loss: Tensor = _SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        item_states, table, (item_states * wanted).sum(-1), row[positives], _hidden(row, own)
    )
    return loss


def _hidden(row: Tensor, own: Sequence[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """Return `own` with the rows of its items instead of these; those without one are left out."""
    if not own:
        return []
    rows = row[torch.cat([items for _, items in own])]
    run = torch.repeat_interleave(torch.tensor([len(items) for _, items in own]))
    present = rows >= 0
    sizes = run[present].bincount(minlength=len(own)).tolist()
    runs = torch.split(rows[present], sizes)
    return [(count, columns) for (count, _), columns in zip(own, runs, strict=True)]


class _SoftmaxLoss(torch.autograd.Function):
    """-log(e^wanted / (e^wanted + the sum of e^logit)), summed; gradients are made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        table: Tensor,
        wanted: Tensor,
        column: Tensor,
        hidden: list[tuple[int, Tensor]],
    ) -> Tensor:
        """Sum the losses of float32[T, d], float32[n, d], float32[T]; `column` is the wanted's."""
        count = len(table)
        size = min(max(SCORES // count, FEWEST_POSITIONS), len(states))
        scores = states.new_empty(size, count + 1)
        by_state, by_table = torch.empty_like(states), torch.zeros_like(table)
        by_wanted, losses = torch.empty_like(wanted), torch.empty_like(wanted)
        for start in range(0, len(states), size):
            stop = min(start + size, len(states))
            chunk, rows = scores[: stop - start], slice(start, stop)
            logits = chunk[:, :count]
            torch.mm(states[rows], table.T, out=logits)
            present = (column[rows] >= 0).nonzero().squeeze(1)
            logits[present, column[rows][present]] = -torch.inf
            for first, last, columns in _parts(hidden, start, stop):
                logits[first:last].index_fill_(1, columns, -torch.inf)
            chunk[:, count] = wanted[rows]
            shares = torch.softmax(chunk, 1)
            own = shares[:, count]
            losses[rows] = (
                torch.where(own > TINY, -own.log(), chunk.logsumexp(1) - wanted[rows])
                if (own <= TINY).any()
                else -own.log()
            )
            by_wanted[rows] = own - 1
            torch.mm(shares[:, :count], table, out=by_state[rows])
            by_table.addmm_(shares[:, :count].T, states[rows])
        ctx.save_for_backward(by_state, by_table, by_wanted)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Scale the gradients that `forward` made."""
        by_state, by_table, by_wanted = ctx.saved_tensors
        return by_state * grads[0], by_table * grads[0], by_wanted * grads[0], None, None


def _parts(
    hidden: list[tuple[int, Tensor]], start: int, stop: int
) -> list[tuple[int, int, Tensor]]:
    """Cut the runs of `hidden` to the positions of a chunk, counted from its start."""
    parts, begin = [], 0
    for count, columns in hidden:
        first, last = max(begin, start), min(begin + count, stop)
        if first < last:
            parts.append((first - start, last - start, columns))
        begin += count
    return parts
