"""`ssept gate` as a user runs it, and the parts of its command line."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssept.artifacts.manifests import copy_artifacts, read_artifacts
from ssept.cli import main
from ssept.data.dataset import Dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.decide.gate.budgets import Budgets, read_budgets
from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.findings import EXIT_CODES, Finding, GateResult, Measure, Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.suite import Suite, run_suite
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.expressions import chosen
from ssept.files import sha256
from ssept.percent import share
from ssept.report.gate import gate_markdown, gate_table
from ssept.variants import build
from tests.helpers.matrix import environment

QUICK = GatePlan(alpha=0.5, looks=1, seconds=1, stretch_seconds=0.02, confirmation=1)


def side(model: Path) -> Side:
    return Side(model.name, Path(sys.executable), None, model, {})


def oracle(path: Path, dataset: Dataset, missed: float) -> Path:
    """An ONNX file that puts each user's test target first, but for a share of the users."""
    cases = dataset.cases("test")
    table = np.zeros((dataset.users + 1, dataset.items + 1), dtype=np.float32)
    found = np.arange(len(cases)) >= missed * len(cases)
    table[cases.users[found], cases.targets[found]] = 1
    values = {"table": table, "zero": np.float32(0), "axis": np.array([1])}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "user"], ["best"]),
            helper.make_node("CastLike", ["sequence", "zero"], ["floats"]),
            helper.make_node("ReduceSum", ["floats", "axis"], ["sum"]),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["best", "nothing"], ["scores"]),
        ],
        "oracle",
        [
            helper.make_tensor_value_info("user", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("sequence", TensorProto.INT64, ["batch", 50]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", dataset.items + 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def accuracy_of(tmp_path: Path, dataset: Dataset, missed: float) -> Finding:
    base, head = (
        oracle(tmp_path / f"{name}.onnx", dataset, share)
        for name, share in (("base", 0.1), ("head", missed))
    )
    suite = Suite((GateCell("custom", "cpu", 1),), plan=QUICK, dataset=dataset)
    findings = run_suite(side(base), side(head), suite).findings
    (found,) = (finding for finding in findings if finding.measure == Measure.NDCG)
    return found


@pytest.mark.parametrize(
    ("missed", "verdict"),
    [(0.1, Verdict.FINE), (0.6, Verdict.REGRESSED), (0.0, Verdict.FINE)],
)
def test_accuracy_of_real_files(
    tmp_path: Path, small: Dataset, missed: float, verdict: Verdict
) -> None:
    found = accuracy_of(tmp_path, small, missed)
    assert found.verdict == verdict, found
    assert found.change
    assert found.change.value == pytest.approx((1 - missed) / 0.9 - 1, abs=0.03)
    assert found.details["users"] == len(small.cases("test"))


def test_another_cell_in_place_of_each(
    small_checkpoint: Path, small_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variant against another one of the same folder: each side loads and ranks with its own."""
    artifacts, saved = tmp_path / "artifacts", tmp_path / "gate.json"
    copy_artifacts([build(small_checkpoint, name) for name in ("onnx", "fused")], artifacts)
    code = main(
        ["gate", str(artifacts), str(artifacts), "--base-cell=onnx-cpu", "--variants=fused",
         "--providers=cpu", "--batch-sizes=1", f"--data-dir={small_folder}", "--seconds=0.1",
         "--tolerance=900%", "--size-tolerance=50%", f"--json={saved}"]
    )  # fmt: skip
    assert code == 0, capsys.readouterr()
    value = json.loads(saved.read_text())
    assert value["sides"]["base"]["name"].endswith(", onnx-cpu")
    findings = {each["measure"]: each for each in value["findings"]}
    sizes = findings["size"]["details"]
    files = {each.variant: each.size_bytes for each in read_artifacts(artifacts).values()}
    assert (sizes["base"], sizes["head"]) == (files["onnx"], files["fused"])
    assert findings["ndcg"]["change"]["value"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("text", ["onnx", "onnx-", "none-cpu", "onnx-none", ""])
def test_a_cell_that_there_is_not_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gate", "a", "b", f"--base-cell={text}"])
    assert ended.value.code == 3
    assert "for example onnx-cpu" in capsys.readouterr().err


@pytest.mark.slow
def test_models_of_other_data_are_not_measured(
    tmp_path: Path, small: Dataset, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    prepare_synthetic(other, users=20, items=350, seed=1)
    model = build(small_checkpoint, "onnx").path
    code = main(
        ["gate", str(model), str(model), f"--data-dir={other}", "--seconds=0.1", "--batch-sizes=1",
         "--providers=cpu"]
    )  # fmt: skip
    assert code == 3
    assert "not trained on" in " ".join(capsys.readouterr().out.split())


def test_equal_files_through_the_command_line(
    tmp_path: Path,
    small_checkpoint: Path,
    small_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = build(small_checkpoint, "onnx").path
    head = Path(shutil.copy(base, tmp_path / "head.onnx"))
    saved, markdown = tmp_path / "gate.json", tmp_path / "gate.md"
    attested = tmp_path / "gate.intoto.json"
    code = main(
        ["gate", str(base), str(head), f"--data-dir={small_folder}", "--seconds=0.1",
         "--batch-sizes=1,8", "-k=not b008", "--providers=cpu", "--tolerance=900%",
         f"--json={saved}", f"--markdown={markdown}", f"--attestation={attested}"]
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    value = json.loads(saved.read_text())
    assert value["verdict"] == "fine"
    assert value["plan"]["alpha"] == 0.01
    assert value["machine"]["cpu"]
    assert value["sides"]["head"]["model"] == str(head)
    findings = {(f["cell"], f["measure"]): f for f in value["findings"]}
    assert set(findings) == {
        ("custom-cpu", "size"), ("custom-cpu", "ndcg"), ("custom-cpu-b001", "latency"),
    }  # fmt: skip
    assert all(finding["verdict"] == "fine" for finding in findings.values())
    first_look = GatePlan().passes(1)[0]
    assert len(findings["custom-cpu-b001", "latency"]["details"]["log_ratios"]) == first_look
    assert "custom-cpu-b001" in markdown.read_text()
    statement = json.loads(attested.read_text())
    assert statement["subject"] == [{"name": str(head), "digest": {"sha256": sha256(head)}}]
    assert statement["predicate"]["result"] == "PASSED"
    assert sorted(statement["predicate"]["passedTests"]) == [
        "custom-cpu ndcg", "custom-cpu size", "custom-cpu-b001 latency",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_larger_file_is_a_regression(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build(small_checkpoint, "onnx").path
    model = onnx.load(base)
    model.doc_string = "x" * base.stat().st_size
    onnx.save(model, tmp_path / "large.onnx")
    code = main(
        ["gate", str(base), str(tmp_path / "large.onnx"), "--no-accuracy", "--seconds=0.1",
         "--batch-sizes=1", "--providers=cpu"]
    )  # fmt: skip
    assert code == 1
    assert "regressed" in capsys.readouterr().out


def test_sigterm_keeps_what_was_found(
    tmp_path: Path, small_checkpoint: Path, own_cache: Path
) -> None:
    model, saved = build(small_checkpoint, "onnx").path, tmp_path / "gate.json"
    gate = subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "gate", model, model, "--no-accuracy",
         f"--json={saved}"],
        env=environment(),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        # A single child may be a program that platform.platform() asks.
        while len(workers := psutil.Process(gate.pid).children()) < 2:
            assert time.monotonic() < deadline, "no workers were started"
            assert gate.poll() is None
            time.sleep(0.01)
        gate.send_signal(signal.SIGTERM)
        assert gate.wait(60) == 3
    finally:
        gate.kill()
        gate.wait()
    assert json.loads(saved.read_text())["interrupted"] is True
    # One that was just being started ends by itself, at the end of its input.
    assert not psutil.wait_procs(workers, timeout=20)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{onnx}"], "required: HEAD"),
        (["{onnx}", "{onnx}", "--bogus"], "unrecognized arguments: --bogus"),
        (["{onnx}", "{onnx}", "--tolerance=3"], "3: expected a share from 0 up, as 3% or 0.03"),
        (["{onnx}", "{onnx}", "--batch-sizes=0"], "expected a whole number"),
        (["{onnx}", "{onnx}", "--seconds=nan"], "expected seconds above 0"),
        (["{onnx}", "{onnx}", "-k", "b001 or"], "the expression is incomplete"),
        (["{onnx}", "{onnx}", "-k", "b999"], "matches none of the cells custom-cpu-b001"),
        (["{onnx}", "{onnx}", "--variants=onnx"], "an ONNX file has no variants"),
        (["{onnx}", "{onnx}", "--budgets={folder}/no.toml"], "no.toml: cannot be read"),
        (["{onnx}", "{folder}/none.onnx"], "none.onnx"),
        (["{onnx}", "{folder}"], "neither a source tree nor an artifacts folder"),
    ],
)
def test_what_is_wrong_is_told_and_is_neither_fine_nor_regressed(
    tmp_path: Path,
    small_checkpoint: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"onnx": str(build(small_checkpoint, "onnx").path), "folder": str(tmp_path)}
    try:
        code = main(["gate", *(argument.format(**names) for argument in arguments)])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "takes"),
    [
        ("", True), ("onnx", True), ("ONNX-CPU", True), ("b064", False), ("not b064", True),
        ("onnx and b001", True), ("onnx and not b001", False), ("b064 or b001", True),
        ("b064 or b001 and cuda", False), ("(b064 or b001) and cpu", True),
        ("not (b001 or b064)", False), ("not not cpu", True),
    ],
)  # fmt: skip
def test_expressions_choose_cells(expression: str, takes: bool) -> None:
    assert chosen("onnx-cpu-b001", expression) is takes


@pytest.mark.parametrize(
    "expression",
    ["and", "a or", "(a", "a)", "a b", "not", "()", "a and or b", "(" * 5000, "not " * 5000 + "a"],
)
def test_bad_expressions_are_refused(expression: str) -> None:
    with pytest.raises(SseptError, match="expected parts of cells' names") as refused:
        chosen("onnx-cpu-b001", expression)
    assert len(str(refused.value)) < 400


def test_budgets_by_pattern(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(
        '["onnx-*"]\nlatency = "5%"\nsize = 0.2\n["*-b064"]\nlatency = 0.1\n', encoding="utf-8"
    )
    budgets = read_budgets(path, Budgets().defaults)
    latency = {
        name: budgets.tolerance(Measure.LATENCY, name)
        for name in ("onnx-cpu-b001", "onnx-cpu-b064", "fused-cpu-b001")
    }
    assert list(latency.values()) == [0.05, 0.1, 0.03]
    assert budgets.tolerance(Measure.SIZE, "onnx-cpu") == 0.2
    assert budgets.tolerance(Measure.NDCG, "onnx-cpu") == 0.005


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nlatency = \n", r"budgets.toml: not TOML: .*line 2"),
        ("a = 1\n", r'budgets.toml: a: expected a table \["a"\] with latency, ndcg, size'),
        (
            "[a]\nlatencies = 1\n",
            r'budgets.toml: \["a"\] latencies: unknown measure; expected one of',
        ),
        ("[a]\nndcg = '-1%'\n", r"budgets.toml: \[\"a\"\] ndcg = '-1%': expected a share"),
        ("[a]\nndcg = 3\n", r'\["a"\] ndcg = 3: expected a share from 0 up, as 3% or 0.03'),
    ],
)
def test_bad_budgets_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SseptError, match=message):
        read_budgets(path, {})


def test_shares() -> None:
    assert [share(value) for value in ("3%", " 0.03", 0.03, "150%", 0)] == [
        0.03,
        0.03,
        0.03,
        1.5,
        0,
    ]


def result_of(*verdicts: Verdict, interrupted: bool = False) -> GateResult:
    findings = [
        Finding("quant_static_aggressive-openvino_native_bf16-b064", Measure.LATENCY, verdict, 0.03,
                Estimate(0.5, -0.1234, float("inf")), "a long reason " * 9)
        for verdict in verdicts
    ]  # fmt: skip
    sides = {role: side(Path(f"{role}.onnx")) for role in ("base", "head")}
    return GateResult(sides, GatePlan(), {}, findings, {"onnx-cuda": "no GPU"}, interrupted)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (result_of(Verdict.FINE, Verdict.FINE), 0),
        (result_of(*EXIT_CODES), 1),
        (result_of(Verdict.INCONCLUSIVE, Verdict.FINE), 2),
        (result_of(Verdict.INCONCLUSIVE, Verdict.UNMEASURED, Verdict.FINE), 3),
        (result_of(), 3),
        (result_of(Verdict.FINE, interrupted=True), 3),
    ],
)
def test_exit_codes_tables_and_json(result: GateResult, code: int) -> None:
    assert result.exit_code == code
    for text in (gate_table(result), gate_markdown(result)):
        for finding in result.findings:
            assert finding.verdict.value in text
        assert "no GPU" in text
        assert ("interrupted" in text) is result.interrupted
    assert max(map(len, gate_table(result).splitlines())) <= 100
    assert json.dumps(result.as_json(), allow_nan=False)
