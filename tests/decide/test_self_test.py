"""`ssept self-test`: what it keeps, what it counts, and what its exit code says."""

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from ssept.cli import main
from ssept.decide.gate.findings import Verdict
from ssept.decide.self_test import run, studies
from ssept.decide.self_test.gate_trials import alarms, resampled_alarms, stored_alarms
from ssept.decide.self_test.run import allowed
from ssept.decide.self_test.studies import STUDIES, Study, lossy_ndcg, made_up_ndcg
from ssept.errors import SseptError

TOLERANCE = 0.03


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put two quick studies in the place of all: one without errors, one with nothing else."""
    numbers: list[int] = []

    def trial(wrong: bool) -> Callable[[Path, int], dict[str, Any]]:
        def make(checkpoint: Path, number: int) -> dict[str, Any]:
            numbers.append(number)
            ratio = {"value": 1.0, "low": 0.99, "high": 1.01}
            return {"wrong": wrong, "ratio": ratio, "verdict": "made up"}

        return make

    made = {
        name: Study(what=f"{name} trials", level=0.01, trials=5, trial=trial(name == "bad"))
        for name in ("good", "bad")
    }
    for module in (studies, run):
        monkeypatch.setattr(module, "STUDIES", MappingProxyType(made))
    return numbers


def self_test(folder: Path, *options: str) -> int:
    return main(["self-test", f"--results={folder}", f"--gate-results={folder}", *options])


def test_finished_trials_are_kept_and_not_made_again(
    tmp_path: Path, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert self_test(tmp_path, "--studies=good", "--trials=2") == 0
    assert tried == [0, 1]
    with (tmp_path / "good.jsonl").open("a") as file:
        file.write('{"schema":1,"utc"')  # killed while it wrote
    assert self_test(tmp_path, "--studies=good") == 0
    assert tried == [0, 1, 2, 3, 4]
    assert "0 of 5" in capsys.readouterr().out
    assert self_test(tmp_path, "--report") == 0
    assert len(tried) == 5


def test_more_errors_than_allowed_are_said_and_end_in_1(
    tmp_path: Path, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "out.md"
    assert self_test(tmp_path, f"--json={out}", f"--markdown={page}") == 1
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("bad ")]
    assert "5 of 5" in row
    assert "TOO MANY" in row
    good, bad = json.loads(out.read_text())
    assert (good["holds"], bad["holds"], bad["errors"]) == (True, False, {"hits": 5, "of": 5})
    assert bad["verdicts"] == {"made up": 5}
    assert bad["half_width"] == pytest.approx(0.01, rel=0.02)
    assert self_test(tmp_path, "--report", "--studies=good") == 0  # whatever the others show
    assert "bad " not in capsys.readouterr().out
    assert self_test(tmp_path, "--report", "--studies=bad") == 1
    assert "| bad" in page.read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SseptError("no provider here")])
def test_what_stops_it_ends_in_3_and_keeps_what_is_finished(
    tmp_path: Path,
    tried: list[int],
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trial(checkpoint: Path, number: int) -> dict[str, Any]:
        if number == 2:
            raise error
        return {"wrong": False}

    stopping = Study(what="stops", level=0.01, trials=9, trial=trial)
    both = MappingProxyType({"stops": stopping, "good": studies.STUDIES["good"]})
    for module in (studies, run):
        monkeypatch.setattr(module, "STUDIES", both)
    assert self_test(tmp_path) == 3
    captured = capsys.readouterr()
    assert "0 of 2" in captured.out
    assert captured.err.startswith("ssept: ")
    assert len(captured.err.splitlines()) == 1
    # What cannot be made does not keep the other from it; Ctrl-C does.
    assert (len(tried) == 5) == isinstance(error, SseptError)


def test_no_trial_is_begun_after_the_time(tmp_path: Path, tried: list[int]) -> None:
    assert self_test(tmp_path, "--max-minutes=1e-9") == 0
    assert not tried


def test_trials_of_another_checkpoint_do_not_count(
    tmp_path: Path, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"another")
    assert self_test(tmp_path, "--studies=good", "--trials=3") == 0
    assert self_test(tmp_path, "--studies=good", "--trials=2", f"--checkpoint={other}") == 0
    assert tried == [0, 1, 2, 0, 1]
    assert "0 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--studies=good,nosuch"], "expected names from good, bad"),
        (["--checkpoint=/no/such/file"], "/no/such/file: no such file"),
        (["--trials=0"], "at least 1"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path,
    tried: list[int],
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = self_test(tmp_path, *options)
    except SystemExit as end:  # as argparse ends
        code = int(str(end.code))
    assert code == 3
    assert said in capsys.readouterr().err
    assert not tried


def test_a_damaged_file_of_trials_is_named(
    tmp_path: Path, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.jsonl").write_text('{"schema":1}\n')
    assert self_test(tmp_path, "--report") == 3
    assert f"{tmp_path / 'good.jsonl'}:1: is not a record of a trial" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trials", "level", "most"), [(150, 0.01, 4), (40, 0.005, 1), (60, 0.01, 2), (20, 0.01, 1)]
)
def test_a_promised_level_explains_a_few_errors(trials: int, level: float, most: int) -> None:
    assert allowed(trials, level) == most


@pytest.mark.parametrize("loss", [0.0, 0.03, 0.06])
def test_made_up_losses_are_what_they_say(loss: float) -> None:
    base, head = made_up_ndcg(np.random.default_rng(0), 400_000, loss)
    assert 1 - head.mean() / base.mean() == pytest.approx(loss, abs=0.002)


def test_verdicts_on_made_up_losses_are_counted() -> None:
    found = [lossy_ndcg(943, 2, Verdict.FINE)(Path(), number) for number in range(5)]
    assert not any(each["wrong"] for each in found)
    assert lossy_ndcg(943, 2, Verdict(found[0]["verdict"]))(Path(), 0)["wrong"]


def suite(random: np.random.Generator, shift: float, passes: int = 14) -> dict[str, Any]:
    """A stored suite of the gate, as far as it is judged again."""
    return {
        "cells": {
            name: {"log_ratios": (shift + 0.005 * random.standard_normal(passes)).tolist()}
            for name in ("a", "b")
        }
    }


def test_the_gate_s_trials_are_judged_again_at_no_tolerance() -> None:
    random = np.random.default_rng(0)
    same = [suite(random, 0.0) for _ in range(30)]
    slower = [suite(random, 0.02) for _ in range(30)]
    assert stored_alarms(same).hits <= 1
    assert stored_alarms(slower).hits == 30
    assert resampled_alarms(same, 30).hits <= 2
    assert resampled_alarms(slower, 5).hits == 5
    assert not alarms({"a": [0.02] * 14}, tolerance=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ratio_quiet", "tune", "sweep"])
def test_a_real_trial_says_what_it_was_judged_by(
    name: str, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "TUNE_SECONDS", 2.0)
    monkeypatch.setattr(studies, "RATIO_SECONDS", 0.2)
    found = json.loads(json.dumps(STUDIES[name].trial(small_checkpoint, 0), allow_nan=False))
    low, value, high = (found["ratio"][end] for end in ("low", "value", "high"))
    assert 0.2 < low <= value <= high < 5
    wrong = {"ratio_quiet": not low <= 1 <= high, "tune": low > 1.01, "sweep": low > 1}
    assert found["wrong"] == wrong[name]
