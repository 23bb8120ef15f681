"""The best items in a file of LiteRT, without a look at every score more than once."""

from collections.abc import Sequence

import numpy as np

from ssept.artifacts import TOPK_IDS, TOPK_SCORES, K
from ssept.variants.rewrite.litert_file import FLOAT, INT, LiteRtFile, Tensor

BLOCK = 32  # scores, of which the largest is looked at first


def find_best(file: LiteRtFile, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Find the k best among the blocks of scores that have the k largest maxima.

    TOPK_V2 takes the first of equal scores, and so of equal maxima. The blocks are put in
    order again, so that in the end equal scores are in the order of their ids.
    """
    wanted = file.tensor(K, [1], INT)
    file.inputs.append(wanted)
    blocks = scores.shape[1] // BLOCK
    by_block = file.reshaped(scores, (1, blocks, BLOCK))
    largest = file.emit(
        "REDUCE_MAX", [by_block, file.ints(2)], (1, blocks), "ReducerOptions", keepDims=False
    )
    most = file.ints(blocks)
    count = file.emit("MINIMUM", [wanted, most], (1,), "MaximumMinimumOptions", kind=INT)
    _, kept = _top(file, largest, count)
    backwards = file.emit("NEG", [file.emit("CAST", [kept], (1, 1))], (1, 1))
    in_order = file.emit("NEG", [_top(file, backwards, count)[0]], (1, 1))
    kept = file.emit("CAST", [in_order], (1, 1), kind=INT)
    found = _of_each(file, by_block, kept, (1, 1, BLOCK), FLOAT)
    size = file.emit("SHAPE", [scores], (2,), "ShapeOptions", kind=INT, outType=INT)
    batch = file.emit("SLICE", [size, file.ints(0), file.ints(1)], (1,), "SliceOptions", kind=INT)
    rows = file.emit(
        "CONCATENATION", [batch, file.ints(-1)], (2,), "ConcatenationOptions", kind=INT, axis=0
    )
    best, places = _top(file, file.emit("RESHAPE", [found, rows], (1, 1)), wanted)
    width = file.integer(np.array(BLOCK))
    block = file.emit("FLOOR_DIV", [places, width], (1, 1), "FloorDivOptions", INT)
    start = _of_each(file, kept, block, (1, 1), INT)
    start = file.emit("MUL", [start, width], (1, 1), "MulOptions", INT)
    inside = file.emit("FLOOR_MOD", [places, width], (1, 1), "FloorModOptions", INT)
    ids = file.emit("ADD", [start, inside], (1, 1), "AddOptions", INT)
    file.tensors[best.index].name = TOPK_SCORES.encode()
    file.tensors[ids.index].name = TOPK_IDS.encode()
    return best, ids


def _of_each(
    file: LiteRtFile, x: Tensor, places: Tensor, shape: Sequence[int], kind: int
) -> Tensor:
    """Take places of the second axis, others for each of the batch."""
    return file.emit("GATHER", [x, places], shape, "GatherOptions", kind=kind, axis=1, batchDims=1)


def _top(file: LiteRtFile, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    values = file.emit("TOPK_V2", [x, count], (1, 1), "TopKV2Options")
    places = file.tensor("", (1, 1), INT, signature=[-1, -1])
    file.tensors[values.index].shapeSignature = [-1, -1]
    file.operators[-1].outputs.append(places.index)
    return values, places
