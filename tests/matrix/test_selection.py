"""What a run measures: resolved once, and told by a marker."""

import re
import shutil
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.data.prepare import prepare, prepared
from tests.helpers.data_files import made_up_ratings, write_latest
from tests.helpers.matrix import ROOT, Run, run_matrix
from tests.helpers.opened import OPENED

PATHS = (ROOT / "benchmarks" / "test_accuracy.py",)  # so that the root's plugins are loaded
OWN_TESTS = """
import time
import pytest

def measured(benchmark, cell):
    benchmark.pedantic(time.sleep, (1e-3,), rounds=1)
    benchmark.extra_info |= cell.facts() | {"measure": "own"}

def test_unmarked(benchmark, baseline_cell):
    benchmark.pedantic(time.sleep, (1e-3,), rounds=1)

@pytest.mark.cell
def test_of_the_baseline(benchmark, baseline_cell):
    measured(benchmark, baseline_cell)

@pytest.mark.cell("fused", "elsewhere")
def test_skipped():
    pytest.skip("there is none")

class TestOfACell:
    pytestmark = pytest.mark.cell("onnx", "elsewhere")

    def test_failing(self):
        assert 1 == 2

def test_of_every_cell(benchmark, cell):
    measured(benchmark, cell)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    out = tmp_path_factory.mktemp("built") / "artifacts"
    variants = ("--variants", "onnx,onnx_graph")
    assert main(["build", "--checkpoint", str(small_checkpoint), *variants, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_folder: Path, built: Path) -> Run:
    """A run of several cells with given artifacts, and of tests of a user's own."""
    tests = tmp_path_factory.mktemp("own") / "test_own.py"
    tests.write_text(OWN_TESTS)
    data = ("--data-dir", small_folder, "--artifacts", built, "--providers", "cpu,torch")
    chosen = ("-k", "accuracy or own", "--import-mode=importlib")
    return run_matrix(
        tmp_path_factory.mktemp("results"), "-p", "tests.helpers.opened", *data, *chosen,
        *PATHS, tests,
    )  # fmt: skip


def opened(run: Run) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^opened (.+): (\d+)$", run.output, re.M)}


def test_a_given_model_file_is_read_once_whatever_the_number_of_cells(run: Run) -> None:
    assert len(run.saved["benchmarks"]) >= 6, run.output
    counts = opened(run)
    assert {name: counts[name] for name in ("tiny.onnx", "tiny_onnx_graph.onnx")} == {
        "tiny.onnx": 1,
        "tiny_onnx_graph.onnx": 1,
    }


def test_the_marker_says_which_tests_are_of_which_cell(run: Run) -> None:
    found = {
        entry["test"]: (entry["variant"], entry["provider"], entry["outcome"])
        for entry in run.saved["ssept"]["outcomes"]
        if entry["test"].split("[")[0] in re.findall("def (test_.*)\\(", OWN_TESTS)
    }
    assert found == {
        "test_of_the_baseline": ("onnx", "cpu", "measured"),
        "test_skipped": ("fused", "elsewhere", "skipped"),
        "test_failing": ("onnx", "elsewhere", "failed"),
        "test_of_every_cell[onnx-cpu]": ("onnx", "cpu", "measured"),
        "test_of_every_cell[onnx_graph-cpu]": ("onnx_graph", "cpu", "measured"),
    }
    assert run.saved["ssept"]["not_applicable"] == ["onnx-torch", "onnx_graph-torch"]


def test_a_broken_folder_of_artifacts_ends_the_run_before_any_test(
    tmp_path: Path, small_folder: Path, built: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(built, broken)
    (broken / "tiny.onnx").write_bytes(b"half")
    run = run_matrix(tmp_path, "--data-dir", small_folder, "--artifacts", broken)
    assert run.code == 4
    assert "tiny.onnx: missing, or not the file that manifest.json describes" in run.output
    assert "Traceback" not in run.output


@pytest.mark.slow
def test_facts_that_no_saved_run_may_hold_end_the_run_with_the_field(
    tmp_path: Path, small_folder: Path, built: Path
) -> None:
    tests = tmp_path / "test_own.py"
    tests.write_text(OWN_TESTS.replace('"own"}', '"own", "threads": 0}'))
    options = ("--data-dir", small_folder, "--artifacts", built, "--providers", "cpu")
    run = run_matrix(tmp_path / "results", *options, "-k", "of_the_baseline", *PATHS, tests)
    assert run.code == 1
    assert "extra_info.threads is 0; expected a whole number of at least 1" in run.output
    assert "INTERNALERROR" not in run.output


def test_what_the_cache_lacks_is_read_no_more_often_than_what_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the folder in the cache and its manifest need the same hashes."""
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    source = write_latest(tmp_path / "raw", made_up_ratings())
    counts = []
    for call in (
        lambda: prepare(source, tmp_path / "out", progress=False),
        lambda: prepared(source),
    ):
        before = OPENED.copy()
        call()
        counts.append({name: (OPENED - before)[name] for name in ("ratings.csv", "movies.csv")})
    assert counts[0]["ratings.csv"] > 0
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("options", "tests", "sizes"),
    [
        (["--quick"], {"accuracy", "budget", "agreement", "golden", "latency"}, {1, 64}),
        pytest.param(["--quick", "--batch-sizes=2"], {"latency"}, {2}, marks=pytest.mark.slow),
        (["--quick", "--full"], {"latency", "real_lengths", "footprint", "edge"}, {1, 8, 64}),
        pytest.param([], {"latency", "throughput"}, {1, 8, 64}, marks=pytest.mark.slow),
    ],
)
def test_a_quick_run_measures_what_a_choice_needs(
    options: list[str], tests: set[str], sizes: set[int], tmp_path: Path
) -> None:
    run = run_matrix(tmp_path, *options, "--collect-only", "-q", ROOT / "benchmarks")
    found = re.findall(r"::test_(\w+)\[onnx-cpu(?:-b(\d+))?", run.output)
    assert tests <= {name for name, _ in found}
    assert {int(size) for name, size in found if name == "latency"} == sizes
    left_out = {"real_lengths", "footprint", "edge", "throughput", "concurrency"}
    quick = options[-1:] != ["--full"] and "--quick" in options
    assert bool(left_out & {name for name, _ in found}) == (not quick)
