"""`ssept history`: which commit changed what, and which changes are alarms."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssept.cli import main
from ssept.decide.history.changes import shifts
from ssept.decide.history.run import history
from ssept.files import write_json
from ssept.results.cells import MatrixRun
from ssept.results.files import run_of
from tests.helpers.histories import (
    NOISE,
    PLANTED,
    RUNS,
    commit,
    content,
    found_and_false,
    noisy_runs,
    planted,
)


def series(*levels: tuple[int, float], seed: int = 0, noise: float = 0.005) -> np.ndarray:
    values = np.concatenate([np.full(count, level) for count, level in levels])
    return values + noise * np.random.default_rng(seed).standard_normal(len(values))


def places(values: np.ndarray) -> list[int]:
    return [shift.place for shift in shifts(values, 0.01)]


def test_a_step_is_found_where_it_is_and_its_interval_holds_it() -> None:
    for seed in range(10):
        (shift,) = shifts(series((20, 0.0), (15, 0.1), seed=seed), 0.01)
        assert shift.place == 20
        assert shift.low < 0.1 < shift.high
        assert shift.high - shift.low < 0.02


def test_steps_up_and_down_one_after_the_other_are_found() -> None:
    assert places(series((8, 0.0), (6, 0.05), (7, -0.05), (9, 0.0))) == [8, 14, 21]


@pytest.mark.parametrize("at", [3, 15, 29])
def test_one_odd_run_is_no_change_however_odd(at: int) -> None:
    values = series((30, 0.0))
    values[at] += 1.0
    assert places(values) == []


def test_the_newest_run_alone_is_no_change_and_two_are() -> None:
    assert places(series((30, 0.0), (1, 0.1))) == []
    assert places(series((30, 0.0), (2, 0.1))) == [30]


def test_figures_without_noise_change_exactly_where_they_change() -> None:
    assert places(np.array([0.26] * 9 + [0.27] * 9)) == [9]
    assert places(np.full(30, 0.26)) == []


def test_a_drift_is_not_hidden_and_few_runs_say_nothing() -> None:
    assert places(np.linspace(0, 0.3, 40) + series((40, 0.0)))
    assert places(series((2, 0.0), (3, 0.5))) == []


@pytest.mark.parametrize("noise", NOISE)
def test_planted_changes_are_found_and_others_are_not(noise: str) -> None:
    for seed in range(3):
        random = np.random.default_rng(100 + seed)
        factors = planted(random)
        runs = noisy_runs(random, NOISE[noise], factors, RUNS)
        hits, false = found_and_false(runs, [*factors])
        assert hits >= PLANTED - 1
        assert false <= 1


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISE)
def test_of_twenty_histories_without_a_change_at_most_one_shows_one(noise: str) -> None:
    false = 0
    for seed in range(20):
        random = np.random.default_rng(200 + seed)
        false += found_and_false(noisy_runs(random, NOISE[noise], {}, RUNS), [])[1] > 0
    assert false <= 1


SLOWER_FROM = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve commits; from the ninth on one cell is a fifth slower, with another numpy."""
    for number in range(12):
        speed = 2.0 * (0.8 if number >= SLOWER_FROM else 1.0) * (1 + 0.001 * (number % 3))
        made = content(
            number, {"fused-cpu-b1": speed, "onnx-openvino-b1": 1 + 0.001 * (number % 2)}
        )
        if number >= SLOWER_FROM:
            made["machine_info"]["ssept"]["packages"] = {"numpy": "3"}
        write_json(tmp_path / f"{number + 1:04}_run.json", made)
    return tmp_path


def test_an_alarm_names_commits_cell_change_and_what_else_differs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = folder / "out.json"
    assert main(["history", str(folder), "--json", str(saved)]) == 1
    said = capsys.readouterr().out
    assert "12 commits" in said
    (change,) = json.loads(saved.read_text())["changes"]
    assert change["last_before"] == commit(SLOWER_FROM - 1)
    assert change["first_after"] == commit(SLOWER_FROM)
    assert change["cell"] == "fused-cpu"
    assert change["change"]["low"] < -0.2 < change["change"]["high"]
    assert change["conditions"] == {"numpy": ["2", "3"]}
    assert change["alarm"]
    assert f"{change['last_before'][:12]}..{change['first_after'][:12]}" in said
    assert "numpy 2 → 3" in said
    assert max(map(len, said.splitlines())) <= 100


def test_what_is_long_ago_small_or_better_is_no_alarm(folder: Path) -> None:
    assert main(["history", str(folder), "--recent=3"]) == 0
    assert main(["history", str(folder), "--min-change=30%"]) == 0
    assert main(["history", str(folder), "--last=4"]) == 0
    for number in range(12):  # the other way round
        made = content(number, {"fused-cpu-b1": 2.0 * (1.2 if number >= SLOWER_FROM else 1.0)})
        write_json(folder / f"{number + 1:04}_run.json", made)
    assert main(["history", str(folder)]) == 0


def as_run(made: dict[str, Any]) -> MatrixRun:
    run = run_of(Path("run.json"), made)
    assert isinstance(run, MatrixRun)
    return run


def test_machines_are_apart_and_runs_of_no_commit_are_left_out() -> None:
    runs = []
    for number in range(16):
        made = content(number, {"fused-cpu-b1": 2.0 if number % 2 else 1.0})
        made["machine_info"]["ssept"]["cpu"] = f"CPU {number % 2}"
        runs.append(as_run(made))
    dirty = content(20, {"fused-cpu-b1": 9.0})
    dirty["commit_info"]["dirty"] = True
    untimed = content(21, {"fused-cpu-b1": 9.0})
    untimed["commit_info"]["time"] = "yesterday"
    found = history([*runs, as_run(dirty), as_run(untimed)])
    assert found.changes == []
    assert found.left_out == 2
    assert len(found.series) == 4  # speed and accuracy of each machine


def test_runs_of_one_commit_are_one_point_and_files_need_no_order() -> None:
    runs = [as_run(content(number // 2, {"fused-cpu-b1": 2.0})) for number in range(14)]
    found = history(runs[::-1])
    assert [point.commit for point in found.points] == [commit(number) for number in range(7)]
    assert all(len(point.runs) == 2 for point in found.points)


def test_other_data_are_another_series_of_accuracy() -> None:
    runs = []
    for number in range(16):
        made = content(number, {}, ndcg=0.26 if number < 8 else 0.13)
        for each in made["benchmarks"] if number >= 8 else ():
            each["extra_info"]["data_hash"] = "b" * 64
        runs.append(as_run(made))
    assert history(runs).changes == []


def test_without_runs_there_is_one_line_and_the_exit_code_of_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history"]) == 3
    assert "no runs: give results files" in capsys.readouterr().err
    assert main(["history", str(tmp_path)]) == 3
    dirty = content(1, {"fused-cpu-b1": 2.0})
    dirty["commit_info"]["dirty"] = True
    write_json(tmp_path / "0001_run.json", dirty)
    assert main(["history", str(tmp_path)]) == 3
    assert "no run belongs to a commit" in capsys.readouterr().err


def in_git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_runs_are_read_from_a_branch_and_from_notes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    in_git(folder, "init", "-q", "-b", "results")
    (folder / "readme.txt").write_text("no run\n")
    in_git(folder, "add", ".")
    in_git(folder, "commit", "-qm", "runs")
    assert main(["history", "--branch=results"]) == 1
    from_branch = capsys.readouterr().out
    assert main(["history", str(folder)]) == 1
    assert capsys.readouterr().out == from_branch
    assert main(["history", "--notes=ssept"]) == 3
    assert "git fetch origin refs/notes/ssept" in capsys.readouterr().err
    for file in sorted(folder.glob("*.json")):
        in_git(folder, "commit", "-q", "--allow-empty", "-m", file.name)
        in_git(folder, "notes", "--ref=ssept", "add", "-F", str(file), "HEAD")
    assert main(["history", "--notes=ssept"]) == 1
    assert capsys.readouterr().out == from_branch
    assert main(["history", "--branch=nothing"]) == 3


def test_markdown_and_page_say_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, page = folder / "out.md", folder / "out.html"
    assert main(["history", str(folder), "--markdown", str(text), "-o", str(page)]) == 1
    for written in (text, page):
        assert f"{commit(7)[:12]}..{commit(8)[:12]}" in written.read_text()
    assert "**alarm**" in text.read_text()
    other = folder / "mine.html"
    other.write_text("mine")
    assert main(["history", str(folder), "-o", str(other)]) == 3
    assert other.read_text() == "mine"
    capsys.readouterr()
