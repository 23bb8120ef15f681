"""The best items of a state: by all scores and torch's top-k, or by the kernel's blocks."""

import importlib.util

import torch
from torch import Tensor


def no_kernel() -> str | None:
    """Why the kernel cannot run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return None


def scores_of(state: Tensor, items: Tensor) -> Tensor:
    """Multiply a state with the items: [B, w] and [N + 1, w] to float32[B, N + 1].

    Of bfloat16 the sums stay in float32: rounded to eight bits, many scores would be equal.
    """
    if state.dtype == torch.float32:
        return state @ items.T
    if state.is_cuda:
        return torch.mm(state, items.T, out_dtype=torch.float32)
    return state.float() @ items.float().T


def by_scores(state: Tensor, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k best by all scores.

    Args:
        state: [B, w].
        items: [N + 1, w]; row 0 is padding.
        k: 1 to N.

    Returns:
        ids int64[B, k] and scores float32[B, k], best first; equal ones in any order.
    """
    scores = scores_of(state, items)
    scores[:, 0].fill_(-torch.inf)
    best, ids = torch.topk(scores, k)
    return ids, best


def by_blocks(state: Tensor, items: Tensor, k: int, *, tf32: bool = False) -> tuple[Tensor, Tensor]:
    """Find the k best as `by_scores`, by the kernel: they lie in the k blocks of largest maxima.

    The scores of those blocks are computed again, in float32.
    """
    from benchmarks.gpu.kernel import BLOCK, largest_of_blocks

    largest = largest_of_blocks(state, items, tf32=tf32)
    _, blocks = torch.topk(largest, min(k, largest.shape[1]), sorted=False)
    inside = torch.arange(BLOCK, device=state.device)
    ids = (blocks[:, :, None] * BLOCK + inside).flatten(1)
    beyond = (ids == 0) | (ids >= len(items))
    rows = items[ids.clamp(max=len(items) - 1)].float()  # [B, k·BLOCK, w]
    scores = (rows * state.float()[:, None, :]).sum(2)  # no matrix product: that may be in TF32
    best, places = torch.topk(scores.masked_fill(beyond, -torch.inf), k)
    return ids.gather(1, places), best
