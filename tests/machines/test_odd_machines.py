"""Machines that lack something: each command works, or ends with one line that says why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import refusing
from tests.helpers.matrix import ROOT, command, environment

pytestmark = pytest.mark.slow

CELLS = ROOT / "benchmarks"
SSEPT = [sys.executable, "-m", "ssept.cli"]
NO_CALLS = "sched_setaffinity=EPERM,pidfd_open=ENOSYS,perf_event_open=EPERM"
UNKNOWN_USER = (
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    # This user may read what is root's, as the Python of the tests may be.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv"
)
MACHINES = {
    "one CPU": pytest.param(["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}),
    "no call": pytest.param([sys.executable, refusing.__file__, NO_CALLS], {}),
    "no call known": pytest.param(
        [sys.executable, refusing.__file__, NO_CALLS.replace("EPERM", "ENOSYS")], {}
    ),
    "C": pytest.param([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "latin-1": pytest.param([], {"PYTHONIOENCODING": "latin-1"}),
    "no home": pytest.param([], {"HOME": ""}),
    "home not there": pytest.param([], {"HOME": "/proc/no/such"}),
    "unknown user": pytest.param([*UNKNOWN_USER], {"HOME": "/proc/no/such"}, marks=as_root),
}
odd_machines = pytest.mark.parametrize(("wrapper", "variables"), MACHINES.values(), ids=MACHINES)
Ended = subprocess.CompletedProcess[str]


def run(words: list[str], variables: dict[str, str], folder: Path) -> Ended:
    own = environment() | {"SSEPT_CACHE_DIR": str(folder / "cache")} | variables
    return subprocess.run(
        words, env=own, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that every user may write into and reach, with a name of two words."""
    made = tmp_path / "two words"
    made.mkdir()
    for each in (made, *list(made.parents)[:3]):
        each.chmod(0o777)
    return made


@odd_machines
def test_doctor(wrapper: list[str], variables: dict[str, str], folder: Path) -> None:
    done = run([*wrapper, *SSEPT, "doctor"], variables, folder)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr


@odd_machines
def test_build_and_gate(
    wrapper: list[str],
    variables: dict[str, str],
    folder: Path,
    small_folder: Path,
    small_checkpoint: Path,
) -> None:
    own = ["--checkpoint", str(small_checkpoint), "--data", str(small_folder)]
    built = run(
        [*wrapper, *SSEPT, "build", *own, "--variants=onnx", "--out=model"], variables, folder
    )
    assert built.returncode == 0, built.stderr
    short = ["--no-accuracy", "--batch-sizes=1", "--seconds=2", "--providers=cpu"]
    gated = run([*wrapper, *SSEPT, "gate", "model", "model", *short], variables, folder)
    assert gated.returncode in (0, 2), gated.stderr  # fine, or too noisy to say
    assert "Traceback" not in gated.stderr


@odd_machines
def test_cells(
    wrapper: list[str],
    variables: dict[str, str],
    folder: Path,
    small_folder: Path,
    small_checkpoint: Path,
) -> None:
    own = ["--data-dir", str(small_folder), "--checkpoint", str(small_checkpoint)]
    few = ["--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu"]
    words = command(folder / "results", *own, *few, "-k", "test_edge or test_latency", CELLS)
    done = run([*wrapper, *words], variables, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "results").rglob("*.json"))) == 1
    if refusing.__file__ in wrapper:
        assert "does not bind a process to one core: sched_setaffinity" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system")
def test_a_read_only_or_full_folder_of_results_is_named(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    own = ["--data-dir", str(small_folder), "--checkpoint", str(small_checkpoint)]
    few = ["--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu"]
    words = command(results, *own, *few, "-k", "test_latency", CELLS)
    for options, code, message in (
        ("ro,size=1m", 4, f"{results}: Read-only file system"),
        ("size=4k,nr_inodes=3", 1, "No space left on device"),
    ):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", results])
        if mounted.returncode:
            pytest.skip("this machine lets no file system be mounted")
        try:
            done = run(words, {}, tmp_path)
        finally:
            subprocess.run(["umount", results], check=True)
        assert done.returncode == code, done.stdout
        assert message in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
