"""`ssept scale`: the work of graphs by hand-computed examples, what is kept, table and plot."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssept.artifacts import Artifact, Model, artifact_of
from ssept.artifacts.manifests import copy_artifacts
from ssept.cli import main
from ssept.decide.scale.gemm import products
from ssept.decide.scale.measured_points import file_of, read
from ssept.decide.scale.onnx_cost import work_of
from ssept.decide.scale.points import Point, along, points_around
from ssept.decide.scale.random_models import SHARED, models
from ssept.decide.scale.roofline import (
    ARITHMETIC,
    FLOAT32,
    INT8,
    MEMORY,
    Ceilings,
    Rates,
    Work,
    least_time,
    read_bandwidth,
)
from ssept.decide.scale.run import ScaleCell
from ssept.errors import ArtifactError, ProviderError
from ssept.model.checkpoint import load_checkpoint
from ssept.providers import PROVIDERS
from ssept.report.plot import draw_scale
from ssept.report.scale import scale_markdown, scale_table
from ssept.variants import build

B, L, K = 3, 4, 5  # a batch, a length, and how many are asked for
USER = np.arange(B)
SEQUENCE = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 5]])
ENDS_BYTES = 8 * (B + B * L)  # of the inputs
CONTRIB = "com.microsoft"
Step = tuple[str, list[str], str, dict[str, Any]]


def graph_file(path: Path, steps: Sequence[Step], constants: dict[str, np.ndarray]) -> Artifact:
    """An ONNX file of some steps from `sequence`, and `x`, the same as float32, to `scores`."""
    contrib = {"FusedMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
    cast: Step = ("Cast", ["sequence"], "x", {"to": TensorProto.FLOAT})
    nodes = [
        helper.make_node(
            kind, inputs, [output], domain=CONTRIB if kind in contrib else "", **attributes
        )
        for kind, inputs, output, attributes in (cast, *steps)
    ]
    graph = helper.make_graph(
        nodes,
        "example",
        [
            helper.make_tensor_value_info("user", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("sequence", TensorProto.INT64, ["batch", "length"]),
        ],
        [onnx.ValueInfoProto(name="scores")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(CONTRIB, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return artifact_of(
        path,
        "custom",
        "onnx",
        Model(
            checkpoint="x",
            checkpoint_sha256="",
            data_name="",
            data_hash="",
            users=9,
            items=9,
            max_length=L,
        ),
        {},
    )


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def i8(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int8)


SCALE = {"scale": np.float32(1), "zero": np.uint8(0), "szero": np.int8(0)}
TO_SCORES: Step = ("Identity", ["y"], "scores", {})
QUANTIZED: list[Step] = [
    ("QuantizeLinear", ["x", "scale", "zero"], "x8", {}),
    ("DequantizeLinear", ["x8", "scale", "zero"], "xd", {}),
]
DEQUANTIZED: Step = ("DequantizeLinear", ["w", "scale", "szero"], "wd", {})
EXAMPLES: dict[str, tuple[list[Step], dict[str, np.ndarray], dict[str, int]]] = {
    "MatMul": ([("MatMul", ["x", "w"], "scores", {})], {"w": f32(L, 6)}, {FLOAT32: B * L * 6}),
    "batched": (  # [7, B, L] x [7, L, B]
        [
            ("Mul", ["x", "ones"], "a", {}),
            ("Transpose", ["a"], "b", {"perm": [0, 2, 1]}),
            ("MatMul", ["a", "b"], "scores", {}),
        ],
        {"ones": f32(7, 1, 1)},
        {FLOAT32: 7 * B * B * L},
    ),
    "Gemm of the transposed": (
        [("Gemm", ["x", "w"], "scores", {"transA": 1, "transB": 1})],
        {"w": f32(6, B)},
        {FLOAT32: L * 6 * B},
    ),
    "FusedMatMul": (
        [("FusedMatMul", ["x", "w"], "scores", {"transA": 1, "alpha": 0.5})],
        {"w": f32(B, 2)},
        {FLOAT32: L * 2 * B},
    ),
    "constant on the left": (  # as scores can be had: table x transposed states
        [
            ("Transpose", ["x"], "columns", {}),
            ("MatMul", ["w", "columns"], "scores", {}),
        ],
        {"w": f32(9, L)},
        {FLOAT32: 9 * L * B},
    ),
    "MatMulInteger": (
        [
            ("Cast", ["x"], "x8", {"to": TensorProto.UINT8}),
            ("MatMulInteger", ["x8", "w"], "scores", {}),
        ],
        {"w": i8(L, 6)},
        {INT8: B * L * 6},
    ),
    "DynamicQuantizeMatMul": (
        [("DynamicQuantizeMatMul", ["x", "w", "scale"], "scores", {})],
        {"w": i8(L, 6), **SCALE},
        {INT8: B * L * 6},
    ),
    "MatMulIntegerToFloat": (
        [
            ("Cast", ["x"], "x8", {"to": TensorProto.UINT8}),
            ("MatMulIntegerToFloat", ["x8", "w", "scale", "scale"], "scores", {}),
        ],
        {"w": i8(L, 6), **SCALE},
        {INT8: B * L * 6},
    ),
    "QLinearMatMul": (
        [
            QUANTIZED[0],
            (
                "QLinearMatMul",
                ["x8", "scale", "zero", "w", "scale", "szero", "scale", "zero"],
                "scores",
                {},
            ),
        ],
        {"w": i8(L, 6), **SCALE},
        {INT8: B * L * 6},
    ),
    "MatMul between QDQ": (
        [
            *QUANTIZED,
            DEQUANTIZED,
            ("Transpose", ["wd"], "wt", {}),
            ("MatMul", ["xd", "wt"], "scores", {}),
        ],
        {"w": i8(6, L), **SCALE},
        {INT8: B * L * 6},
    ),
    "MatMul of weights in INT8 alone": (
        [DEQUANTIZED, ("MatMul", ["x", "wd"], "scores", {})],
        {"w": i8(L, 6), **SCALE},
        {FLOAT32: B * L * 6},
    ),
    "both precisions": (
        [
            ("MatMul", ["x", "v"], "h", {}),
            ("DynamicQuantizeMatMul", ["h", "w", "scale"], "scores", {}),
        ],
        {"v": f32(L, 2), "w": i8(2, 6), **SCALE},
        {FLOAT32: B * L * 2, INT8: B * 2 * 6},
    ),
    "none": ([("Identity", ["x"], "scores", {})], {}, {}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_multiply_adds(tmp_path: Path, name: str) -> None:
    steps, constants, expected = EXAMPLES[name]
    artifact = graph_file(tmp_path / "m.onnx", steps, constants)
    assert work_of(artifact, USER, SEQUENCE, K).multiply_adds == expected


def test_bytes_are_those_of_weights_and_ends(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("MatMul", ["x", "w"], "h", {}),
        ("Add", ["h", "w2"], "sum", {}),
        ("Mul", ["sum", "w2"], "scores", {}),  # a second reader of the same weight
    ]
    constants = {"w": f32(L, 6), "w2": f32(6), "unread": f32(1000)}
    artifact = graph_file(tmp_path / "m.onnx", steps, constants)
    scores_bytes = 4 * B * 6
    assert work_of(artifact, USER, SEQUENCE, K).bytes == ENDS_BYTES + scores_bytes + 4 * (24 + 6)


ROWS = 5  # different items in SEQUENCE


@pytest.mark.parametrize(
    ("steps", "table", "table_bytes"),
    [
        ([("Gather", ["t", "sequence"], "scores", {})], f32(100, 2), ROWS * 2 * 4),
        ([("Gather", ["t", "sequence"], "scores", {"axis": 1})], f32(2, 100), ROWS * 2 * 4),
        (  # the rows that are looked up are a part of what is read anyway
            [
                ("Gather", ["t", "sequence"], "rows", {}),
                ("ReduceMean", ["rows", "axis"], "mean", {"keepdims": 0}),
                ("Transpose", ["t"], "columns", {}),
                ("MatMul", ["mean", "columns"], "scores", {}),
            ],
            f32(100, 2),
            100 * 2 * 4,
        ),
        (  # INT8 rows, whether they are made float32 before or behind the lookup
            [
                ("DequantizeLinear", ["t", "scale", "szero"], "float", {}),
                ("Gather", ["float", "sequence"], "scores", {}),
            ],
            i8(100, 2),
            ROWS * 2,
        ),
        ([("Gather", ["t", "sequence"], "scores", {})], f32(6, 2), ROWS * 2 * 4),
    ],
)
def test_of_a_table_only_the_rows_are_read(
    tmp_path: Path, steps: list[Step], table: np.ndarray, table_bytes: int
) -> None:
    constants = {"t": table, "axis": np.array([1]), **SCALE}
    artifact = graph_file(tmp_path / "m.onnx", steps, constants)
    read_names = {name for _, inputs, _, _ in steps for name in inputs}
    others = sum(constants[name].nbytes for name in constants.keys() & read_names - {"t"})
    scores_bytes = 4 * B * (100 if len(steps) == 4 else L * 2)
    expected = ENDS_BYTES + scores_bytes + others + table_bytes
    assert work_of(artifact, USER, SEQUENCE, K).bytes == expected


def test_the_real_export(small_checkpoint: Path) -> None:
    config = load_checkpoint(small_checkpoint).model.config
    width, columns = config.dim, config.items + 1
    projections = 5 * B * L * width**2  # query, key, value, and two of the feed-forward network
    attention = 2 * B * L**2 * width
    scores = B * columns * config.item_dim
    blocks = config.blocks
    floats = {FLOAT32: blocks * (projections + attention) + scores}
    onnx_file, graph, topk, int8 = (
        build(small_checkpoint, name) for name in ("onnx", "onnx_graph", "onnx_topk", "ort_dynamic")
    )
    plain = work_of(onnx_file, USER, SEQUENCE, K)
    assert plain.multiply_adds == floats
    assert work_of(graph, USER, SEQUENCE, K).multiply_adds == floats  # operators of another domain
    dynamic = work_of(int8, USER, SEQUENCE, K)
    assert sum(dynamic.multiply_adds.values()) == floats[FLOAT32]
    # The scores are of either precision: the quantizer leaves large tables out.
    assert dynamic.multiply_adds[INT8] in (blocks * projections, blocks * projections + scores)
    assert dynamic.bytes < plain.bytes / 1.5
    state = load_checkpoint(small_checkpoint).model.state_dict()
    weights = sum(tensor.numel() for name, tensor in state.items() if name != "user.weight")
    floats_read = weights + B * config.user_dim + B * columns
    # The exporter adds constants for its arithmetic on shapes, and stores equal norms once.
    assert plain.bytes == pytest.approx(ENDS_BYTES + 4 * floats_read, rel=0.03)
    ends_saved = 4 * B * columns - (8 + 4) * B * K  # ids and scores of the best K, not all scores
    head = work_of(topk, USER, SEQUENCE, K)
    assert head.multiply_adds == floats
    assert 0 <= head.bytes - (plain.bytes - ends_saved) < 100  # the head's constants


def test_what_cannot_be_counted_is_an_error(tmp_path: Path) -> None:
    einsum: list[Step] = [("Einsum", ["x", "w"], "scores", {"equation": "ij,jk->ik"})]
    artifact = graph_file(tmp_path / "e.onnx", einsum, {"w": f32(L, 6)})
    with pytest.raises(ArtifactError, match=r"e.onnx: the cost of Einsum is not counted"):
        work_of(artifact, USER, SEQUENCE, K)
    double: list[Step] = [
        ("Cast", ["x"], "d", {"to": TensorProto.DOUBLE}),
        ("MatMul", ["d", "w"], "scores", {}),
    ]
    artifact = graph_file(tmp_path / "d.onnx", double, {"w": np.ones((L, 6))})
    with pytest.raises(ArtifactError, match="multiplies in float64"):
        work_of(artifact, USER, SEQUENCE, K)
    alien: list[Step] = [("NoSuchOperator", ["x"], "scores", {})]
    with pytest.raises(ArtifactError, match="does not run it unchanged"):
        work_of(graph_file(tmp_path / "a.onnx", alien, {}), USER, SEQUENCE, K)


def test_least_time_is_the_larger_of_two() -> None:
    rates = Rates(100.0, {FLOAT32: 10.0, INT8: 40.0})
    arithmetic = least_time(Work(200, {FLOAT32: 20, INT8: 40}), rates)
    assert (arithmetic.seconds, arithmetic.bound_by) == (3.0, ARITHMETIC)
    memory = least_time(Work(400, {FLOAT32: 20, INT8: 40}), rates)
    assert (memory.seconds, memory.bound_by) == (4.0, MEMORY)
    assert least_time(Work(50, {}), rates).seconds == 0.5


@pytest.mark.parametrize("size_bytes", [4, 1_000_000, 70_000_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_bandwidth_is_that_of_a_computer(size_bytes: int, threads: int) -> None:
    assert 1e6 < read_bandwidth(size_bytes, threads, seconds=0.01) < 1e14


def test_products_compute_what_they_say() -> None:
    found = products(threads=1)
    assert {product.precision for product in found} == {FLOAT32, INT8}
    for product in found:
        (result,) = product.call()
        side = len(result)
        assert result.shape == (side, side)
        assert product.multiply_adds == side**3
        assert (result == side).all()  # ones times ones


def test_ceilings_only_rise() -> None:
    ceilings = Ceilings(products(1)[:1], [1000], threads=1)
    assert ceilings.rates(1000) == Rates(0.0, {FLOAT32: 0.0})
    looks = []
    for _ in range(2):
        ceilings.look()
        looks.append(ceilings.rates(1000))
        assert len(looks) > 1 or ceilings.spread() == 0
    assert 0 < looks[0].bytes <= looks[1].bytes
    assert 0 < looks[0].multiply_adds[FLOAT32] <= looks[1].multiply_adds[FLOAT32]
    assert ceilings.spread() > 0


def test_one_axis_at_a_time() -> None:
    axes = {"items": [10, 100], "length": [5, 6], "batch": [1, 8]}
    around = [Point(10, 5, 1), Point(10, 5, 8)]
    points = points_around(around, axes)
    assert points == sorted(points)
    assert set(points) == {
        *around,
        Point(100, 5, 1),
        Point(100, 5, 8),
        Point(10, 6, 1),
        Point(10, 6, 8),
    }
    assert along(around[0], "items", points) == [Point(10, 5, 1), Point(100, 5, 1)]
    assert along(around[0], "batch", points) == around


def test_only_what_the_peaks_are_of_has_a_least_time() -> None:
    assert ScaleCell("onnx", "cpu").bounded
    assert ScaleCell("ort_static_topk", "openvino").bounded
    assert not ScaleCell("onnx", "openvino_native_bf16").bounded
    assert not ScaleCell("onnx", "cuda").bounded
    assert not ScaleCell("torch", "torch").bounded


@pytest.mark.slow
def test_models_are_built_apart_and_removed(empty_cache: Path) -> None:
    with models(60, 7, ["ort_static"]) as results:
        artifact = results["ort_static"]  # calibrated: on data of the same size
        assert isinstance(artifact, Artifact)
        assert (artifact.model.items, artifact.model.max_length) == (60, 7)
        session = PROVIDERS["cpu"].load(artifact, 1)
        assert session.scores([1], [[1, 60]]).shape == (1, 61)
    assert not artifact.path.exists()
    assert os.environ["SSEPT_CACHE_DIR"] == str(empty_cache)
    assert [path.name for path in empty_cache.rglob("*")] == [SHARED]


@pytest.mark.slow
def test_a_run_that_is_ended_leaves_no_models(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "scale", "--items=60", "--out", str(tmp_path / "out")],
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    while run.poll() is None and not list(temporary.glob("*/random-*.safetensors")):
        time.sleep(0.02)
    run.terminate()
    assert run.wait() == 128 + signal.SIGTERM
    assert not list(temporary.iterdir())


SMALL = ("--items=60", "--lengths=4", "--batch-sizes=1,3", "--around=60x4x1", "--cell-seconds=0.05")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> dict[str, Artifact]:
    """The models of SMALL, built once for all runs."""
    with models(60, 4, ["torch", "onnx", "onnx_topk"]) as results:
        found = [result for result in results.values() if isinstance(result, Artifact)]
        copies = copy_artifacts(found, tmp_path_factory.mktemp("built"))
    return {artifact.variant: artifact for artifact in copies}


@pytest.fixture(scope="module")
def quick(built: dict[str, Artifact]) -> Iterator[None]:
    """Runs take the models that are built, and look at small products."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssept.decide.scale.run.models", lambda *_: nullcontext(built))
        patch.setattr("ssept.decide.scale.gemm.SIDES", (64,))
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    """A finished run of onnx and onnx_topk at two points, which no test changes."""
    folder = tmp_path_factory.mktemp("scale") / "out"
    assert main(["scale", *SMALL, "--variants=onnx_topk", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(out: Path, tmp_path: Path) -> Path:
    file_of(tmp_path).write_bytes(file_of(out).read_bytes())
    return tmp_path


@pytest.mark.slow
def test_a_run_keeps_each_point(out: Path) -> None:
    first, second = read(file_of(out))
    assert (first["point"], second["point"]) == tuple(
        {"items": 60, "length": 4, "batch": batch} for batch in (1, 3)
    )
    for record in (first, second):
        assert set(record["cells"]) == {"onnx-cpu", "onnx_topk-cpu"}
        for facts in record["cells"].values():
            assert facts["pairs"] >= 40
            assert facts["speedup"]["low"] <= facts["speedup"]["value"] <= facts["speedup"]["high"]
            least = facts["least"]
            work, rates = least["work"], least["rates_per_s"]
            arithmetic_s = work["multiply_adds"][FLOAT32] / rates["multiply_adds"][FLOAT32]
            memory_s = work["bytes"] / rates["bytes"]
            assert least["ms"] == pytest.approx(1e3 * max(arithmetic_s, memory_s))
            assert 0 < least["ms"] < facts["median_ms"]
            assert least["look_spread"] > 0
    works = [record["cells"]["onnx-cpu"]["least"]["work"] for record in (first, second)]
    assert works[1]["multiply_adds"][FLOAT32] == 3 * works[0]["multiply_adds"][FLOAT32]
    assert (out / "scale.md").is_file()
    assert (out / "scale.svg").is_file()


@pytest.mark.slow
def test_a_finished_run_measures_nothing(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssept.decide.scale.run.models", None)
    before = file_of(copied).read_bytes()
    assert main(["scale", *SMALL, "--variants=onnx_topk", "--out", str(copied)]) == 0
    assert file_of(copied).read_bytes() == before
    said = capsys.readouterr().out
    assert "60 items, length 4, batch 3" in said
    assert said.count("onnx_topk-cpu") == 2
    assert re.search(
        r"Two measurements of the same peak differed by up to \d+ %\.", " ".join(said.split())
    )


@pytest.mark.slow
def test_an_interrupted_run_goes_on(copied: Path) -> None:
    path = file_of(copied)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + whole[1][:50])  # killed while it wrote the second point
    cells = ("--variants=onnx_topk,torch", "--providers=cpu,torch")
    assert main(["scale", *SMALL, *cells, "--out", str(copied)]) == 0
    records = read(path)
    assert path.read_bytes().startswith(whole[0])
    assert [list(record["cells"]) for record in records] == [
        ["onnx-cpu", "onnx_topk-cpu"],
        ["torch-torch"],  # what the first point lacked
        ["onnx-cpu", "onnx_topk-cpu", "torch-torch"],
    ]
    assert "ONNX files" in records[1]["cells"]["torch-torch"]["least"]["unknown"]


@pytest.mark.slow
def test_other_settings_are_not_mixed(out: Path, copied: Path) -> None:
    record = read(file_of(out))[0]
    other = record | {"settings": record["settings"] | {"threads": 7}}
    file_of(copied).write_text(json.dumps(other) + "\n")
    assert main(["scale", *SMALL, "--batch-sizes=1", "--out", str(copied)]) == 0
    assert [each["settings"]["threads"] for each in read(file_of(copied))] == [7, 1]
    assert "onnx_topk" not in (copied / "scale.md").read_text()


@pytest.mark.slow
def test_a_cell_that_does_not_run_is_named(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ProviderError("this provider has no engine")

    broken = replace(PROVIDERS["cpu"], max_score_error=0.1)
    object.__setattr__(broken, "load", refuse)
    monkeypatch.setitem(PROVIDERS, "broken", broken)
    arguments = ["--providers=cpu,broken", "--variants=onnx_topk,torch", "--out", str(copied)]
    assert main(["scale", *SMALL, *arguments]) == 1
    said = capsys.readouterr()
    assert "not measured: onnx_topk-broken at 60x4x1: this provider has no engine" in said.err
    assert "not applicable: torch-cpu, torch-broken" in said.err
    assert "onnx_topk-cpu" in said.out
    assert len(read(file_of(copied))) == 2


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file_of(tmp_path).write_text("{}\n")
    assert main(["scale", *SMALL, "--out", str(tmp_path)]) == 1
    assert "scale.jsonl:1: is not a record of a point" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants=onyx"], "expected names from torch, onnx"),
        (["--variants=custom"], "expected names from"),
        (["--providers="], "expected names from torch"),
        (["--items=9"], "9 items: expected at least 10"),
    ],
)
def test_wrong_names_and_sizes(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scale", *SMALL, *arguments, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("around", ["10x5", "10x5x1x1", "10x5xa", "10x0x1", ""])
def test_wrong_points(around: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scale", f"--around={around}"])
    assert "--around" in capsys.readouterr().err


def made_up(point: Point, **cells: dict[str, Any]) -> dict[str, Any]:
    """A record of cells by their variants on cpu."""
    return {
        "schema": 1,
        "utc": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789abcdef",
        "settings": {"threads": 2, "seconds": 8, "k": 10},
        "machine": {"cpu": "A & B <CPU>", "cpus_allowed": 4, "packages": {"numpy": "2.0"}},
        "point": asdict(point),
        "cells": {
            f"{name}-cpu": {"variant": name, "provider": "cpu", **facts}
            for name, facts in cells.items()
        },
    }


def facts(value: float, median_ms: float, least: dict[str, Any]) -> dict[str, Any]:
    speedup = {"value": value, "low": value - 0.1, "high": value + 0.1}
    return {"speedup": speedup, "median_ms": median_ms, "least": least}


RECORDS = [
    made_up(
        Point(items, 50, 1),
        onnx=facts(1.0, 0.5 * items, {"ms": 0.25 * items, "bound_by": MEMORY}),
        fused=facts(2.5, 0.2 * items, {"unknown": "no reason"}),
    )
    for items in (1000, 2_000_000)
]


def test_the_table_and_its_markdown() -> None:
    table = scale_table(RECORDS)
    assert max(map(len, table.splitlines())) <= 100
    rows = [line.split() for line in table.splitlines()]
    assert ["onnx-cpu", "1.00~", "0.90–1.10", "500.000", "250.000", "2.0", "memory"] in rows
    assert ["fused-cpu", "2.50", "2.40–2.60", "200.000", "–", "–", "–"] in rows
    assert "–: fused-cpu: no reason." in table
    assert "2,000,000 items, length 50, batch 1" in table
    text = scale_markdown(RECORDS, "scale.svg")
    assert "](scale.svg)" in text
    assert "A & B <CPU>, CPUs: 4; 2 threads a call; numpy 2.0; commit 0123456789ab" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["2,000,000", "50", "1", "onnx-cpu"] in [row[:4] for row in cells]
    assert "![" not in scale_markdown(RECORDS, None)


def test_the_plot_can_be_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    assert draw_scale(RECORDS, [Point(1000, 50, 1)], path)
    svg = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert svg.get("role") == "img"
    assert svg[0].tag == f"{space}title"
    assert svg[1].tag == f"{space}desc"
    words = str(svg[1].text)
    assert "A & B <CPU>" in words
    assert "length 50, batch 1, items in the catalog from 1k to 2M" in words
    assert "onnx-cpu from 500 to 1e+06; fused-cpu from 200 to 4e+05" in words
    texts = {text for element in svg.iter(f"{space}text") if (text := element.text)}
    assert {"1k", "2M", "onnx-cpu", "fused-cpu", "length 50, batch 1", "ms a call"} <= texts
    again = tmp_path / "again.svg"
    draw_scale(RECORDS, [Point(1000, 50, 1)], again)
    assert again.read_bytes() == path.read_bytes()


def test_one_point_makes_no_plot(tmp_path: Path) -> None:
    assert not draw_scale(RECORDS[:1], [Point(1000, 50, 1)], tmp_path / "plot.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_matplotlib_there_is_the_table(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["scale", *SMALL, "--variants=onnx_topk", "--out", str(copied)]) == 0
    said = capsys.readouterr()
    assert "no scale.svg: install the report extra" in said.err
    assert "onnx_topk-cpu" in said.out
    text = (copied / "scale.md").read_text()
    assert "onnx_topk-cpu" in text
    assert "![" not in text
