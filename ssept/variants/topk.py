"""The best k in the graph: a head behind `scores`, so that k ids come out and not the catalog."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from ssept.artifacts import EXCLUDE, TOPK_IDS, TOPK_SCORES, K
from ssept.errors import ArtifactError
from ssept.files import written_file

PREFIX = "topk_head/"  # of the tensors in between, so that they meet none of the base's
WORST = "worst"
# From this many items on the best are looked for among blocks of scores; below, the operators that
# this takes cost more than a look at all scores.
BY_BLOCKS = 65_536
BLOCK = 32


def append(base: Path, destination: Path) -> None:
    """Write the base with inputs `k` and `exclude` and outputs `topk_ids` and `topk_scores` more.

    Inputs `k` int64[1] and `exclude` int64[batch, any]: the columns of the scores to leave out, 0
    for the padding among them, ids of items for others; an id may occur twice. Outputs
    int64[batch, k] and float32[batch, k], best first, equal scores in the order of their ids
    (where the runtime's TopK keeps to the standard). What is left out is not among them, unless k
    is larger than what is left: then it comes last, with a score of -inf.

    Nothing in the graph checks `exclude` or adds the padding to it: that is done for a session's
    callers (`Session.recommend`), where it costs nothing while there is nothing to leave out. In
    the graph it took 4 % of a call of the fastest variant at batch 1.

    Raises:
        ArtifactError: the base does not say how many items it scores.
    """
    model = onnx.load(base)
    graph = model.graph
    (scores,) = graph.output
    batch, columns = scores.type.tensor_type.shape.dim
    if not columns.dim_value:
        raise ArtifactError(f"{base}: {scores.name} has no fixed number of columns, items + 1")
    worst = np.array(-np.inf, dtype=np.float32)
    graph.initializer.append(numpy_helper.from_array(worst, PREFIX + WORST))
    if columns.dim_value < BY_BLOCKS:
        graph.node.extend(_nodes(scores.name))
    else:
        _Blocks(graph, scores.name, columns.dim_value).add()
    for name, shape in ((K, [1]), (EXCLUDE, [batch.dim_param, "excluded"])):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
    for name, kind in ((TOPK_IDS, TensorProto.INT64), (TOPK_SCORES, TensorProto.FLOAT)):
        graph.output.append(helper.make_tensor_value_info(name, kind, [batch.dim_param, K]))
    onnx.checker.check_model(model, full_check=True)
    with written_file(destination) as temporary:
        onnx.save(model, temporary)


def _nodes(scores: str) -> list[NodeProto]:
    """Add the head: one scatter of -inf over a copy of the scores, and TopK.

    Taking more than k from the whole matrix and dropping what is left out afterwards saves the
    copy, but with 50 ids to leave out it took 1.3 times as long at batch 1, and 4 times at batch
    64 (ONNX Runtime's CPU provider, one thread).
    """
    shape, worst, candidates = (PREFIX + name for name in ("shape", "worst_scores", "candidates"))
    return [
        helper.make_node("Shape", [EXCLUDE], [shape], shape),
        helper.make_node("Expand", [PREFIX + WORST, shape], [worst], worst),
        helper.make_node(
            "ScatterElements", [scores, EXCLUDE, worst], [candidates], candidates, axis=1
        ),
        helper.make_node("TopK", [candidates, K], [TOPK_SCORES, TOPK_IDS], PREFIX + "best", axis=1),
    ]


class _Blocks:
    """A head that reads all scores once: the best n of them lie in the n blocks of largest maxima.

    It takes as many more as are to be left out, so that no copy of the scores is written.
    """

    def __init__(self, graph: GraphProto, scores: str, columns: int) -> None:
        self._graph, self._scores, self._columns = graph, scores, columns

    def add(self) -> None:
        """Add the head's nodes and constants.

        TopK takes the first of equal numbers. Blocks stand in the order of their ids, so equal
        scores come out in that order too.
        """
        node, number = self._node, self._number
        left_out = node("Shape", EXCLUDE, start=1, end=2)
        wanted = node("Min", node("Add", K, left_out), number("columns", [self._columns]))
        axis = number("axis", [1])
        pooled = node(
            "MaxPool",
            node("Unsqueeze", self._scores, axis),
            kernel_shape=[BLOCK],
            strides=[BLOCK],
            ceil_mode=1,
        )
        blocks = number("blocks", [-(-self._columns // BLOCK)])
        count = node("Min", wanted, blocks)
        _, kept = self._top(node("Squeeze", pooled, axis), count)
        kept, _ = self._top(kept, count, largest=0)
        start = node("Mul", node("Unsqueeze", kept, number("last", [2])), number("width", [BLOCK]))
        ids = node("Add", start, number("inside", range(BLOCK)))
        ids = node("Reshape", ids, number("rows", [0, -1]))
        known = node("Min", ids, number("most", self._columns - 1))
        found = node("GatherElements", self._scores, known, axis=1)
        found = node("Where", node("Equal", ids, known), found, PREFIX + WORST)
        best, places = self._top(found, wanted)
        ids = node("GatherElements", known, places, axis=1)
        best = node("Where", self._are_left_out(ids), PREFIX + WORST, best)
        _, places = self._top(best, K, names=(TOPK_SCORES, PREFIX + "places"))
        node("GatherElements", ids, places, axis=1, name=TOPK_IDS)

    def _are_left_out(self, ids: str) -> str:
        node, number = self._node, self._number
        same = node(
            "Equal",
            node("Unsqueeze", ids, number("last", [2])),
            node("Unsqueeze", EXCLUDE, number("axis", [1])),
        )
        same = node("Cast", same, to=TensorProto.UINT8)  # of booleans there is no largest
        any_of = node("ReduceMax", same, number("last", [2]), keepdims=0)
        return node("Cast", any_of, to=TensorProto.BOOL)

    def _top(self, x: str, k: str, names: tuple[str, ...] = (), largest: int = 1) -> list[str]:
        at = len(self._graph.node)
        outputs = [*names] or [f"{PREFIX}{at}_{part}" for part in ("values", "places")]
        made = helper.make_node("TopK", [x, k], outputs, f"{PREFIX}{at}", axis=1, largest=largest)
        self._graph.node.append(made)
        return outputs

    def _node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        at = len(self._graph.node)
        output = name or f"{PREFIX}{at}"
        made = helper.make_node(kind, inputs, [output], f"{PREFIX}{at}", **attributes)
        self._graph.node.append(made)
        return output

    def _number(self, name: str, values: Any) -> str:
        """Add an int64 constant, once."""
        name = PREFIX + name
        if all(name != each.name for each in self._graph.initializer):
            array = np.array(values, dtype=np.int64)
            self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name
