"""Small ONNX files as other exporters could write them, made without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

ITEMS, WIDTH = 30, 4
EMBEDDING = "embedding"  # as an output, the state before the scores


def write(
    path: Path,
    *,
    user: str = "user",
    sequence: str = "sequence",
    outputs: Sequence[str] = ("scores",),
    scores: str = "scores",
    more_inputs: Sequence[str] = (),
    places: int | None = 12,
    padding: bool = True,
    batch: int | None = None,
    value: float | None = None,
) -> Path:
    """Write a network that sums embeddings.

    Args:
        path: of the file.
        user, sequence, scores: their names.
        outputs: in this order; EMBEDDING may be one.
        more_inputs: others that the graph reads, [batch, length].
        places: rows of its table of positions; None for none, so that any length runs.
        padding: whether the scores have column 0.
        batch: baked into the graph, though its inputs say any; None for none.
        value: of a weight of user 0.
    """
    random = np.random.default_rng(0)
    tables = {
        "items": random.normal(size=(ITEMS + 1, WIDTH)),
        "users": random.normal(size=(5, WIDTH)),
        "places": random.normal(size=(places or 1, WIDTH)),
    }
    if value is not None:
        tables["users"][0, 0] = value
    tables["weights"] = tables["items"][0 if padding else 1 :].T.copy()
    constants = {name: array.astype(np.float32) for name, array in tables.items()} | {
        "zero": np.array(0), "one": np.array(1), "axis": np.array([1]),
        "size": np.array([batch or -1, WIDTH]),
    }  # fmt: skip
    place = "in/range" if places else "in/zero"
    nodes = [
        helper.make_node("Gather", ["in/items", sequence], ["in/embedded"]),
        helper.make_node("Shape", [sequence], ["in/shape"]),
        helper.make_node("Gather", ["in/shape", "in/one"], ["in/length"]),
        helper.make_node("Range", ["in/zero", "in/length", "in/one"], ["in/range"]),
        helper.make_node("Gather", ["in/places", place], ["in/place"]),
        helper.make_node("Add", ["in/embedded", "in/place"], ["in/placed"]),
        helper.make_node("ReduceSum", ["in/placed", "in/axis"], ["in/summed"], keepdims=0),
        helper.make_node("Gather", ["in/users", user], ["in/who"]),
        helper.make_node("Add", ["in/summed", "in/who"], ["in/state"]),
        helper.make_node("Reshape", ["in/state", "in/size"], [EMBEDDING]),
        helper.make_node("MatMul", [EMBEDDING, "in/weights"], [scores]),
    ]
    int64, float32 = TensorProto.INT64, TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(user, int64, ["b"])] + [
        helper.make_tensor_value_info(name, int64, ["b", "l"]) for name in (sequence, *more_inputs)
    ]
    outs = [
        helper.make_tensor_value_info(
            name, float32, ["b", WIDTH if name == EMBEDDING else ITEMS + padding]
        )
        for name in outputs
    ]
    given = [numpy_helper.from_array(array, f"in/{name}") for name, array in constants.items()]
    for name in more_inputs:  # read, and without effect
        outs.append(helper.make_tensor_value_info(f"{name}_out", int64, ["b", "l"]))
        nodes.append(helper.make_node("Identity", [name], [f"{name}_out"]))
    graph = helper.make_graph(nodes, "foreign", inputs, outs, given)
    opset = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
