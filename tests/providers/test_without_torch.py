"""The core imports, and measures, where torch, onnx and safetensors are missing."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssept
from ssept.artifacts.manifests import copy_artifacts
from ssept.variants import build
from tests.helpers.matrix import run_matrix

MISSING = ("torch", "onnx", "onnxscript", "safetensors")
NEEDS_TORCH = ("ssept.model.", "ssept.variants.", "ssept.providers.torch")
BLOCK = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def board(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without the packages: every Python started there lacks them."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK.format(missing=MISSING))
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_every_module_of_the_core_imports(board: dict[str, str]) -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(ssept.__path__, "ssept.")
        if not module.name.startswith(NEEDS_TORCH) and module.name != "ssept.cli.__main__"
    ] + ["ssept.model.store"]
    assert len(names) > 20
    program = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", program], env=board, check=True)


def test_the_block_blocks(board: dict[str, str]) -> None:
    for name in MISSING:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], env=board, check=False, capture_output=True
        )
        assert b"No module named" in done.stderr


@pytest.mark.parametrize("command", [["train"], ["build", "--checkpoint"], ["golden"]])
def test_what_needs_torch_says_so_in_one_line(
    board: dict[str, str], small_checkpoint: Path, command: list[str]
) -> None:
    if command != ["train"]:
        command = [*command, str(small_checkpoint)]
    done = subprocess.run(
        [sys.executable, "-m", "ssept.cli", *command],
        env=board,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "install the train extra" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_copied_artifacts_are_measured(
    board: dict[str, str],
    small_checkpoint: Path,
    small_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifacts = tmp_path / "artifacts"
    copy_artifacts([build(small_checkpoint, name) for name in ("onnx", "onnx_graph")], artifacts)
    monkeypatch.setenv("PYTHONPATH", board["PYTHONPATH"])
    run = run_matrix(
        tmp_path / "results",
        "--artifacts",
        artifacts,
        "--data-dir",
        small_folder,
        "--providers",
        "cpu",
        "--rounds",
        "45",
        "--batch-sizes",
        "1",
    )
    assert run.code == 0, run.output
    assert set(run.cells("footprint")) == {
        "test_footprint[onnx-cpu]",
        "test_footprint[onnx_graph-cpu]",
    }
    assert "torch is not installed" not in run.output.replace("nothing to compare with", "")
