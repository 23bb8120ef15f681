"""The matrix end to end on small data: what runs, what is saved, what is said."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.data.dataset import Dataset
from tests.conftest import untrained
from tests.helpers.matrix import ROOT, Run, command, environment, run_matrix

CELLS = ["torch-torch", "onnx-cpu", "onnx-openvino"]


@pytest.fixture(scope="module")
def options(small_folder: Path, small_checkpoint: Path) -> list[str]:
    return [
        "--data-dir",
        str(small_folder),
        "--checkpoint",
        str(small_checkpoint),
        "--rounds",
        "45",
        "--providers",
        "torch,cpu,openvino,cuda,tensorrt",
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, options: list[str]) -> Run:
    return run_matrix(tmp_path_factory.mktemp("full"), *options, "--variants", "torch,onnx")


def test_every_live_cell_is_measured_in_every_way(full: Run) -> None:
    assert full.code == 0, full.output
    assert sorted(full.cells("latency")) == sorted(
        f"test_latency[{cell}-b{size}]" for cell in CELLS for size in ("001", "008", "064")
    )
    for measure, names in {
        "accuracy": [f"test_accuracy[{{}}-{split}]" for split in ("val", "test")],
        "agreement": ["test_agreement[{}]"],
        "budget": ["test_budget[{}]"],
        "throughput": ["test_throughput[{}]"],
        "edge": ["test_edge[{}]"],
        "footprint": ["test_footprint[{}]"],
        "concurrency": ["test_concurrency[{}-s02]"],
        "real_lengths": [f"test_real_lengths[{{}}-b{size}]" for size in ("001", "008", "064")],
    }.items():
        expected = sorted(name.format(cell) for name in names for cell in CELLS)
        assert sorted(full.cells(measure)) == expected


def test_missing_hardware_is_skipped_with_its_reason(full: Run) -> None:
    skipped = full.outcomes("skipped")
    for provider, name in (("cuda", "CUDA"), ("tensorrt", "Tensorrt")):
        reason = f"onnxruntime has no {name}ExecutionProvider: install the gpu extra"
        assert skipped[f"test_latency[onnx-{provider}-b001]"] == reason
        assert reason in full.output
    assert "torch-cpu" in full.saved["ssept"]["not_applicable"]
    assert "not applicable: torch-cpu" in full.output


def test_a_cell_says_what_it_measured_on_what(full: Run, small: Dataset) -> None:
    facts = full.cells("latency")["test_latency[onnx-openvino-b008]"]
    assert facts["placement"] == {"OpenVINO": 1}
    assert facts["data_hash"] == small.data_hash
    assert (facts["batch"], facts["threads"], facts["call"]) == (8, 1, "recommend")
    assert facts["p50_ms"]["low"] <= facts["p50_ms"]["value"] <= facts["p50_ms"]["high"]
    assert facts["speedup"]["low"] <= facts["speedup"]["value"] <= facts["speedup"]["high"]
    assert facts["size_bytes"] > 0
    assert full.saved["machine_info"]["ssept"]["packages"]["numpy"]


def test_the_footprint_is_of_a_process_of_its_own(full: Run) -> None:
    torch, onnx = (
        full.cells("footprint")[f"test_footprint[{cell}]"] for cell in ("torch-torch", "onnx-cpu")
    )
    # A process that loads torch holds far more than one that does not.
    assert torch["peak_rss_bytes"] > 1.2 * onnx["peak_rss_bytes"]
    assert 0 < onnx["load_s"] < onnx["total_s"]


def test_real_histories_are_shorter_than_the_longest(full: Run) -> None:
    facts = full.cells("real_lengths")["test_real_lengths[onnx-cpu-b001]"]
    assert 0 < facts["mean_length"] < 50


@pytest.mark.slow
def test_a_price_gives_a_cost_and_load_without_pause_a_slowdown(
    tmp_path: Path, options: list[str]
) -> None:
    run = run_matrix(
        tmp_path,
        *options,
        "--price-per-core-hour",
        "0.05",
        "--sustained",
        "1",
        "-k",
        "throughput and onnx-cpu or sustained",
    )
    (facts,) = run.cells("throughput").values()
    assert facts["cost_per_million"] == pytest.approx(0.05 / 3600 * 1e6 / facts["fps"])
    assert "cost/M" in run.output
    (sustained,) = run.cells("sustained").values()
    assert len(sustained["part_medians_ms"]) == 6
    assert "sustained: " in run.output


@pytest.mark.slow
def test_golden_outputs_catch_a_changed_model(
    tmp_path: Path, small: Dataset, options: list[str]
) -> None:
    checkpoint = untrained(small, tmp_path / "g.safetensors", item_dim=8, user_dim=8)
    assert main(["golden", str(checkpoint)]) == 0
    chosen = [*options, "--checkpoint", str(checkpoint), "--variants", "onnx", "-k", "golden"]
    good = run_matrix(tmp_path / "good", *chosen)
    assert good.code == 0, good.output
    assert "test_golden[onnx-cpu]" in good.cells("golden")
    path = tmp_path / "g.golden.json"
    golden = json.loads(path.read_text())
    golden["cases"][0]["scores"][0] += 0.01
    path.write_text(json.dumps(golden))
    bad = run_matrix(tmp_path / "bad", *chosen)
    assert bad.code == 1
    assert "scores differ from g.golden.json" in bad.output


def test_a_saved_run_is_shown_again(full: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = full.results.rglob("*.json")
    assert main(["report", "--full", str(path)]) == 0
    table = capsys.readouterr().out
    assert table.strip() in full.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a results file"),
        ("{}", "benchmarks is missing; expected a list"),
        ('{"benchmarks": [1]}', "benchmarks[0] is 1; expected an object"),
        ('{"benchmarks": [], "ssept": {"schema": 99}}', "schema is 99; expected 1"),
    ],
)
def test_results_of_others_are_refused_with_the_reason(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(text)
    assert main(["report", str(tmp_path / "run.json")]) == 1
    assert message in capsys.readouterr().err


def test_percentiles_that_need_more_calls_are_left_out(full: Run) -> None:
    facts = full.cells("latency")["test_latency[onnx-cpu-b001]"]
    assert facts["calls"] == 48  # four of each session
    assert facts["p95_ms"] is None
    assert facts["p99_ms"] is None


def test_all_cells_are_equally_accurate_for_they_are_the_same_model(full: Run) -> None:
    figures = {
        round(facts["full"]["ndcg"]["value"], 6)
        for name, facts in full.cells("accuracy").items()
        if name.endswith("-test]")
    }
    assert len(figures) == 1


def test_the_table_fits_100_columns_and_marks_the_baseline(full: Run) -> None:
    table = full.output.split("model variants on execution providers")[1].splitlines()
    header = table.index(next(line for line in table if line.startswith("cell")))
    end = next(at for at, line in enumerate(table) if line.startswith("* baseline"))
    table = table[header:end]  # a note on noise, which names cells too, may stand before it
    rows = [line for line in table if any(line.startswith(cell) for cell in CELLS)]
    assert len(rows) == len(CELLS)
    assert sum(line.startswith("onnx-cpu *") for line in rows) == 1
    assert "OpenVINO 1/1" in full.output
    assert max(len(line) for line in table) <= 100


@pytest.mark.slow
def test_the_saved_run_is_read_and_compared_by_pytest_benchmark(
    full: Run, options: list[str]
) -> None:
    again = run_matrix(full.results.with_name("again"), *options, "-k", "onnx-cpu-b001")
    (first,) = full.results.rglob("*.json")
    (second,) = again.results.rglob("*.json")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest-benchmark"), "compare", first, second],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stdout.count("test_latency[onnx-cpu-b001]") >= 2


@pytest.mark.slow
def test_k_openvino_runs_openvino_cells_only(tmp_path: Path, options: list[str]) -> None:
    run = run_matrix(tmp_path, *options, "-k", "openvino")
    assert run.code == 0, run.output
    providers = {benchmark["extra_info"]["provider"] for benchmark in run.saved["benchmarks"]}
    assert providers == {"openvino"}
    for benchmark in run.saved["benchmarks"]:
        assert benchmark["extra_info"]["placement"] == {"OpenVINO": 1}


def test_a_required_provider_that_is_missing_fails(tmp_path: Path, options: list[str]) -> None:
    run = run_matrix(tmp_path, *options, "--providers", "cuda", "--require", "cuda")
    assert run.code == 1
    assert "--require cuda: onnxruntime has no CUDAExecutionProvider" in run.output
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("require", ["", "torch", "cpu"])
def test_a_required_provider_that_would_miscalculate_fails(
    tmp_path: Path, options: list[str], require: str
) -> None:
    asked = [f"--require={require}"] if require else []
    plugin = "tests.helpers.toys.toy_miscalculating"
    cells = ["-p", plugin, "--variants=fused_int8,onnx", "--providers=cpu", "-k", "edge"]
    run = run_matrix(tmp_path, *options, *cells, *asked)
    required = require == "cpu"
    assert run.code == (1 if required else 0), run.output
    found = run.outcomes("failed" if required else "skipped")
    assert found == {"test_edge[fused_int8-cpu]": found["test_edge[fused_int8-cpu]"]}
    assert "it is wrong" in found["test_edge[fused_int8-cpu]"]
    assert not run.outcomes("skipped" if required else "failed")


@pytest.mark.slow
def test_without_require_it_is_skipped(tmp_path: Path, options: list[str]) -> None:
    run = run_matrix(tmp_path, *options, "--providers", "cuda,tensorrt")
    assert run.code == 0
    assert "skipped:" in run.output
    assert "p50" not in run.output  # no table where nothing was measured


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "provider", "test", "reason"),
    [
        ("noisy", "cpu", "test_agreement[noisy-cpu]", "differ from torch's past"),
        ("noisy", "cpu", "test_budget[noisy-cpu]", "the cell's budget is -0.5%"),
        ("unsupported", "openvino", "test_edge[unsupported-openvino]", "does not run all of"),
    ],
)
def test_a_bad_cell_fails_with_its_reason_and_the_others_go_on(
    tmp_path: Path, options: list[str], variant: str, provider: str, test: str, reason: str
) -> None:
    run = run_matrix(
        tmp_path,
        "-p",
        "tests.helpers.toys.toys",
        *options,
        "--variants",
        f"onnx,{variant}",
        "--providers",
        provider,
        "-k",
        "agreement or edge or budget",
    )
    assert run.code == 1
    assert reason in run.outcomes("failed")[test]
    assert f"{test}: " in run.output
    assert f"test_edge[onnx-{provider}]" in run.cells("edge")


@pytest.mark.slow
def test_options_choose_what_is_timed(tmp_path: Path, options: list[str]) -> None:
    run = run_matrix(
        tmp_path,
        *options,
        "--call",
        "scores",
        "--length",
        "7",
        "--batch-sizes",
        "2,3",
        "--threads",
        "2",
        "--variants",
        "onnx",
        "--providers",
        "cpu",
        "-k",
        "latency",
    )
    cells = run.cells("latency")
    assert sorted(cells) == ["test_latency[onnx-cpu-b002]", "test_latency[onnx-cpu-b003]"]
    for facts in cells.values():
        assert (facts["call"], facts["length"], facts["threads"]) == ("scores", 7, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--variants", "onxx"], "onxx: expected names from torch, onnx"),
        (["--providers", "cpu,gpu"], "gpu: expected names from torch, torch_compile"),
        (["--threads", "0"], "expected a whole number of at least 1"),
        (["--batch-sizes", "1,x"], "expected a whole number of at least 1"),
        pytest.param(
            ["--variants", "torch", "--providers", "cpu"],
            "none of the providers cpu runs any",
            marks=pytest.mark.slow,
        ),
        pytest.param(["--data-dir", "/no/such/folder"], "/no/such/folder", marks=pytest.mark.slow),
        pytest.param(
            ["--checkpoint", "/no/such/file"],
            "/no/such/file: no such checkpoint file",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_options_are_named(
    tmp_path: Path, options: list[str], wrong: list[str], message: str
) -> None:
    run = run_matrix(tmp_path, *options, *wrong)
    assert run.code not in (0, 5)
    assert message in run.output
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_a_checkpoint_of_other_data_is_refused(
    tmp_path: Path, small: Dataset, options: list[str]
) -> None:
    other = untrained(
        dataclasses.replace(small, data_hash="0" * 64), tmp_path / "other.safetensors"
    )
    run = run_matrix(tmp_path / "results", *options, "--checkpoint", other)
    assert run.code == 1
    assert "not on the data in" in run.output
    assert "ssept train" in run.output


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_keeps_what_it_measured(
    tmp_path: Path, options: list[str], how: signal.Signals
) -> None:
    process = subprocess.Popen(
        command(tmp_path, *options, "--rounds", "100000", "-k", "agreement or latency"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("[0-9]*.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, how)
    process.wait(60)
    (path,) = tmp_path.rglob("*.json")
    assert json.loads(path.read_text())["benchmarks"]


def test_timed_cells_refuse_to_share_the_machine(tmp_path: Path, options: list[str]) -> None:
    done = subprocess.run(
        [word for word in command(tmp_path, *options, "-n", "2") if word != "-pno:xdist"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "one process at a time" in done.stderr + done.stdout
