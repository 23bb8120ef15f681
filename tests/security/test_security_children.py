"""Python programs that are started from here run no files of the current folder."""

import ast
import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ssept
from ssept import children
from ssept.artifacts import Artifact
from ssept.children import command, isolated
from ssept.decide.gate.self_test import trials
from ssept.decide.gate.sides.interpreter import HERE
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.workers.handle import WorkerHandle
from ssept.environments import environment, run
from ssept.measure.cold_start import cold_start
from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from ssept.serving.triton.client import Client
from ssept.serving.triton.server import free_ports
from ssept.serving.triton.server import running as triton_running
from ssept.variants import build
from ssept.variants.parallel import build_all
from tests.helpers.servers.serving import write_checkpoint
from tests.helpers.servers.triton_files import inputs, needs_server, repository
from tests.helpers.wheels import install_only_from, write_wheel

# What programs import first, of Python's, of others' and of ours.
MODULES = (
    *("json", "runpy", "random", "signal", "subprocess", "ctypes", "statistics", "logging", "zlib"),
    *("pathlib", "socket", "tempfile", "multiprocessing", "pip", "venv", "ensurepip", "tiny"),
    *("orjson", "numpy", "onnx", "onnxruntime", "torch", "uvicorn", "uvloop", "httptools", "ssept"),
    *("triton_python_backend_utils", "model"),
)
FORMS = pytest.mark.parametrize(
    "has_option", [pytest.param(True, marks=pytest.mark.skipif(
        sys.version_info < (3, 11), reason="this Python has no -P")), False],
    ids=["option", "python 3.10"],
)  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, full of files that leave a mark where they are run; that mark."""
    folder, mark = tmp_path / "downloads", tmp_path / "was run"
    folder.mkdir()
    text = f"open({str(mark)!r}, 'a').write(__file__ + chr(10))\nraise SystemExit('trapped')\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(text)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return mark


@pytest.fixture
def form(has_option: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command lines as Python 3.10 needs them, or as later ones do."""
    monkeypatch.setattr(children, "HAS_OPTION", has_option)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny.safetensors")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(write_checkpoint(tmp_path_factory.mktemp("c") / "tiny.safetensors"), "fused_topk")


def test_the_trap_catches(trap: Path) -> None:
    for words in (["-c", "import json"], ["-m", "json.tool", "--help"], ["-m", "ssept.cli"]):
        assert subprocess.run([sys.executable, *words], capture_output=True, check=False).returncode
    assert len(trap.read_text().splitlines()) == 3


@FORMS
@pytest.mark.usefixtures("form")
def test_a_module_or_a_script_runs_with_its_arguments(trap: Path, tmp_path: Path) -> None:
    script = tmp_path / "beside" / "script.py"
    script.parent.mkdir()
    script.write_text("import json, sys; print(json.dumps([__name__, *sys.argv]))")
    (script.parent / "json.py").write_text("raise SystemExit('beside')")
    said = subprocess.check_output(command(script, "-a", 1, "b c"), text=True)
    assert ast.literal_eval(said) == ["__main__", str(script), "-a", "1", "b c"]
    given = {"input": "[1]", "text": True}
    assert subprocess.check_output(command("json.tool", "--compact"), **given) == "[1]\n"
    said = subprocess.check_output(isolated(script, 3), text=True)
    assert ast.literal_eval(said) == ["__main__", str(script), "3"]
    assert not trap.exists()


@FORMS
@pytest.mark.usefixtures("form")
def test_what_the_user_put_in_pythonpath_counts(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("print('mine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    assert subprocess.check_output(command("mine"), text=True) == "mine\n"
    assert not trap.exists()


@pytest.mark.slow
@FORMS
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("workers", [1, 2])
def test_serve(trap: Path, tmp_path: Path, checkpoint: Path, workers: int) -> None:
    with running(ServerSettings(model=checkpoint), tmp_path / "log", workers=workers) as server:
        assert server.port
    assert not trap.exists()


@FORMS
@pytest.mark.usefixtures("form")
def test_cold_start(trap: Path, artifact: Artifact) -> None:
    assert cold_start(artifact, "cpu", 1).total_s > 0
    assert not trap.exists()


@FORMS
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("own_tree", [True, False])
def test_a_worker_of_the_gate(trap: Path, tmp_path: Path, own_tree: bool) -> None:
    tree = tmp_path / "tree"
    (tree / "ssept").mkdir(parents=True)
    (tree / "ssept" / "__init__.py").write_text("")
    with WorkerHandle("base", Side("a", HERE, tree if own_tree else None, None, {})) as worker:
        facts = worker.ask("facts", 60)
    expected = tree / "ssept" / "__init__.py" if own_tree else Path(ssept.__file__)
    assert Path(facts["ssept"]) == expected
    assert not trap.exists()


def test_the_noise_of_the_gate_s_self_test(trap: Path) -> None:
    with trials.hogs(1) as (hog,):
        with contextlib.suppress(subprocess.TimeoutExpired):
            hog.wait(1)
        trials.check_hogs([hog])
    assert not trap.exists()


@FORMS
@pytest.mark.usefixtures("form")
def test_builds_side_by_side(
    trap: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    (outcome,) = build_all(checkpoint, ["fused"])
    assert isinstance(outcome.result, Artifact)
    assert not trap.exists()


@pytest.mark.slow
def test_a_tool_and_its_environment(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    shelf, requirements, script = (tmp_path / name for name in ("shelf", "tiny.txt", "tool.py"))
    install_only_from(shelf, monkeypatch)
    requirements.write_text(write_wheel(shelf))
    script.write_text("import json, tiny; print(json.dumps({'answer': tiny.ANSWER}))")
    assert run(environment("tiny", requirements, 20), script, {}) == {"answer": 42}
    assert not trap.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
@needs_server
def test_tritonserver(trap: Path, tmp_path: Path) -> None:
    models = repository(tmp_path / "models")
    with (
        triton_running(models, tmp_path / "log", free_ports()) as server,
        Client("http", server.http) as client,
    ):
        assert np.isfinite(client.infer(inputs(0, 1), ["topk_scores"])["topk_scores"]).all()
    assert not trap.exists()


KNOWN = {"children.py"}  # where the command lines of Python programs are written
NOT_STARTED = {
    "decide/gate/sides/interpreter.py",
    "measure/packages.py",
}  # the name alone, and to be shown


def names_executable(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "executable" for node in ast.walk(tree)
    )


def test_no_other_place_writes_the_command_line_of_a_python() -> None:
    root = Path(ssept.__file__).parent
    found = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if names_executable(ast.parse(file.read_text()))
        or "multiprocessing.get_context" in file.read_text()
    }
    assert found == KNOWN | NOT_STARTED
