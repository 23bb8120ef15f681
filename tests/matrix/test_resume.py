"""`--resume`: a matrix that was killed goes on where it was, and ends as if it had not been."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ssept.files import json_text
from ssept.results.hashes import add_hashes, changed_parts
from tests.helpers.matrix import ROOT, Run, command, environment, run_matrix

KILLS = int(os.environ.get("SSEPT_TEST_KILLS", "4"))


@pytest.fixture(scope="module")
def options(small_folder: Path, small_checkpoint: Path) -> list[str]:
    return [
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--rounds=45",
        "--providers=torch,cpu,cuda",
        "--variants=torch,onnx",
        "-k",
        "latency or accuracy or throughput or budget",
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, options: list[str]) -> Run:
    run = run_matrix(tmp_path_factory.mktemp("whole"), *options)
    assert run.code == 0, run.output
    return run


def cut(run: Run, folder: Path, kept: int) -> Path:
    """The file of a run as it was after some of its measurements; the path of its copy."""
    (path,) = run.results.rglob("*.json")
    content = run.saved
    content["benchmarks"] = content["benchmarks"][:kept]
    names = {each["name"] for each in content["benchmarks"]}
    outcomes = content["ssept"]["outcomes"]
    content["ssept"]["outcomes"] = [each for each in outcomes if each["test"] in names]
    return written(folder / path.relative_to(run.results), content)


def written(path: Path, content: dict[str, Any]) -> Path:
    add_hashes(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(content))
    return path


def names(run: dict[str, Any]) -> list[str]:
    return [each["fullname"] for each in run["benchmarks"]]


def test_what_was_measured_stays_and_the_rest_is_measured(
    tmp_path: Path, whole: Run, options: list[str]
) -> None:
    path = cut(whole, tmp_path, 5)
    before = json.loads(path.read_text())["benchmarks"]
    run = run_matrix(tmp_path, *options, "--resume")
    assert run.code == 0, run.output
    assert "5 measurements are kept" in run.output
    assert run.saved["benchmarks"][:5] == before
    assert names(run.saved) == names(whole.saved)
    assert run.saved["ssept"]["settings"] == whole.saved["ssept"]["settings"]
    ended = [sorted(map(str, each.saved["ssept"]["outcomes"])) for each in (run, whole)]
    assert ended[0] == ended[1]  # the skipped ones of CUDA too
    assert run.saved["ssept"]["resumed"] == 1
    assert changed_parts(path) == []
    # Where nothing is left, nothing is measured, and the table is shown.
    again = run_matrix(tmp_path, *options, f"--resume={path}")
    assert again.code == 0, again.output
    assert again.saved["benchmarks"] == run.saved["benchmarks"]
    assert "onnx-cpu *" in again.output


@pytest.mark.parametrize(
    ("more", "change", "said"),
    [
        (["--rounds=46"], {}, "setting rounds was 45 and is 46"),
        (["--threads=2"], {}, "setting threads was 1 and is 2"),
        ([], {"code_sha256": "0" * 64}, "code was 0000"),
        ([], {"baseline": "custom-cpu"}, "baseline was custom-cpu and is onnx-cpu"),
    ],
)
def test_a_run_under_other_conditions_is_refused_and_left_alone(
    tmp_path: Path,
    whole: Run,
    options: list[str],
    more: list[str],
    change: dict[str, Any],
    said: str,
) -> None:
    path = cut(whole, tmp_path, 5)
    content = json.loads(path.read_text())
    content["ssept"] |= change
    before = written(path, content).read_bytes()
    run = run_matrix(tmp_path, *options, *more, "--resume")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert said in " ".join(run.output.split())
    assert path.read_bytes() == before


def test_an_edited_run_and_a_missing_one_are_refused_and_without_any_a_new_one_begins(
    tmp_path: Path, whole: Run, options: list[str]
) -> None:
    new = run_matrix(tmp_path / "new", *options[:-2], "-k=agreement and onnx-cpu", "--resume")
    assert new.code == 0, new.output
    assert "no saved run to continue: measuring a new one" in new.output
    path = cut(whole, tmp_path, 5)
    path.write_text(path.read_text().replace('"median"', '"medium"', 1))
    for given in ("--resume", f"--resume={tmp_path / 'none.json'}"):
        assert run_matrix(tmp_path, *options, given).code == pytest.ExitCode.USAGE_ERROR


def test_other_data_behind_the_same_options_is_refused(
    tmp_path: Path, whole: Run, options: list[str]
) -> None:
    path = cut(whole, tmp_path, 5)
    content = json.loads(path.read_text())
    for each in content["benchmarks"]:
        each["extra_info"]["data_hash"] = "0" * 64
    before = written(path, content).read_bytes()
    run = run_matrix(tmp_path, *options, "--resume")
    assert run.code == 1
    assert "with another file or other data" in run.output
    assert path.read_bytes() == before


@pytest.mark.parametrize(("where", "refused"), [("machine_info", True), ("ssept", False)])
def test_packages_count_if_figures_depend_on_them(
    tmp_path: Path, whole: Run, options: list[str], where: str, refused: bool
) -> None:
    path = cut(whole, tmp_path, 5)
    content = json.loads(path.read_text())
    if refused:
        content[where]["ssept"]["packages"]["numpy"] = "1.0"
    else:
        content[where]["installed"] = {"a-linter": "1.0"}
    written(path, content)
    run = run_matrix(tmp_path, *options, "--resume")
    assert run.code == (pytest.ExitCode.USAGE_ERROR if refused else 0), run.output
    assert ("numpy was 1.0 and is" in " ".join(run.output.split())) is refused


@pytest.mark.slow
def test_killed_again_and_again_it_loses_nothing_and_ends_whole(
    tmp_path: Path, whole: Run, options: list[str]
) -> None:
    chosen = random.Random(0)
    known: dict[str, Any] = {}
    for _ in range(KILLS):
        words = command(tmp_path, *options, *(["--resume"] if known else []))
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chosen.uniform(3, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in tmp_path.rglob("[0-9]*.json"):
            assert changed_parts(path) == []
            found = {each["fullname"]: each for each in json.loads(path.read_text())["benchmarks"]}
            assert found.items() >= known.items()
            known = found
    run = run_matrix(tmp_path, *options, *(["--resume"] if known else []))
    assert run.code == 0, run.output
    assert names(run.saved) == names(whole.saved)
