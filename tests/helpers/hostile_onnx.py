"""ONNX files with tensors in other files, made by hand: honest, hostile, and well hidden ones."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

ITEMS, WIDTH = 300, 4
DATA = "weights.data"
BEHIND_THE_END = 1_000_000


def table(seed: int = 0, name: str = "table", rows: int = ITEMS + 1) -> onnx.TensorProto:
    values = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def moved_out(
    tensor: onnx.TensorProto, location: str = DATA, offset: int = 0, length: int | None = None
) -> bytes:
    """Leave a tensor's bytes out of the file; returns them."""
    content: bytes = tensor.raw_data
    set_external_data(tensor, location, offset, len(content) if length is None else length)
    tensor.ClearField("raw_data")
    return content


def model_with(tensor: onnx.TensorProto, nodes: Any = (), **more: Any) -> onnx.ModelProto:
    """Scores of all items: the mean of the sequence's rows of a table, times the table."""
    info = helper.make_tensor_value_info
    initializers = [
        tensor,
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.float32(0), "nothing"),
    ]
    steps = [
        helper.make_node("Gather", ["table", "sequence"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("Transpose", ["table"], ["columns"]),
        helper.make_node("MatMul", ["mean", "columns"], ["products"]),
        helper.make_node("CastLike", ["user", "nothing"], ["user_float"]),
        helper.make_node("Mul", ["user_float", "nothing"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "axis"], ["column"]),
        helper.make_node("Add", ["products", "column"], ["scores"]),
        *nodes,
    ]
    graph = helper.make_graph(
        steps,
        "small",
        [
            info("user", TensorProto.INT64, ["batch"]),
            info("sequence", TensorProto.INT64, ["batch", 50]),
        ],
        [info("scores", TensorProto.FLOAT, ["batch", ITEMS + 1])],
        initializers,
        **more,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def saved(folder: Path, seed: int = 0, location: str = DATA, **place: int) -> Path:
    """A model in `model.onnx`, and its table's bytes in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = table(seed)
    content = moved_out(tensor, location, **place)
    (folder / "model.onnx").write_bytes(model_with(tensor).SerializeToString())
    (folder / DATA).write_bytes(content)
    return folder / "model.onnx"


def naming(folder: Path, location: str, **place: int) -> Path:
    """A model whose table lies in a file of that name, wherever that is."""
    return saved(folder, location=location, **place)


def link_to(secret: Path, folder: Path) -> Path:
    path = saved(folder)
    (folder / DATA).unlink()
    (folder / DATA).symlink_to(secret)
    return path


def linked_model(folder: Path) -> Path:
    """A link to a model, with another file of the data's name beside the link."""
    saved(folder / "other")
    path = saved(folder)
    path.unlink()
    path.symlink_to("other/model.onnx")
    return path


def pipe(folder: Path) -> Path:
    path = saved(folder)
    (folder / DATA).unlink()
    os.mkfifo(folder / DATA)
    return path


def without_data(folder: Path) -> Path:
    path = saved(folder)
    (folder / DATA).unlink()
    return path


def cut_off(folder: Path) -> Path:
    path = saved(folder)
    (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-1])
    return path


HOSTILE: dict[str, Callable[[Path, Path], Path]] = {
    "parent": lambda secret, folder: naming(folder, f"../{secret.name}"),
    "absolute": lambda secret, folder: naming(folder, str(secret)),
    "hidden in the middle": lambda secret, folder: naming(folder, f"./x/../../{secret.name}"),
    "subfolder": lambda secret, folder: naming(folder, "sub/weights.data"),
    "backslash": lambda secret, folder: naming(folder, f"..\\{secret.name}"),
    "dots": lambda secret, folder: naming(folder, ".."),
    "no name": lambda secret, folder: naming(folder, ""),
    "too long": lambda secret, folder: naming(folder, "x" * 300),
    "an address in memory": lambda secret, folder: naming(folder, "*/_ORT_MEM_ADDR_/*"),
    "the model itself": lambda secret, folder: naming(folder, "model.onnx"),
    "link": lambda secret, folder: link_to(secret, folder),
    "link to the model": lambda secret, folder: linked_model(folder),
    "pipe": lambda secret, folder: pipe(folder),
    "missing": lambda secret, folder: without_data(folder),
    "cut off": lambda secret, folder: cut_off(folder),
    "offset behind the end": lambda secret, folder: saved(folder, offset=BEHIND_THE_END),
    "length behind the end": lambda secret, folder: saved(folder, length=BEHIND_THE_END),
    "negative": lambda secret, folder: saved(folder, offset=-4),
}


def evil(name: str = "evil") -> onnx.TensorProto:
    tensor = table(1, name, 2)
    moved_out(tensor, "../secret")
    return tensor


def sparse(where: str) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.array([1, 2]), "indices")
    values = numpy_helper.from_array(np.ones(2, np.float32), "values")
    target = values if where == "values" else indices
    moved_out(target, "../secret")
    return helper.make_sparse_tensor(values, indices, [9])


def with_graph(graph: onnx.GraphProto) -> onnx.NodeProto:
    node = helper.make_node("If", ["condition"], ["branch"])
    node.attribute.append(helper.make_attribute("then_branch", graph))
    return node


def inner_graph(tensor: onnx.TensorProto, depth: int = 1) -> onnx.GraphProto:
    if depth > 1:
        return helper.make_graph([with_graph(inner_graph(tensor, depth - 1))], "outer", [], [])
    return helper.make_graph([], "inner", [], [], [tensor])


def constant(**value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["constant"], **value)


def function_with(nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    return helper.make_function("own", "f", [], [], nodes, [helper.make_opsetid("", 18)])


def with_function(function: onnx.FunctionProto) -> onnx.ModelProto:
    model = model_with(table())
    model.functions.append(function)
    return model


def with_default(tensor: onnx.TensorProto) -> onnx.ModelProto:
    function = function_with([])
    function.attribute_proto.append(helper.make_attribute("value", tensor))
    return with_function(function)


def with_training(tensor: onnx.TensorProto, field: str) -> onnx.ModelProto:
    model = model_with(table())
    getattr(model.training_info.add(), field).CopyFrom(inner_graph(tensor))
    return model


def with_sparse(where: str) -> onnx.ModelProto:
    model = model_with(table())
    model.graph.sparse_initializer.append(sparse(where))
    return model


def in_lists() -> onnx.NodeProto:
    node = helper.make_node("Own", [], ["own"], domain="own")
    node.attribute.append(helper.make_attribute("tensors", [table(2, "fine", 2), evil()]))
    return node


def in_graphs() -> onnx.NodeProto:
    node = helper.make_node("Own", [], ["own"], domain="own")
    node.attribute.append(helper.make_attribute("graphs", [inner_graph(evil())]))
    return node


def with_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = model_with(table())
    model.graph.initializer.append(tensor)
    return model


HIDDEN: dict[str, Callable[[], onnx.ModelProto]] = {
    "second initializer": lambda: with_initializer(evil()),
    "constant": lambda: model_with(table(), [constant(value=evil())]),
    "list of tensors": lambda: model_with(table(), [in_lists()]),
    "list of graphs": lambda: model_with(table(), [in_graphs()]),
    "sparse constant": lambda: model_with(table(), [constant(sparse_value=sparse("values"))]),
    "subgraph": lambda: model_with(table(), [with_graph(inner_graph(evil()))]),
    "subgraph of a subgraph": lambda: model_with(table(), [with_graph(inner_graph(evil(), 5))]),
    "sparse values": lambda: with_sparse("values"),
    "sparse indices": lambda: with_sparse("indices"),
    "function": lambda: with_function(function_with([constant(value=evil())])),
    "default of a function": lambda: with_default(evil()),
    "training": lambda: with_training(evil(), "initialization"),
    "training algorithm": lambda: with_training(evil(), "algorithm"),
}
