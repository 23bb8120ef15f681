"""A small model repository made by hand, and servers of it.

Nothing of it depends on how ours are written.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssept.serving.triton.command import Ports
from ssept.serving.triton.environment import PYTHONS
from ssept.serving.triton.server import TritonServer, free_ports, running
from tests.helpers.matrix import ROOT

needs_server = pytest.mark.skipif(
    not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1],
    reason="the tritonserver of PyPI has no backend for this Python",
)

NAME = "recommender_model_onnx"
ITEMS, LENGTH, K, LARGEST_BATCH = 40, 5, 3, 8


def served_model(path: Path, *, guarded: bool = True) -> Path:
    """An ONNX file whose scores are those of the user's row plus the sum of the items' rows.

    Args:
        path: where to write it.
        guarded: whether ids outside the tables count as 0; else they are errors.
    """
    random = np.random.default_rng(0)
    initializers = {
        "table": random.integers(-9, 9, (ITEMS + 1, ITEMS + 1)).astype(np.float32),
        "first": np.array(0),
        "last": np.array(ITEMS),
        "k": np.array([K]),
        "items_axis": np.array([1]),
    }
    guard = [("Max", ["{}", "first"], "{}_low"), ("Min", ["{}_low", "last"], "{}_known")]
    steps = [
        (kind, [name.format(ids) for name in inputs], [output.format(ids)])
        for ids in ("USER_ID", "SEQ")
        for kind, inputs, output in guard
        if guarded
    ]
    user, sequence = ("USER_ID_known", "SEQ_known") if guarded else ("USER_ID", "SEQ")
    steps += [
        ("Concat", [user, sequence], ["ids"]),
        ("Gather", ["table", "ids"], ["rows"]),
        ("ReduceSum", ["rows", "items_axis"], ["scores"]),
        ("TopK", ["scores", "k"], ["topk_scores", "topk_ids"]),
    ]
    attributes = {"Concat": {"axis": 1}, "ReduceSum": {"keepdims": 0}}
    nodes = [helper.make_node(*step, **attributes.get(step[0], {})) for step in steps]

    def tensor(name: str, kind: int, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", size])

    graph = helper.make_graph(
        nodes,
        "served",
        [tensor("USER_ID", TensorProto.INT64, 1), tensor("SEQ", TensorProto.INT64, LENGTH)],
        [
            tensor("scores", TensorProto.FLOAT, ITEMS + 1),
            tensor("topk_ids", TensorProto.INT64, K),
            tensor("topk_scores", TensorProto.FLOAT, K),
        ],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def repository(folder: Path, *, guarded: bool = True, instances: int = 2, more: str = "") -> Path:
    """A repository with that model.

    Args:
        folder: of the repository.
        guarded: of the model.
        instances: how many run side by side.
        more: lines for the configuration.
    """
    served_model(folder / NAME / "1" / "model.onnx", guarded=guarded)
    (folder / NAME / "config.pbtxt").write_text(
        f"""
        platform: "onnxruntime_onnx"
        max_batch_size: {LARGEST_BATCH}
        input [
          {{ name: "USER_ID" data_type: TYPE_INT64 dims: [ 1 ] }},
          {{ name: "SEQ" data_type: TYPE_INT64 dims: [ {LENGTH} ] }}
        ]
        output [
          {{ name: "scores" data_type: TYPE_FP32 dims: [ {ITEMS + 1} ] }},
          {{ name: "topk_ids" data_type: TYPE_INT64 dims: [ {K} ] }},
          {{ name: "topk_scores" data_type: TYPE_FP32 dims: [ {K} ] }}
        ]
        instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
        {more}
        """
    )
    return folder


def inputs(seed: int, size: int) -> dict[str, np.ndarray]:
    """Users and sequences, none of them outside the tables."""
    random = np.random.default_rng(seed)
    return {
        "USER_ID": random.integers(0, ITEMS + 1, (size, 1)),
        "SEQ": random.integers(0, ITEMS + 1, (size, LENGTH)),
    }


def url(server: TritonServer, protocol: str) -> str:
    return server.http if protocol == "http" else server.grpc


def start(models: Path, log: Path, ports: Ports | None = None, image: str | None = None) -> None:
    """Start a server, and stop it when it is ready."""
    with running(models, log, ports or free_ports(), image=image):
        pass


def matrix_options(data: Path, checkpoint: Path) -> list[str]:
    """The matrix's arguments for its tests of the server, with this data and this model."""
    return [
        str(ROOT / "benchmarks" / "test_triton.py"),
        f"--data-dir={data}",
        f"--checkpoint={checkpoint}",
    ]
