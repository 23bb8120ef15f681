"""The gate's trials of itself: what is kept, what is counted, and a real one."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ssept.cli import main
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.self_test import cpu_hog as hog
from ssept.decide.gate.self_test.other_tools import IN_SEQUENCE, INTERLEAVED, RULES, rivals
from ssept.decide.gate.self_test.rates import Share, rates_in, rates_of
from ssept.decide.gate.self_test.scenarios import CONDITIONS, Counts
from ssept.decide.gate.self_test.suites import SCHEMA, file_of, matching, read
from ssept.decide.gate.sequential_test import look_at
from ssept.decide.journal import append
from ssept.errors import SseptError
from ssept.report.self_test import self_test_markdown, self_test_text, sentence
from tests.helpers.matrix import environment

ABOUT = {"cpu": "A CPU", "cpus": 2}
NOBODY: dict[str, dict[str, bool]] = {way: {} for way in (INTERLEAVED, IN_SEQUENCE)}


def times(*milliseconds: float) -> np.ndarray:
    return np.array([round(1e6 * value) for value in milliseconds])


@pytest.mark.parametrize(
    ("head", "found"),
    [
        # Base: mean 1.2, median 1.0, minimum 0.9.
        (times(0.9, 1.0, 1.0, 1.0, 2.8), {"mean:10%"}),
        (times(0.9, 1.0, 1.06, 1.06, 1.06), {"median:5%"}),
        (times(0.95, 1.0, 1.0, 1.0, 1.0), {"min:5%"}),
        (times(0.94, 1.04, 1.04, 1.05, 2.5), set()),
        (times(0.5, 0.6, 0.6, 0.6, 0.6), set()),
    ],
)
def test_rules_of_one_number(head: np.ndarray, found: set[str]) -> None:
    base = times(0.9, 1.0, 1.0, 1.1, 2.0)
    names = ("mean:10%", "median:5%", "min:5%")
    assert {name for name in names if RULES[name](base, head)} == found


def test_students_t_test() -> None:
    # Pooled variance 2.5 and n = 5 each: t = difference / 1. The critical value of 8 degrees of
    # freedom is 2.306.
    base = np.array([1, 2, 3, 4, 5])
    assert not RULES["t-test"](base, base + 2.30)
    assert RULES["t-test"](base, base + 2.31)
    assert not RULES["t-test"](base, base - 3)  # faster is no regression
    assert RULES["t-test"](np.full(3, 5), np.full(3, 6))
    assert not RULES["t-test"](np.full(3, 5), np.full(3, 5))


def test_mann_whitney_needs_both_ranks_and_medians() -> None:
    # With n a side and no overlap the exact two-sided p is 2 / C(2n, n): 0.0022 for 6, 0.0006
    # for 7.
    def sides(n: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
        base = 1000 + np.arange(n)
        return base, base * factor

    assert not RULES["Mann-Whitney"](*sides(6, 1.2))
    assert RULES["Mann-Whitney"](*sides(7, 1.2))
    assert not RULES["Mann-Whitney"](*sides(7, 1.09))
    assert not RULES["Mann-Whitney"](*sides(7, 0.8))


def test_in_sequence_a_drift_of_the_machine_looks_like_a_change() -> None:
    passes = [times(*np.linspace(1, 1.01, 20)) * factor for factor in (1, 1, 9, 2, 2)]
    found = rivals(passes, passes)
    assert not any(found[INTERLEAVED].values())
    assert all(found[IN_SEQUENCE].values())


def suite(
    *verdicts: str, counts: Counts = Counts.FALSE_ALARMS, rival: bool = False, **settings: Any
) -> dict[str, Any]:
    """A record with a cell for each verdict."""
    look = {"passes": 12, "p": 0.5, "log_ratio": {"value": 0.0, "low": -0.02, "high": 0.02}}
    cells = {
        f"cell{number}": {
            "verdict": verdict,
            "looks": [look] if verdict != "not measured" else [],
            "base_ns": [100, 100, 100],
            "head_ns": [109, 110, 130],
            "rivals": {IN_SEQUENCE: {"t-test": rival and number == 0}},
        }
        for number, verdict in enumerate(verdicts)
    }
    common = {"tolerance": 0.03, "counts": counts.value, "hogs": 0, "extra_work": 0.0}
    plan = {"plan": {"seconds": 5.0}}
    return {
        "schema": SCHEMA, **ABOUT, "seconds": 10.0, "settings": common | plan | settings,
        "cells": cells,
    }  # fmt: skip


def test_a_torn_last_line_is_dropped_and_the_next_suite_follows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "aa_quiet.jsonl"
    assert read(path) == []
    append(path, {"schema": SCHEMA, "number": 1})
    with path.open("ab") as file:
        file.write(b'{"schema":1,"numb')
    assert [record["number"] for record in read(path)] == [1]
    append(path, {"schema": SCHEMA, "number": 2})
    assert [record["number"] for record in read(path)] == [1, 2]
    append(path, {"schema": SCHEMA + 1, "number": 3})
    assert [record["number"] for record in read(path)] == [1, 2]


def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "aa_quiet.jsonl"
    path.write_text('{"schema":1}\nnonsense\n{"schema":1}\n')
    with pytest.raises(SseptError, match=r"aa_quiet.jsonl:2: is not a record of a suite"):
        read(path)


def test_only_suites_of_the_same_settings_and_machine_count() -> None:
    mine = suite("fine")
    records = [mine, suite("fine", tolerance=0.05), mine | {"cpu": "Another"}, mine | {"cpus": 4}]
    assert matching([*records, mine | {"utc": "later"}], mine["settings"], ABOUT) == [
        mine,
        mine | {"utc": "later"},
    ]


def test_settings_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for condition in CONDITIONS.values():
        settings = condition.settings([], "abc")
        record = suite("fine") | {"settings": settings}
        append(path, record)
        assert matching(read(path), settings, ABOUT) == [record]


def test_shares_have_clopper_pearson_intervals() -> None:
    none = Share(0, 150).estimate()
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 150))
    every = Share(42, 42).estimate()
    assert (every.value, every.high) == (1, 1)
    assert every.low == pytest.approx(0.025 ** (1 / 42))
    assert math.isnan(Share(0, 0).estimate().value)


def test_rates() -> None:
    records = [
        suite("fine", "regressed", "inconclusive"),
        suite("regressed", "regressed", "not measured", rival=True),
        suite("fine", "fine", "fine"),
    ]
    rates = rates_of("aa_quiet", records)
    assert {verdict.value: count for verdict, count in rates.verdicts.items()} == {
        "regressed": 3, "fine": 4, "inconclusive": 1, "not measured": 1,
    }  # fmt: skip
    assert (rates.counted, rates.gate.cells) == (Share(2, 3), Share(3, 9))
    assert rates.slowdown == pytest.approx(0.10)
    assert rates.half_width == pytest.approx(math.expm1(0.02))
    assert rates.seconds == pytest.approx(10 / 3)
    assert rates.rivals[IN_SEQUENCE]["t-test"].cells == Share(1, 9)
    assert rates.rivals[IN_SEQUENCE]["t-test"].suites == Share(1, 3)
    assert rates.rivals[INTERLEAVED]["t-test"].cells == Share(0, 9)
    of_cells = [record | {"settings": suite(counts=Counts.FINE)["settings"]} for record in records]
    assert rates_of("fine_quiet", of_cells).counted == Share(4, 9)


def test_the_report_counts_the_last_settings_of_each_machine(tmp_path: Path) -> None:
    assert self_test_text(rates_in(tmp_path)) == ""
    old, new = suite("fine", tolerance=0.5), suite("fine", "fine")
    slow = suite("regressed", counts=Counts.FOUND, extra_work=0.1)
    for condition, record in (
        ("aa_quiet", old), ("aa_quiet", new), ("aa_quiet", new | {"cpu": "Another"}),
        ("aa_quiet", new), ("slow10_quiet", slow),
    ):  # fmt: skip
        append(file_of(tmp_path, condition), record)
    found = rates_in(tmp_path)
    assert [(r.condition, r.cpu, r.suites, r.others) for r in found] == [
        ("aa_quiet", "A CPU", 2, 1), ("slow10_quiet", "A CPU", 1, 0),
        ("aa_quiet", "Another", 1, 0),
    ]  # fmt: skip
    text = self_test_text(found)
    assert max(map(len, text.splitlines())) <= 100
    for part in ("Another, 2 CPUs", "0 of 2", "1 of 1", "0.0 to 84.2", "1 suites of other"):
        assert part in text
    assert "5.1 % in 5 s a cell (aa_quiet)" in sentence(found)
    assert "| aa_quiet" in self_test_markdown(found)
    assert json.dumps([rates.as_json() for rates in found], allow_nan=False)


def test_all_conditions_fit_into_a_terminal() -> None:
    found = [
        rates_of(name, [suite("inconclusive", extra_work=each.extra_work, counts=each.counts)])
        for name, each in CONDITIONS.items()
    ]
    assert max(map(len, self_test_text(found).splitlines())) <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("no_child_left")
def test_a_real_suite_is_kept_once_and_can_be_judged_again(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, saved = tmp_path / "results", tmp_path / "rates.json"
    command = [
        "gate", "--self-test", f"--results={results}", "--conditions=slow10_noisy", "--trials=1",
        "--seconds=0.1", "-k=onnx-cpu-b001", f"--checkpoint={small_checkpoint}",
    ]  # fmt: skip
    assert main(command) == 0
    assert "slow10_noisy" in capsys.readouterr().out
    assert main(command) == 0  # has its suite already
    path = file_of(results, "slow10_noisy")
    (record,) = read(path)
    assert len(record["machine"]) == 16
    assert record["settings"]["plan"]["seconds"] == 0.1
    (cell,) = record["cells"].values()
    passes = GatePlan().passes(1)[0]
    assert all(len(cell[name]) >= passes for name in ("log_ratios", "base_ns", "head_ns", "rounds"))
    assert all(units > 0 for units in cell["units"])
    assert set(cell["rivals"]) == {INTERLEAVED, IN_SEQUENCE}
    for look in cell["looks"]:
        again = look_at(cell["log_ratios"][: look["passes"]], 0.03, GatePlan().level)
        assert again.p == pytest.approx(look["p"], abs=1e-3)
        assert again.log_ratio.low == pytest.approx(look["log_ratio"]["low"], abs=1e-6)
    before = path.read_bytes()
    report = ["gate", "--self-test", "--report", f"--results={results}", f"--json={saved}"]
    assert main(report) == 0
    assert path.read_bytes() == before
    assert json.loads(saved.read_text())[0]["suites"] == 1


def test_sigterm_leaves_what_is_finished_and_nothing_running(
    tmp_path: Path, small_checkpoint: Path, own_cache: Path
) -> None:
    finished = suite("fine")
    append(file_of(tmp_path, "aa_noisy"), finished)
    trial = subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "gate", "--self-test", f"--results={tmp_path}",
         "--conditions=aa_noisy", "-k=onnx-cpu-b001", f"--checkpoint={small_checkpoint}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(children := psutil.Process(trial.pid).children()) < 4:  # two hogs, two workers
            assert time.monotonic() < deadline, "no suite was begun"
            assert trial.poll() is None
            time.sleep(0.01)
        trial.send_signal(signal.SIGTERM)
        assert trial.wait(60) == 3
    finally:
        trial.kill()
        trial.wait()
    # One that was just being started ends by itself, at the end of its input.
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert read(file_of(tmp_path, "aa_noisy")) == [finished]


def test_no_suite_is_begun_that_would_end_too_late(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gate", "--self-test", f"--results={tmp_path}", "--max-minutes=0.05",
               "-k=onnx-cpu-b001", f"--checkpoint={small_checkpoint}"]  # fmt: skip
    assert main(command) == 0
    assert "no finished suite" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["main", "--self-test"], "BASE cannot be combined with --self-test"),
        (["--self-test", "--tolerance=5%"], "--tolerance cannot be combined with --self-test"),
        (["a.onnx", "b.onnx", "--report"], "--report is valid only with --self-test"),
        (["--self-test", "--conditions=aa_loud"], "aa_loud: expected names from aa_quiet"),
        (["--self-test", "-k=b999"], "matches none of the cells that run here: onnx-"),
        (["--self-test", "--checkpoint=none.safetensors"], "none.safetensors: no such file"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", *arguments]) == 3
    assert message in capsys.readouterr().err


def test_a_hog_burns_and_dies_with_its_parent() -> None:
    program = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, {hog.__file__!r}, str(os.getpid())])
print(child.pid, flush=True)
child.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 60
    while sum(child.cpu_times()[:2]) < 0.5:
        assert time.monotonic() < deadline, "it burns nothing"
        time.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.01)
