"""An error that a user can fix is one line, wherever in a measured test it is met."""

from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT, Run, run_matrix
from tests.helpers.toys.toy_raising import MESSAGE

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def options(small_folder: Path, small_checkpoint: Path) -> list[str]:
    chosen = ["--data-dir", str(small_folder), "--checkpoint", str(small_checkpoint)]
    return [*chosen, "--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu"]


def failing(place: str, test: str, results: Path, options: list[str], *more: str) -> Run:
    plugin = ("-p", "tests.helpers.toys.toy_raising")
    variables = {"SSEPT_TEST_RAISE": place}
    return run_matrix(results, *plugin, *options, "-k", test, *more, variables=variables)


@pytest.mark.parametrize(
    ("place", "test"),
    [
        ("ssept.providers.session:Session.recommend", "test_latency[onnx-cpu-b001]"),
        pytest.param("ssept.evaluation:both_ranks", "test_accuracy", marks=SLOW),
        pytest.param("ssept.providers.session:Session.scores", "test_budget", marks=SLOW),
        pytest.param("ssept.data.dataset:Dataset.cases", "test_throughput", marks=SLOW),
        pytest.param("ssept.measure.cold_start:cold_start", "test_footprint", marks=SLOW),
        pytest.param("fixtures.cells:Cell.facts", "test_edge", marks=SLOW),
        pytest.param("fixtures.variants:Artifacts.get", "test_concurrency", marks=SLOW),
        pytest.param("ssept.providers:load", "test_agreement", marks=SLOW),
        pytest.param(
            "fixtures.fastapi:running",
            "test_fastapi.py and test_answers",
            marks=SLOW,
        ),
    ],
)
def test_it_is_shown_and_saved_as_its_message(
    tmp_path: Path, options: list[str], place: str, test: str
) -> None:
    run = failing(place, test.partition("[")[0], tmp_path, options, "--fastapi")
    assert run.code == 1, run.output
    assert MESSAGE in run.output
    for unwanted in ("Traceback", "KeyError", "toy_raising.py", "ProviderError", "def test_"):
        assert unwanted not in run.output
    lines = run.output.splitlines()
    assert len(lines) < 60  # of up to three tests, with the header
    assert MESSAGE in map(str.strip, lines)
    assert any(line.endswith(f": {MESSAGE}") for line in lines)  # of our own table


def test_tb_brings_the_traceback_back(tmp_path: Path, options: list[str]) -> None:
    place = "ssept.providers.session:Session.recommend"
    run = failing(place, "test_latency", tmp_path, options, "--tb=short")
    assert run.code == 1
    assert "toy_raising.py" in run.output
    assert "KeyError: 'the cause'" in run.output


@pytest.mark.parametrize(
    "facts",
    [
        "{}",
        pytest.param('{"measure": "own"}', marks=SLOW),
        pytest.param('{"measure": float("nan")}', marks=SLOW),
    ],
)
def test_a_test_of_ones_own_with_facts_that_no_run_holds_is_one_line(
    facts: str, tmp_path: Path, options: list[str]
) -> None:
    test = tmp_path / "test_own.py"
    test.write_text(
        "import pytest\n@pytest.mark.cell\ndef test_own(benchmark):\n"
        f"    benchmark.pedantic(int, rounds=1)\n    benchmark.extra_info |= {facts}\n"
    )
    plugins = ROOT / "benchmarks" / "test_edge.py"  # so that the root's are loaded
    own = ("--import-mode=importlib", "-k", "own", plugins, test)
    run = run_matrix(tmp_path / "results", *options, *own)
    assert run.code == 1
    assert "Traceback" not in run.output
    assert "a saved run cannot hold" in run.output
    assert not list((tmp_path / "results").rglob("*.json"))
