"""Matrix products in ONNX Runtime's CPU provider, to measure the machine's peak rates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.decide.scale.roofline import FLOAT32, INT8, Product
from ssept.errors import SseptError

# Rows, columns and depth: the small ones fit the L2 cache, the large ones keep many threads busy.
SIDES = (256, 384, 512, 1024)
# Of each precision and operator, the types of what is multiplied; the second is a constant.
KINDS = (
    (FLOAT32, "MatMul", np.float32, np.float32),
    (INT8, "MatMulInteger", np.uint8, np.int8),
    (INT8, "MatMulInteger", np.uint8, np.uint8),
)


def products(threads: int) -> list[Product]:
    """Make products of each precision and of several sizes.

    Args:
        threads: that each may use.

    Raises:
        SseptError: a package is missing.
    """
    return [
        Product(precision, side**3, _product(operator, side, left, right, threads))
        for precision, operator, left, right in KINDS
        for side in SIDES
    ]


def _product(
    operator: str, side: int, left: type[Any], right: type[Any], threads: int
) -> Callable[[], Any]:
    """Return a call that multiplies two square matrices of ones."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        _model(operator, np.ones((side, side), right), np.dtype(left)),
        options,
        providers=["CPUExecutionProvider"],
    )
    inputs = {"left": np.ones((side, side), left)}
    return lambda: session.run(None, inputs)


def _model(operator: str, weight: npt.NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    """Build an ONNX file of one product: an input of the weight's shape, and the weight."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise SseptError(f"finding peak rates needs {error.name}: install the train extra") from (
            error
        )
    output = TensorProto.FLOAT if operator == "MatMul" else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        operator,
        [
            helper.make_tensor_value_info(
                "left", helper.np_dtype_to_tensor_dtype(dtype), weight.shape
            )
        ],
        [helper.make_tensor_value_info("product", output, weight.shape)],
        [numpy_helper.from_array(weight, "right")],
    )
    opset = helper.make_opsetid("", 18)
    model: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    return model
