"""The wheel, without the clone: each command works from an empty folder, with what extras bring."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from ssept.cli.commands import COMMANDS
from tests.guard import Guard
from tests.helpers.data_files import made_up_ratings, write_100k
from tests.helpers.matrix import ROOT

pytestmark = pytest.mark.slow

EXTRAS = "cpu,train,serve"


@pytest.fixture(scope="module")
def wheel(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(guard, sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("ssept-*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(guard: Guard, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = ROOT / "constraints.txt"
    pip(guard, folder / "bin/python", "install", "-c", constraints, f"{wheel}[{EXTRAS}]")
    return folder / "bin"


def pip(guard: Guard, python: str | Path, *arguments: str | Path) -> None:
    """Run pip as the user would, whose settings may say where the packages are."""
    with guard.users_environment():
        done = subprocess.run(
            [python, "-m", "pip", "--quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def run(programs: Path, folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the fresh environment in a folder, which has nothing of the clone."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program, *arguments = command
    return subprocess.run(
        [programs / program, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def worked(programs: Path, folder: Path, *command: str | Path) -> str:
    """What such a program printed, which must not have failed."""
    done = run(programs, folder, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_library_and_the_shipped_checkpoint_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"ssept"}
    shipped = {"models/" + path.name for path in (ROOT / "models").iterdir()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT / "ssept", capture_output=True, text=True, check=True
    )
    expected = {f"ssept/{name}" for name in {*tracked.stdout.split(), *shipped}}
    assert {name for name in names if name.startswith("ssept/")} == expected


def test_python_loads_the_shipped_checkpoint(programs: Path, tmp_path: Path) -> None:
    program = (
        "import ssept; print(ssept.__file__)\n"
        "session = ssept.load(ssept.shipped_checkpoint())\n"
        "print(session.recommend([42], [[10, 11, 23, 99]], k=5)[0].shape)"
    )
    place, shape = worked(programs, tmp_path, "python", "-c", program).splitlines()
    assert Path(place).is_relative_to(programs.parent)
    assert shape == "(1, 5)"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(programs: Path, tmp_path: Path, command: str) -> None:
    assert f"usage: ssept {command}" in worked(programs, tmp_path, "ssept", command, "--help")


def test_doctor_looks_at_the_machine(programs: Path, tmp_path: Path) -> None:
    said = json.loads(worked(programs, tmp_path, "ssept", "doctor", "--json", "--seconds=0.1"))
    state = {provider["name"]: provider["unavailable"] for provider in said["providers"]}
    assert state["cpu"] is None
    assert state["torch"] is None


def test_build_and_gate_files(programs: Path, tmp_path: Path) -> None:
    variants = "--variants=onnx,onnx_graph"
    said = worked(programs, tmp_path, "ssept", "build", variants, "--out=built")
    assert "SSE_PT10kemb_onnx_graph.onnx" in said
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(tmp_path / "built" / "SSE_PT10kemb.onnx", tmp_path / name)
    limits = ("--batch-sizes=1", "--providers=cpu", "--seconds=5", "--accuracy-users=50")
    done = run(programs, tmp_path, "ssept", "gate", "a.onnx", "b.onnx", *limits)
    assert done.returncode in (0, 2), done.stderr  # a noisy machine can tell nothing in 5 s
    assert "custom-cpu" in done.stdout


def test_data_are_prepared_and_trained_on(programs: Path, tmp_path: Path) -> None:
    write_100k(tmp_path / "raw", made_up_ratings())
    worked(programs, tmp_path, "ssept", "data", "prepare", "raw", "data")
    assert (tmp_path / "data" / "manifest.json").is_file()
    settings = ("--max-minutes=0.02", "--out=own.safetensors")
    worked(programs, tmp_path, "ssept", "train", "data", *settings)
    worked(programs, tmp_path, "ssept", "golden", "own.safetensors")
    assert (tmp_path / "own.golden.json").is_file()


def test_saved_runs_are_shown_and_compared(programs: Path, tmp_path: Path) -> None:
    first, second = sorted((ROOT / "tests/data/runs").glob("*.json"))[:2]
    assert "onnx-cpu *" in worked(programs, tmp_path, "ssept", "report", first)
    assert "onnx-cpu" in worked(programs, tmp_path, "ssept", "compare", first, second)


def test_serve_answers_and_shows_its_page(programs: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [programs / "ssept", "serve", "--port=0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        address = re.search(r"http://127.0.0.1:\d+", process.stdout.readline())
        assert address, process.stderr and process.stderr.read()
        body = json.dumps({"user_id": 5, "sequence": [1, 2, 3], "top_k": 3}).encode()
        asked = urllib.request.Request(
            f"{address[0]}/predict", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200
            assert len(json.load(answer)["top_items"]) == 3
        with urllib.request.urlopen(f"{address[0]}/", timeout=60) as answer:
            assert b"<html" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("tune",), "tune"),
        (("triton", "repository", "out"), "triton"),
        (("build", "--variants=fused_index"), "index"),
    ],
    ids=["tune", "triton", "index"],
)
def test_what_needs_another_extra_names_it(
    programs: Path, tmp_path: Path, command: tuple[str, ...], extra: str
) -> None:
    done = run(programs, tmp_path, "ssept", *command)
    assert done.returncode == 1
    assert f"{extra} extra" in done.stderr
    assert "Traceback" not in done.stderr
