"""Folders whose names are not valid UTF-8: each works, or is refused in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import foreign_onnx
from tests.helpers.matrix import environment, run_matrix

RUNS = sorted((Path(__file__).parents[1] / "data/runs").glob("*.json"))[:2]
SHOWN = r"r\udce9sultats"
NOT_UTF8 = "is not valid UTF-8"


@pytest.fixture
def folder(tmp_path: Path, small_folder: Path, small_checkpoint: Path) -> Path:
    """A folder of such a name, with a model, data and saved runs."""
    made = tmp_path / os.fsdecode(b"r\xe9sultats")
    made.mkdir()
    for run in RUNS:
        shutil.copy(run, made)
    shutil.copy(small_checkpoint, made / "x.safetensors")
    shutil.copytree(small_folder, made / "data")
    foreign_onnx.write(made / "x.onnx")
    (made / "broken.json").write_text("{")
    return made


def ran(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the folder, which its arguments and variables call FOLDER."""
    own = {name: text.replace("FOLDER", str(folder)) for name, text in variables.items()}
    done = subprocess.run(
        [sys.executable, "-m", "ssept.cli", *(a.replace("FOLDER", str(folder)) for a in arguments)],
        env=environment() | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "Unicode" not in done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", f"FOLDER/{RUNS[0].name}"),
        ("compare", *(f"FOLDER/{run.name}" for run in RUNS)),
        ("compare", str(RUNS[0]), f"FOLDER/{RUNS[1].name}"),
        ("data", "synthetic", "FOLDER/new"),
        ("train", "FOLDER/data", "--out=OUT", "--epochs=1", "--threads=1"),
    ],
    ids=lambda words: "-".join(words[:2])[:14],
)
def test_data_and_saved_runs_are_used(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    out = f"--out={tmp_path / 'x.safetensors'}"
    done = ran(folder, *(out if word == "--out=OUT" else word for word in arguments))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("report", "FOLDER/none.json"), 1, "no such results file"),
        (("report", "FOLDER/broken.json"), 1, "not a results file"),
        (("compare", "FOLDER/data", str(RUNS[0])), 1, "no saved runs in it"),
        (("data", "prepare", "FOLDER/none", "FOLDER/new"), 1, "does not exist"),
        (("build", "--checkpoint=FOLDER/x.safetensors", "--variants=onnx"), 1, NOT_UTF8),
        (("build", "--variants=onnx", "--out=FOLDER/new"), 1, NOT_UTF8),
        (("train", "FOLDER/none", "--out=FOLDER/new.safetensors"), 1, NOT_UTF8),
        (("golden", "FOLDER/x.safetensors"), 1, NOT_UTF8),
        (("gate", "FOLDER/x.onnx", "FOLDER/x.onnx"), 3, NOT_UTF8),
        (("triton", "repository", "FOLDER/new", "--onnx=FOLDER/x.onnx"), 1, NOT_UTF8),
        (("serve", "--model=FOLDER/x.safetensors"), 1, NOT_UTF8),
        (("serve", "--model=FOLDER/x.onnx"), 1, NOT_UTF8),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_used_is_refused_in_one_line(
    folder: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    if arguments[0] in ("serve", "triton"):
        pytest.importorskip("fastapi" if arguments[0] == "serve" else "tritonclient")
    before = sorted(folder.iterdir())
    done = ran(folder, *arguments)
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ssept: error: ")
    assert SHOWN in line
    assert said in line
    assert len(line) < 600 + 2 * len(str(folder))
    assert sorted(folder.iterdir()) == before


def test_a_cache_in_such_a_folder_is_refused_by_its_variable(
    folder: Path, small_checkpoint: Path
) -> None:
    arguments = ("build", f"--checkpoint={small_checkpoint}", "--variants=onnx")
    done = ran(folder, *arguments, SSEPT_CACHE_DIR="FOLDER/cache")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert NOT_UTF8 in line
    assert "SSEPT_CACHE_DIR" in line


FEW = ["--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu", "-k", "test_latency"]


@pytest.mark.slow
def test_the_matrix_reads_data_from_it_and_saves_into_it(
    folder: Path, small_checkpoint: Path
) -> None:
    own = ["--data-dir", folder / "data", "--checkpoint", small_checkpoint]
    run = run_matrix(folder / "saved", *own, *FEW, f"--benchmark-json={folder / 'copy.json'}")
    assert run.code == 0, run.output
    assert list(run.cells("latency")) == ["test_latency[onnx-cpu-b001]"]
    assert SHOWN in run.output
    assert (folder / "copy.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "file", "variant"),
    [("--checkpoint", "x.safetensors", "onnx"), ("--onnx", "x.onnx", "custom")],
)
def test_the_matrix_refuses_a_model_in_it(
    folder: Path, small_folder: Path, option: str, file: str, variant: str
) -> None:
    own = ["--data-dir", small_folder, option, folder / file]
    run = run_matrix(folder / "saved", *own, *FEW, f"--variants={variant}")
    assert run.code == 1, run.output
    assert NOT_UTF8 in run.output
    assert "Traceback" not in run.output
    assert "Unicode" not in run.output
    assert len(run.output.splitlines()) < 40
    assert not (folder / "saved").exists() or not list((folder / "saved").rglob("*.json"))
