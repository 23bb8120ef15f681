"""Switches of pytest and its plugins: a cell is measured once and saved, or nothing starts."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ssept.cli import main
from tests.helpers.matrix import ROOT, Run, command, environment, run_matrix

pytestmark = pytest.mark.slow

TEST = "benchmarks/test_latency.py::test_latency"


@pytest.fixture
def options(small_folder: Path, small_checkpoint: Path, tmp_path: Path) -> list[str]:
    """One small cell; what pytest keeps between runs is the test's own."""
    chosen = ["--data-dir", str(small_folder), "--checkpoint", str(small_checkpoint)]
    cache = f"cache_dir={tmp_path / 'pytest_cache'}"
    small = ["--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu"]
    return [*chosen, *small, "-o", cache, str(ROOT / TEST)]


def switched(results: Path, options: list[str], *switches: str, **how: object) -> Run:
    return run_matrix(results, *options, *switches, lean=False, **how)  # type: ignore[arg-type]


def assert_measured_once(run: Run) -> None:
    assert run.code == 0, run.output
    assert list(run.cells("latency")) == ["test_latency[onnx-cpu-b001]"]
    assert [each["outcome"] for each in run.saved["ssept"]["outcomes"]] == ["measured"]
    (path,) = run.results.rglob("*.json")
    assert main(["report", str(path)]) == 0


def assert_refused(run: Run, message: str) -> None:
    assert run.code == 4, run.output
    assert message in run.output
    assert len(run.output.strip().splitlines()) == 1
    assert not list(run.results.rglob("*.json"))


def test_many_at_once_measure_as_without_them(tmp_path: Path, options: list[str]) -> None:
    switches = "--benchmark-only --benchmark-autosave --benchmark-min-rounds=1 --lf --sw -x -v"
    more = "--benchmark-warmup=on --no-header --tb=short --durations=2 -n 0 --dist=load"
    assert_measured_once(switched(tmp_path / "r", options, *switches.split(), *more.split()))


@pytest.mark.parametrize(
    "switches",
    [
        *("--benchmark-only", "--benchmark-autosave", "--benchmark-save=mine"),
        *("--benchmark-disable --benchmark-enable", "--benchmark-save-data", "--benchmark-verbose"),
        *("--benchmark-min-rounds=9", "--benchmark-max-time=0.1", "--benchmark-disable-gc"),
        *("--benchmark-warmup=on --benchmark-warmup-iterations=3", "--benchmark-sort=name"),
        *("--benchmark-only --benchmark-skip", "--benchmark-timer=time.perf_counter"),
        *(
            "-p no:terminal",
            "-p no:cacheprovider",
            "-p no:xdist",
            "-p no:logging",
            "-p no:junitxml",
        ),
        *("-p xdist.looponfail", "-n 0", "-n0 --tx=2*popen", "--numprocesses=0 --dist=each"),
        *("--lf", "--ff", "--nf", "--sw", "-x", "--maxfail=1", "--deselect=elsewhere.py"),
        *("-q", "-qq", "-vv", "--no-header", "--no-summary", "-rA", "--tb=no", "--tb=native", "-s"),
        *("--import-mode=prepend", "--import-mode=append", "--color=yes", "--setup-show"),
        *("-W ignore", "--durations=0", "--full-trace", "--capture=sys", "-k latency", "-m cell"),
    ],
)
def test_a_cell_is_measured_once(tmp_path: Path, options: list[str], switches: str) -> None:
    if "no:cacheprovider" in switches:  # which has no folder
        options = [each for each in options if each != "-o" and not each.startswith("cache_dir")]
    assert_measured_once(switched(tmp_path / "results", options, *switches.split()))


@pytest.mark.parametrize(
    "switches",
    [
        "--benchmark-disable",
        pytest.param("--benchmark-disable --benchmark-autosave"),
        pytest.param("--benchmark-skip --benchmark-save=mine"),
        pytest.param("--co"),
        pytest.param("--collect-only -q"),
        pytest.param("--setup-only"),
        pytest.param("--setup-plan"),
        pytest.param("--fixtures"),
        pytest.param("--markers"),
        pytest.param("--help"),
    ],
)
def test_nothing_is_measured_nor_saved(tmp_path: Path, options: list[str], switches: str) -> None:
    run = switched(tmp_path / "results", options, *switches.split())
    assert run.code == 0, run.output
    assert "model variants on" not in run.output or "skipped:" in run.output
    assert not list(run.results.rglob("*.json"))


def test_disabled_every_test_runs_once_and_passes(tmp_path: Path, options: list[str]) -> None:
    run = switched(tmp_path / "results", [*options[:-1], "--benchmark-disable"])
    assert run.code == 0, run.output
    assert not list(run.results.rglob("*.json"))


PARALLEL = "one process at a time"


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ("-n 2", PARALLEL),
        ("--tx 2*popen --dist load", PARALLEL),
        ("-f", PARALLEL),
        *(
            pytest.param(switches, PARALLEL)
            for switches in (
                *("-n2", "-n=2", "-nauto", "-n auto", "-n logical", "--numprocesses=2"),
                *("-n 1", "-n 2 --maxprocesses=1", "-d --tx=2*popen", "-d", "--tx popen"),
                *("--dist=load", "--dist loadfile", "--dist=each --tx=popen", "--looponfail"),
            )
        ),
        ("--benchmark-compare", "`ssept compare"),
        pytest.param("--benchmark-compare=0001", "`ssept compare"),
        pytest.param("--benchmark-compare-fail=min:5%", "`ssept compare"),
        ("--benchmark-storage=elasticsearch+http://host/index", "expected a folder"),
        ("--benchmark-storage=/proc/no/such", "/proc/no/such: No such file or directory"),
        pytest.param("--benchmark-storage=file:///dev/null/x", "Not a directory"),
        pytest.param("--benchmark-json=/proc/no/such/x.json", "--benchmark-json"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, options: list[str], switches: str, message: str
) -> None:
    assert_refused(switched(tmp_path / "results", options, *switches.split()), message)


def test_pytest_benchmark_is_needed(tmp_path: Path, options: list[str]) -> None:
    words = command(tmp_path, *options, "-p", "no:benchmark")
    own = [word for word in words if not word.startswith("--benchmark")]
    done = subprocess.run(own, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert_refused(Run(done.returncode, done.stdout + done.stderr, tmp_path), "-p no:benchmark")


@pytest.mark.parametrize("where", ["test", "folder", "root", "inside", "variable", "module"])
def test_it_is_refused_wherever_the_tests_are_named(
    tmp_path: Path, options: list[str], where: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    chosen, test = options[:-1], options[-1]
    tests = {"test": f"{link / TEST}[onnx-cpu-b001]", "folder": str(link / "benchmarks")}
    named = tests.get(where, {"root": str(link), "variable": test}.get(where))
    if where == "module":
        chosen += ["--pyargs", "benchmarks.test_latency"]
    run = switched(
        tmp_path / "results",
        [*chosen, *([named] if named else [])],
        *(() if where == "variable" else ("-n", "2")),
        folder=link / "benchmarks" if where == "inside" else link,
        variables={"PYTEST_ADDOPTS": "--dist=load -n=2"} if where == "variable" else {},
    )
    assert_refused(run, PARALLEL)


@pytest.mark.parametrize(
    ("tests", "switches"),
    [
        *(("benchmarks", switches) for switches in ("-n 2", "-n auto", "--benchmark-compare")),
        ("benchmarks.test_latency", "-n 1 --dist loadfile"),
        ("benchmarks.test_latency::test_latency", "--tx 2*popen --dist load"),
    ],
)
def test_it_is_refused_from_outside_the_clone(tmp_path: Path, tests: str, switches: str) -> None:
    """There pytest sees none of our files before it collects, with pytest-xdist in a worker."""
    outside = tmp_path / "outside"
    outside.mkdir()
    results = tmp_path / "results"
    words = [sys.executable, "-m", "pytest", "-pno:schemathesis", "-pno:cacheprovider", "--pyargs"]
    words += ["-o", "consider_namespace_packages=true", f"--benchmark-storage=file://{results}"]
    words += ["-k", "test_latency and onnx-cpu-b001", tests, *switches.split()]
    variables = {"PYTHONPATH": str(ROOT), "SSEPT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        words, cwd=outside, env=environment() | variables, capture_output=True, text=True
    )
    expected = "`ssept compare" if "compare" in switches else PARALLEL
    assert done.returncode, done.stdout
    assert expected in done.stdout
    assert not re.search(r"passed|^E  |INTERNALERROR", done.stdout, re.MULTILINE), done.stdout
    assert not list(results.rglob("*.json"))


def test_a_run_has_the_name_that_is_given(tmp_path: Path, options: list[str]) -> None:
    copy = tmp_path / "copy" / "run.json"
    run = switched(
        tmp_path / "r", options, "--benchmark-save=mine", f"--benchmark-json={copy}", "-m", "cell"
    )
    assert_measured_once(run)
    (path,) = run.results.rglob("*.json")
    assert path.name == "0001_mine.json"
    copied = json.loads(copy.read_text())
    hashes = {"hashes": copied["ssept"]["hashes"]}  # those of a copy with each call are others
    assert copied["ssept"] == run.saved["ssept"] | hashes
    assert main(["verify", str(copy), str(path)]) == 0
    assert len(copied["benchmarks"][0]["stats"]["data"]) == 48
    assert main(["report", str(copy)]) == 0


def plugin(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param("-p randomly -p no:xdist", marks=plugin("pytest_randomly")),
        pytest.param("--reruns=2", marks=plugin("pytest_rerunfailures")),
        pytest.param("--html=FOLDER/report.html", marks=plugin("pytest_html")),
        pytest.param("--cov=ssept --cov-report=xml:FOLDER/c.xml", marks=plugin("pytest_cov")),
        pytest.param("--timeout=300", marks=plugin("pytest_timeout")),
    ],
)
def test_other_plugins_leave_the_cells_alone(
    tmp_path: Path, options: list[str], switches: str
) -> None:
    words = switches.replace("FOLDER", str(tmp_path)).split()
    variables = {"COVERAGE_FILE": str(tmp_path / "coverage")}
    assert_measured_once(switched(tmp_path / "results", options, *words, variables=variables))


@plugin("pytest_rerunfailures")
def test_a_cell_that_is_run_again_has_one_outcome(tmp_path: Path, options: list[str]) -> None:
    run = switched(
        tmp_path / "results", ["-p", "tests.helpers.toys.toy_flaky", *options], "--reruns=1"
    )
    assert_measured_once(run)
