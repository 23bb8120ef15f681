"""`ssept build`: variants side by side; one fails, all are killed, two ask: nothing is lost."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import onnx
import psutil
import pytest
import torch

import ssept
from ssept.artifacts import Artifact
from ssept.artifacts.manifests import MANIFEST, read_artifacts
from ssept.cli import main
from ssept.data.dataset import Dataset
from ssept.errors import CheckpointError, DataError, SseptError
from ssept.files import sha256
from ssept.model.checkpoint import load_checkpoint
from ssept.variants import VARIANTS, build, onnxruntime_quantizer
from ssept.variants.calibration import calibration_of
from ssept.variants.parallel import build_all
from ssept.variants.sources import sources
from tests.conftest import untrained

# What a Python started with this in its PYTHONPATH does instead of importing a module.
HOOK = """
import importlib.abc, os, subprocess, sys

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {action}

sys.meta_path.insert(0, Hook())
"""
IS_MISSING = "raise ModuleNotFoundError('No module named ' + name, name=name)"
DIES = "os.kill(os.getpid(), 9)"
HANGS = "subprocess.run(['sleep', '1000'])"
QUANTIZER = "onnxruntime.quantization"  # imported by the builder of ort_dynamic alone
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 120


@pytest.fixture
def fresh(empty_cache: Path, own_cache: Path) -> Path:
    """An empty cache of the test's own, but for the tool environments of this session."""
    (empty_cache / "environments").symlink_to(own_cache / "environments")
    return empty_cache


@pytest.fixture
def exported(fresh: Path, own_cache: Path, small_checkpoint: Path) -> Path:
    """The same with the plain export in it, whose building takes longest."""
    folder = build_in(own_cache, small_checkpoint)
    shutil.copytree(folder, fresh / "artifacts" / folder.name)
    return fresh


def build_in(cache: Path, checkpoint: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSEPT_CACHE_DIR", str(cache))
        return build(checkpoint, "onnx").path.parent


def hooked(folder: Path, module: str, action: str) -> str:
    """A value of PYTHONPATH."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK.format(module=module, action=action))
    return str(folder)


def ssept_build(checkpoint: Path, variants: str, *more: object) -> int:
    return main(["build", "--checkpoint", str(checkpoint), "--variants", variants, *map(str, more)])


def rows(text: str) -> dict[str, list[str]]:
    """The table by variant."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:]}


def files_of(cache: Path) -> dict[str, int]:
    """The finished files in the cache, and when each was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for manifest in (cache / "artifacts").glob(f"[!.]*/{MANIFEST}")
        for path in manifest.parent.glob("*.onnx")
    }


@pytest.mark.slow
def test_the_table_tells_what_was_built_and_what_was_there(
    fresh: Path, small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ssept_build(small_checkpoint, "onnx") == 0
    assert rows(capsys.readouterr().out)["onnx"][2] == "built"
    assert ssept_build(small_checkpoint, "onnx_graph,onnx", "--out", tmp_path / "out") == 0
    table = rows(capsys.readouterr().out)
    assert list(table) == ["onnx_graph", "onnx"]
    plain, optimized = (build(small_checkpoint, name) for name in ("onnx", "onnx_graph"))
    file = str(tmp_path / "out" / "tiny.onnx")
    assert table["onnx"] == [f"{plain.size_bytes / 1e6:.2f}", "100%", "cached", file]
    share = f"{optimized.size_bytes / plain.size_bytes:.0%}"
    assert table["onnx_graph"][1:3] == [share, "built"]
    assert set(read_artifacts(tmp_path / "out")) == {"onnx", "onnx_graph"}


@pytest.mark.slow
def test_what_is_not_asked_for_is_built_where_it_is_needed_but_not_told(
    fresh: Path, small_checkpoint: Path
) -> None:
    (outcome,) = build_all(small_checkpoint, ["onnx_graph"])
    assert outcome.variant == "onnx_graph"
    assert set(files_of(fresh)) == {"tiny.onnx", "tiny_onnx_graph.onnx"}


def test_nothing_heavy_is_imported_where_nothing_changed(
    exported: Path, small_checkpoint: Path, small_folder: Path
) -> None:
    names = "onnx,onnx_graph,ort_dynamic,ort_static"
    assert ssept_build(small_checkpoint, names, "--data", small_folder) == 0
    written = files_of(exported)
    assert len(written) == 4
    program = (
        "import sys; from ssept.cli import main\n"
        f"main(['build', '--checkpoint', {str(small_checkpoint)!r}, '--variants', {names!r}])\n"
        "print({'torch', 'onnx', 'onnxscript', 'onnxruntime'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *table, imported = done.stdout.splitlines()
    assert imported == "set()"
    assert {row[2] for row in rows("\n".join(table)).values()} == {"cached"}
    assert files_of(exported) == written


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor", "nncf")
def test_every_variant_tells_what_it_is_and_what_made_it(
    small: Dataset, small_checkpoint: Path, small_folder: Path
) -> None:
    names = [name for name, it in VARIANTS.items() if it.build and it.format == "onnx"]
    checked = []
    for outcome in build_all(small_checkpoint, names, small_folder, jobs=2):
        artifact = outcome.result
        if isinstance(artifact, SseptError):
            raise artifact
        assert read_artifacts(artifact.path.parent) == {outcome.variant: artifact}
        check_manifest(artifact.path.parent, small)
        checked.append(outcome.variant)
    assert sorted(checked) == sorted(names)


def check_manifest(folder: Path, small: Dataset) -> None:
    (entry,) = json.loads((folder / MANIFEST).read_text())["artifacts"]
    (file,) = folder.glob("*.onnx")
    variant = VARIANTS[entry["variant"]]
    nodes = Counter(node.op_type for node in onnx.load(file).graph.node)
    assert entry["path"] == file.name
    assert entry["sha256"] == sha256(file)
    assert entry["size_bytes"] == file.stat().st_size
    assert entry["operators"] == nodes
    assert entry["model"]["data_hash"] == small.data_hash
    for tool in variant.tools:
        name, number = entry["tools"][tool].split()
        assert number == version(name)
    assert "torch" in entry["tools"]  # which exported what all are built from
    sequences = calibration_of(small, entry["model"]["max_length"]).sha256
    calibrated = variant.calibrated or VARIANTS[str(variant.base)].calibrated
    assert entry["calibration"].get("sha256") == (sequences if calibrated else None)


def test_one_that_fails_loses_no_other_and_nothing_is_copied(
    exported: Path,
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", hooked(tmp_path / "site", QUANTIZER, IS_MISSING))
    out = tmp_path / "out"
    assert ssept_build(small_checkpoint, "ort_dynamic,onnx,onnx_graph", "--out", out) == 1
    told = capsys.readouterr()
    assert list(rows(told.out)) == ["onnx", "onnx_graph"]
    error, copied = told.err.splitlines()
    assert error.startswith("ssept: error: ort_dynamic: ")
    assert "install the train extra" in error
    assert copied == f"ssept: nothing was copied to {out}, because not all variants were built"
    assert not out.exists()
    monkeypatch.delenv("PYTHONPATH")
    assert ssept_build(small_checkpoint, "ort_dynamic,onnx,onnx_graph", "--out", out) == 0
    took = {name: row[2] for name, row in rows(capsys.readouterr().out).items()}
    assert took == {"ort_dynamic": "built", "onnx": "cached", "onnx_graph": "cached"}


@pytest.mark.slow
def test_a_tool_environment_that_cannot_be_made_costs_its_variants_alone(
    tmp_path: Path,
    small_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert ssept_build(small_checkpoint, "quant_dynamic,onnx") == 1
    told = capsys.readouterr()
    assert list(rows(told.out)) == ["onnx"]
    (error,) = told.err.splitlines()
    assert "quant_dynamic: the environment neural-compressor cannot be made" in error


def test_what_is_built_from_a_failed_one_is_told_in_the_same_line(
    fresh: Path,
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", hooked(tmp_path / "site", "torch", IS_MISSING))
    assert ssept_build(small_checkpoint, "onnx,onnx_graph,ort_dynamic") == 1
    told = capsys.readouterr()
    assert told.out == ""
    (error,) = told.err.splitlines()
    assert "error: onnx, onnx_graph, ort_dynamic: ssept.variants.export" in error


def test_a_builder_that_dies_is_an_error_like_another(
    exported: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", hooked(tmp_path / "site", QUANTIZER, DIES))
    names = ["onnx", "ort_dynamic"]
    results = {done.variant: done.result for done in build_all(small_checkpoint, names)}
    assert isinstance(results["onnx"], Artifact)
    assert str(results["ort_dynamic"]) == ("ort_dynamic: the process that built it ended with -9")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_it_goes_on_from_what_was_finished(
    how: signal.Signals,
    exported: Path,
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = "onnx,onnx_graph,ort_dynamic"
    command = ["build", "--checkpoint", str(small_checkpoint), "--variants", names, "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", *command],
        env=os.environ | {"PYTHONPATH": hooked(tmp_path / "site", QUANTIZER, HANGS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    until(
        lambda: len(files_of(exported)) == 2 and "sleep" in names_of(process.pid),
        lambda: process.poll() is None,
    )
    finished, started = files_of(exported), psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == (-how if how is signal.SIGKILL else 128 + how)
    assert said == ("" if how is signal.SIGKILL else "ssept: interrupted\n")
    _, alive = psutil.wait_procs(started, PATIENCE_SECONDS)
    assert alive == []
    assert main(command) == 0
    took = {name: row[2] for name, row in rows(capsys.readouterr().out).items()}
    assert took == {"onnx": "cached", "onnx_graph": "cached", "ort_dynamic": "built"}
    assert files_of(exported).items() > finished.items()
    assert [path for path in (exported / "artifacts").iterdir() if path.name.startswith(".")] == []


def names_of(parent: int) -> set[str]:
    """The programs that a process has started, and those have."""
    try:
        return {child.name() for child in psutil.Process(parent).children(recursive=True)}
    except psutil.NoSuchProcess:  # it, or one that has just ended
        return set()


def until(condition: Callable[[], bool], possible: Callable[[], bool]) -> None:
    """Poll until the condition holds; fail when it cannot any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert possible()
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_the_same_artifact_asked_for_twice_at_once_is_built_once(
    exported: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, builds = threading.Barrier(2), []

    def quantize(base: Path, destination: Path) -> None:
        builds.append(destination)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=1)  # the other one may not come here while this one builds
        shutil.copyfile(base, destination)

    monkeypatch.setattr(onnxruntime_quantizer, "dynamic", quantize)
    build(small_checkpoint, "onnx")
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(build, small_checkpoint, "ort_dynamic") for _ in range(2)]
        first, second = (task.result() for task in tasks)
    assert len(builds) == 1
    assert first == second


@pytest.mark.slow
def test_two_commands_at_once_share_what_they_need(
    fresh: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "ssept.cli", "build", "--checkpoint", small_checkpoint]
    both = [
        subprocess.Popen([*command, "--variants", names], stdout=subprocess.DEVNULL)
        for names in ("onnx_graph,ort_dynamic", "ort_dynamic,onnx_graph")
    ]
    assert [process.wait(PATIENCE_SECONDS) for process in both] == [0, 0]
    assert len(files_of(fresh)) == 3
    assert ssept_build(small_checkpoint, "onnx,onnx_graph,ort_dynamic") == 0
    assert {row[2] for row in rows(capsys.readouterr().out).values()} == {"cached"}


@pytest.mark.slow
def test_load_finds_what_was_calibrated_without_the_data(
    fresh: Path, small: Dataset, small_folder: Path, tmp_path: Path
) -> None:
    path = untrained(small, tmp_path / "real.safetensors", item_dim=4, user_dim=4)
    with pytest.raises(DataError, match=r"`ssept build .*--variants ort_static --data DIR`"):
        ssept.load(path, "ort_static")
    assert ssept_build(path, "ort_static") == 1
    assert ssept_build(path, "ort_static", "--data", small_folder) == 0
    assert ssept.load(path, "ort_static").artifact.calibration["data_hash"] == small.data_hash


@pytest.mark.slow
def test_a_state_dict_that_was_calibrated_is_loaded_from_a_folder(
    fresh: Path, small_checkpoint: Path, small_folder: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "own.pth", tmp_path / "out"
    weights = load_checkpoint(small_checkpoint).model.state_dict()
    torch.save({"state_dict": weights, "heads": 1}, path)
    assert ssept_build(path, "ort_static", "--data", small_folder, "--out", out) == 0
    with pytest.raises(DataError, match=r"--data DIR --out FOLDER`.* load it from there"):
        ssept.load(path, "ort_static")
    assert ssept.load(out, "ort_static").artifact.calibration


def test_a_builder_is_known_by_all_that_it_leads_to() -> None:
    def names(module: str) -> set[str]:
        return {path.name for path in sources(f"ssept.variants.{module}")}

    assert names("optimized") == {"optimized.py"}
    assert {"export.py", "checkpoint.py", "network.py"} <= names("export")
    compressor = {"neural_compressor.py", "qdq.py", "calibration.py"}
    assert compressor | {"neural-compressor.txt", "quantize.py"} == names("neural_compressor")
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        sources("ssept.variants.no_such")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "onnx,quant"], "--variants onnx,quant: expected names from onnx, "),
        (["--variants", ","], "--variants ,: expected names from onnx, "),
        (["--checkpoint", "no/such"], "no/such: no such checkpoint file"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", *arguments]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error


def test_build_all_refuses_what_it_cannot_begin(small_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SseptError, match="unknown variant 'quant'"):
        list(build_all(small_checkpoint, ["onnx", "quant"]))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        list(build_all(tmp_path / "missing.safetensors", ["onnx"]))
