"""Losses of next-item prediction, each a mean over the positions that hold a positive."""

import torch
from torch import Tensor
from torch.nn import functional

from ssept.model.network import SSEPT


def binary_cross_entropy(
    model: SSEPT, user: Tensor, inputs: Tensor, positives: Tensor, negatives: Tensor
) -> Tensor:
    """Compute the paper's loss: each positive against one sampled negative.

    A candidate's vector is [item; user * sqrt(d_u)]; the user's half shifts both logits alike,
    which matters to this loss though never to a ranking.

    Args:
        model: the network.
        user: int64[B].
        inputs, positives, negatives: int64[B, L]; a position with positive 0 does not count.
    """
    states = model.encode(user, inputs)
    item_states = states[..., : model.config.item_dim]
    user_vector = model.user(user) * model.config.user_dim**0.5
    shift = (states[..., model.config.item_dim :] * user_vector[:, None]).sum(-1)
    positive_logits = (item_states * model.item(positives)).sum(-1) + shift
    negative_logits = (item_states * model.item(negatives)).sum(-1) + shift
    loss = functional.softplus(-positive_logits) + functional.softplus(negative_logits)
    counts = (positives != 0) & (inputs != 0)
    return loss[counts].mean()


def cross_entropy(
    model: SSEPT, user: Tensor, inputs: Tensor, positives: Tensor, negatives: Tensor | None
) -> Tensor:
    """Softmax cross-entropy of the positive over the catalog, or over sampled negatives.

    Args:
        model: the network.
        user: int64[B].
        inputs, positives: int64[B, L]; a position with positive 0 does not count.
        negatives: int64[n], shared by the whole batch; None for the whole catalog.
    """
    counts = (positives != 0) & (inputs != 0)
    states = model.encode(user, inputs)[counts][:, : model.config.item_dim]
    wanted = positives[counts]
    if negatives is None:
        return functional.cross_entropy(states @ model.item.weight[1:].T, wanted - 1)
    logits = states @ model.item(negatives).T
    logits = logits.masked_fill(negatives[None, :] == wanted[:, None], -torch.inf)
    positive = (states * model.item(wanted)).sum(-1, keepdim=True)
    first = torch.zeros_like(wanted)
    return functional.cross_entropy(torch.cat([positive, logits], dim=1), first)
