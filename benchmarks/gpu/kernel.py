"""A kernel in Triton's language: the largest score of each block of items, with no score written.

Needs the package `triton` that comes with torch for CUDA. With TRITON_INTERPRET=1, set before the
first import, it runs on a CPU, for tests.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 32  # items, of which the largest score is looked at first
FEW_ROWS, MANY_ROWS, COLUMNS = 16, 64, 128  # of the tile of scores that one program computes


@triton.jit  # type: ignore[untyped-decorator]
def _largest_of_blocks(  # type: ignore[no-untyped-def]
    # Without types: Triton's compiler looks up what stands there, and knows its own only.
    state,
    items,
    largest,
    batch,
    rows,
    width,
    blocks,
    WIDTH: tl.constexpr,  # of a tile, a power of 2 of at least `width`
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    IN_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDENED: tl.constexpr,
):
    users = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    inner = tl.arange(0, WIDTH)
    x = tl.load(
        state + users[:, None] * width + inner[None, :],
        mask=(users[:, None] < batch) & (inner[None, :] < width),
        other=0.0,
    )
    y = tl.load(
        items + columns[None, :].to(tl.int64) * width + inner[:, None],
        mask=(columns[None, :] < rows) & (inner[:, None] < width),
        other=0.0,
    )
    if WIDENED:
        x, y = x.to(tl.float32), y.to(tl.float32)
    scores = tl.dot(x, y, input_precision=PRECISION)
    # Row 0 is padding, and behind the last row there is nothing.
    scores = tl.where((columns[None, :] > 0) & (columns[None, :] < rows), scores, -float("inf"))
    scores = tl.reshape(scores, (TILE_ROWS, TILE_COLUMNS // IN_BLOCK, IN_BLOCK))
    best = tl.max(scores, axis=2)
    places = tl.program_id(1) * (TILE_COLUMNS // IN_BLOCK) + tl.arange(0, TILE_COLUMNS // IN_BLOCK)
    tl.store(
        largest + users[:, None].to(tl.int64) * blocks + places[None, :],
        best,
        mask=(users[:, None] < batch) & (places[None, :] < blocks),
    )


def constants(batch: int, width: int, *, tf32: bool, on_gpu: bool) -> dict[str, Any]:
    """Return what the kernel is compiled for.

    Args:
        batch, width: of the state.
        tf32: whether float32 products may round their inputs to TF32; else three of these products
            make one that is as exact as float32. Its own products in float32 are no matter for the
            matrix units.
        on_gpu: or in Triton's interpreter, which multiplies the bytes of bfloat16 as if they were
            integers.
    """
    return {
        "WIDTH": max(16, triton.next_power_of_2(width)),
        "TILE_ROWS": FEW_ROWS if batch <= FEW_ROWS else MANY_ROWS,
        "TILE_COLUMNS": COLUMNS,
        "IN_BLOCK": BLOCK,
        "PRECISION": "tf32" if tf32 else "tf32x3",
        "WIDENED": not on_gpu,
    }


def largest_of_blocks(state: Tensor, items: Tensor, *, tf32: bool = False) -> Tensor:
    """Compute the largest score of each block of `BLOCK` rows of the item table, but for row 0.

    Args:
        state: float32 or bfloat16 [B, w], contiguous.
        items: of the same type, [N + 1, w], contiguous.
        tf32: whether float32 products may round their inputs to TF32.

    Returns:
        float32[B, blocks].
    """
    batch, width = state.shape
    blocks = -(-len(items) // BLOCK)
    largest = torch.empty((batch, blocks), dtype=torch.float32, device=state.device)
    chosen = constants(batch, width, tf32=tf32, on_gpu=state.is_cuda)
    grid = (triton.cdiv(batch, chosen["TILE_ROWS"]), triton.cdiv(len(items), COLUMNS))
    _largest_of_blocks[grid](state, items, largest, batch, len(items), width, blocks, **chosen)
    return largest
