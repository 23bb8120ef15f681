"""Small ONNX files made by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 8


def quantized_model(path: Path, items: int) -> Path:
    """An INT8 model in the QOperator form: the mean of the items' rows, times a matrix."""
    random = np.random.default_rng(0)
    initializers = {
        "table": random.normal(size=(items + 1, WIDTH)).astype(np.float32),
        "matrix": random.integers(-127, 127, (WIDTH, items + 1)).astype(np.int8),
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "matrix_scale": np.float32(0.01),
        "matrix_zero": np.int8(0),
        "axis": np.array([1]),
        "nothing": np.float32(0),
    }
    row = ("scale", "zero")
    nodes = [
        ("Gather", ["table", "sequence"], "rows"),
        ("ReduceMean", ["rows", "axis"], "mean"),
        ("QuantizeLinear", ["mean", *row], "mean_q"),
        ("QLinearMatMul", ["mean_q", *row, "matrix", "matrix_scale", "matrix_zero", *row], "q"),
        ("DequantizeLinear", ["q", *row], "products"),
        ("CastLike", ["user", "nothing"], "user_float"),
        ("Mul", ["user_float", "nothing"], "user_nothing"),
        ("Unsqueeze", ["user_nothing", "axis"], "column"),
        ("Add", ["products", "column"], "scores"),
    ]
    attributes = {"ReduceMean": {"keepdims": 0}}
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, [output], **attributes.get(kind, {}))
            for kind, inputs, output in nodes
        ],
        "quantized",
        [
            helper.make_tensor_value_info("user", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("sequence", TensorProto.INT64, ["batch", 50]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", items + 1])],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
