"""Two onnxruntime distributions over each other: every door but `doctor` stops with one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT, command, environment

MESSAGE = "installed over each other"


@pytest.fixture
def overlaid(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python in which a second distribution is installed as well."""
    folder = tmp_path / "site"
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"):
        info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    return {**environment(), "PYTHONPATH": str(folder)}


def run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build"],
        ["train"],
        ["golden", "x"],
        ["report", "x"],
        ["data", "prepare", "x", "y"],
        ["tune"],
    ],
)
def test_every_command_stops(overlaid: dict[str, str], arguments: list[str]) -> None:
    done = run([sys.executable, "-m", "ssept.cli", *arguments], overlaid)
    assert done.returncode == 1
    assert MESSAGE in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_matrix_stops(overlaid: dict[str, str], tmp_path: Path) -> None:
    done = run(command(tmp_path / "results"), overlaid)
    assert done.returncode == 4
    assert MESSAGE in done.stderr
    assert "ssept doctor" in done.stderr


@pytest.mark.parametrize("provider", ["cpu", "torch"])
def test_the_public_door_stops(
    overlaid: dict[str, str], small_checkpoint: Path, provider: str
) -> None:
    variant = "torch" if provider == "torch" else "onnx"
    program = f"import ssept; ssept.load({str(small_checkpoint)!r}, {variant!r}, {provider!r})"
    done = run([sys.executable, "-c", program], overlaid)
    assert done.returncode == 1
    assert MESSAGE in done.stderr


def test_doctor_explains(overlaid: dict[str, str]) -> None:
    done = run([sys.executable, "-m", "ssept.cli", "doctor", "--seconds", "0.1"], overlaid)
    assert done.returncode == 1
    assert MESSAGE in done.stdout
    assert "uninstall" in done.stdout


def test_without_the_overlay_they_do_not_stop() -> None:
    done = run([sys.executable, "-m", "ssept.cli", "report", "/no/such/file"], dict(os.environ))
    assert MESSAGE not in done.stderr
    assert "/no/such/file" in done.stderr
