"""Dropout whose random numbers are bytes: an eighth of the draws of torch's own on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 256
BYTES_PER_DRAW = 8


class Dropout(nn.Module):
    """Zeroes each value with a probability that is a multiple of 1/256, in training only."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = min(round(probability * LEVELS), LEVELS - 1)

    @property
    def p(self) -> float:
        """The probability that is used."""
        return self.dropped / LEVELS

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale what stays: float32[...] to float32[...]."""
        if not (self.training and self.dropped):
            return x
        dropped: Tensor = _Dropout.apply(x, self.dropped)  # type: ignore[no-untyped-call]
        return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        draws = torch.empty(-(-x.numel() // BYTES_PER_DRAW), dtype=torch.int64)
        numbers = draws.random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        # A mask of floats: on a CPU a product with one is ten times as fast as with booleans.
        mask = torch.ge(numbers, dropped, out=torch.empty_like(x)).mul_(LEVELS / (LEVELS - dropped))
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grads[0] * mask, None
