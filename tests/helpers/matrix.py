"""Runs the matrix as a user does: in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssept.results.cells import MatrixRun
from ssept.results.files import run_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """How a run of the matrix ended."""

    code: int
    output: str
    results: Path

    @property
    def saved(self) -> dict[str, Any]:
        """The run's one results file."""
        (path,) = self.results.rglob("*.json")
        return json.loads(path.read_text())

    def cells(self, measure: str) -> dict[str, dict[str, Any]]:
        """The saved cells of one measure, by test name."""
        return {
            benchmark["name"]: benchmark["extra_info"]
            for benchmark in self.saved["benchmarks"]
            if benchmark["extra_info"]["measure"] == measure
        }

    def outcomes(self, outcome: str) -> dict[str, str]:
        """Test name to reason, of the cells that ended so."""
        return {
            entry["test"]: entry["reason"]
            for entry in self.saved["ssept"]["outcomes"]
            if entry["outcome"] == outcome
        }


def run_content(*facts: dict[str, Any]) -> dict[str, Any]:
    """The file of a saved run of benchmarks with these facts, and nothing else of note."""
    common = {"variant": "onnx", "provider": "cpu", "threads": 1, "options": {}, "size_bytes": 1}
    common |= dict.fromkeys(("checkpoint_sha256", "data_hash", "artifact_sha256"), "a" * 64)
    benchmarks = [
        {"name": f"test_{place}", "fullname": f"t.py::test_{place}", "extra_info": common | own}
        | {"stats": {"median": 1.0, "q1": 1.0, "q3": 1.0}}
        for place, own in enumerate(facts)
    ]
    about = {"schema": 1, "baseline": "onnx-cpu", "outcomes": [], "not_applicable": []}
    return {"benchmarks": benchmarks, "ssept": about}


def saved_run(*facts: dict[str, Any]) -> MatrixRun:
    """The same as it is read."""
    run = run_of(Path("run.json"), run_content(*facts))
    assert isinstance(run, MatrixRun)
    return run


def command(results: Path, *options: str | Path, lean: bool = True) -> list[str]:
    """The matrix, saved under `results`; lean: without plugins that a test seldom needs."""
    return [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "fixtures.options",
        *(("-p", "no:cacheprovider", "-pno:xdist") if lean else ()),
        "-pno:schemathesis",  # whose import takes longer than all else
        f"--benchmark-storage=file://{results}",
        *map(str, options),
    ]


def environment() -> dict[str, str]:
    """This process's environment, without what pytest-xdist and tox put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "COLUMNS": "100"
    }


def run_matrix(
    results: Path,
    *options: str | Path,
    lean: bool = True,
    folder: Path = ROOT,
    variables: Mapping[str, str] | None = None,
) -> Run:
    """Run the matrix to its end, in a folder, with more environment variables."""
    done = subprocess.run(
        command(results, *options, lean=lean),
        cwd=folder,
        env=environment() | (variables or {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    return Run(done.returncode, done.stdout, results)
