"""`ssept choose`: the answer for each goal and promise, the rule of the race, and a real race."""

import itertools
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssept.cli import main
from ssept.decide.choose import Candidate, Goal, Promises
from ssept.decide.choose.kept import Kept
from ssept.decide.choose.ranking import choose
from ssept.decide.choose.rule import LOOKS, Race
from ssept.estimate import Estimate
from ssept.report.choose import choice_json, choice_text, sentence
from ssept.results.cells import Combination
from tests.helpers.integer_products import right_integer_products

MB = 10**6
NOISE = 0.01  # of a pass's log speed, its standard deviation


def candidate(name: str = "onnx-cpu", rate: float | None = 1.0, **figures: Any) -> Candidate:
    """A cell; `rate` within 1 %, `loss` of NDCG@10 within 0.1 percentage points."""
    variant, provider = name.split("-")
    loss = figures.pop("loss", None)
    known = {
        "rate": rate and Estimate(rate, rate * 0.99, rate * 1.01),
        "ndcg_change": loss and Estimate(-loss, -loss - 0.001, -loss + 0.001),
        **{"threads": 1, "batch": 1, "size_bytes": 4 * MB},
    }
    return Candidate(cell=Combination(variant, provider), **known | figures)


FOUR = (
    candidate("onnx-cpu", 1.0, loss=0.0001, memory_bytes=100 * MB),
    candidate("fused-cpu", 2.0, loss=0.002, memory_bytes=90 * MB),
    candidate("fused_int8-cpu", 3.0, loss=0.02, size_bytes=MB, memory_bytes=80 * MB),
    candidate("fused_int8-openvino", 2.5, loss=0.02, size_bytes=MB, memory_bytes=200 * MB),
)


@pytest.mark.parametrize(
    ("goal", "promises", "best"),
    [
        (Goal.LATENCY, Promises(), "fused_int8-cpu"),
        (Goal.THROUGHPUT, Promises(max_accuracy_loss=0.01), "fused-cpu"),
        (Goal.LATENCY, Promises(max_accuracy_loss=0.0005), "onnx-cpu"),
        (Goal.SIZE, Promises(), "fused_int8-cpu"),
        (Goal.SIZE, Promises(max_accuracy_loss=0.01), "fused-cpu"),
        (Goal.MEMORY, Promises(), "fused_int8-cpu"),
        (Goal.MEMORY, Promises(max_accuracy_loss=0.01), "fused-cpu"),
        (Goal.LATENCY, Promises(max_memory_mb=150, max_mb=2), "fused_int8-cpu"),
        (Goal.LATENCY, Promises(max_memory_mb=85), "fused_int8-cpu"),
        (Goal.COST, Promises(), "fused_int8-cpu"),
    ],
)
def test_the_best_that_keeps_all_promises_is_chosen(
    goal: Goal, promises: Promises, best: str
) -> None:
    for order in itertools.permutations(FOUR):
        found = choose(order, goal, promises)
        assert found.chosen
        assert str(found.chosen.cell) == best
        assert best.split("-")[0] in sentence(found)


def test_for_the_cost_a_thread_must_earn_its_core() -> None:
    one, two = candidate("fused-cpu", 2.0), candidate("fused-openvino", 3.0, threads=2)
    assert choose([one, two], Goal.LATENCY, Promises()).chosen == two
    assert choose([one, two], Goal.COST, Promises()).chosen == one


@pytest.mark.parametrize(
    ("figures", "decided_by"),
    [({"size_bytes": MB}, Goal.SIZE), ({"memory_bytes": 50 * MB}, Goal.MEMORY), ({}, None)],
)
def test_a_tie_is_said_and_broken_by_the_next_goal(
    figures: dict[str, int], decided_by: Goal | None
) -> None:
    first = candidate("onnx-openvino", 2.0, memory_bytes=90 * MB)
    other = candidate("onnx_graph-cpu", 2.005, **{"memory_bytes": 90 * MB, **figures})
    found = choose([other, first], Goal.LATENCY, Promises())
    assert found.tied == 2
    assert found.decided_by is decided_by
    # Without a difference the order of variants decides, not that of the input.
    assert found.chosen == (other if decided_by else first)
    assert "ties with" in sentence(found)


@pytest.mark.parametrize("goal", [Goal.LATENCY, Goal.THROUGHPUT, Goal.COST])
def test_what_an_unsettled_race_has_left_does_not_tie(goal: Goal) -> None:
    small = candidate("fused_int8-cpu", 2.0, size_bytes=MB)
    fast = candidate("fused-cpu", 3.0)
    left = [small.name, fast.name]
    found = choose([small, fast, candidate()], goal, Promises(), survivors=left, settled=False)
    assert found.chosen == fast
    assert found.decided_by is None
    said = sentence(found)
    assert "Not settled" in said
    assert "ties" not in said


def test_what_no_promise_allows_says_what_comes_nearest() -> None:
    found = choose(FOUR, Goal.LATENCY, Promises(max_mb=0.9))
    assert found.chosen is None
    assert "No cell keeps all promises. fused_int8 on" in sentence(found)
    assert "1 MB, at most 0.9 MB promised" in sentence(found)


@pytest.mark.parametrize(
    "unknown",
    [
        candidate(loss=None),
        candidate(ndcg_change=Estimate(-0.004, -0.02, 0.01)),
        candidate(ndcg_change=Estimate(-0.004, -math.inf, math.inf)),
    ],
)
def test_a_promise_that_the_data_do_not_show_to_be_kept_is_said(unknown: Candidate) -> None:
    found = choose([unknown], Goal.LATENCY, Promises(max_accuracy_loss=0.005))
    assert found.chosen == unknown
    assert "Not shown to be kept: NDCG@10 loss" in sentence(found)
    assert json.loads(json.dumps(choice_json(found), allow_nan=False))["not_shown"]


def test_what_could_not_be_measured_is_never_chosen() -> None:
    broken = candidate("fused-cpu", 9.0, problem="it died")
    found = choose([broken, candidate("torch-torch", None), FOUR[0]], Goal.LATENCY, Promises())
    assert found.chosen == FOUR[0]
    assert "it died" in choice_text(found)


def test_no_line_is_wider_than_a_terminal_shows() -> None:
    long = candidate("quant_static_aggressive_topk-openvino_native_bf16", 1.5, loss=0.1)
    found = choose([*FOUR, long], Goal.LATENCY, Promises(max_accuracy_loss=0.005))
    text = choice_text(found, {"nncf": "no such package " * 50})
    assert max(map(len, text.splitlines())) <= 160
    assert max(map(len, sentence(found).split(". "))) < 400


def test_the_median_alone_can_break_a_promise_of_the_p99_and_not_keep_it() -> None:
    slow = candidate("fused-cpu", 2.0, p50_ms=Estimate(3.0, 2.9, 3.1))
    promises = Promises(p99_ms=2)
    assert promises.broken_by(slow)
    assert not promises.unshown_by(slow)
    quick = candidate("fused-cpu", 2.0, p50_ms=Estimate(1.0, 0.9, 1.1))
    assert not promises.broken_by(quick)
    assert promises.unshown_by(quick)


# The rule


def raced(speeds: list[float], seed: int) -> Race:
    """Race arms of some true log speeds, whose passes have noise of their own."""
    random = np.random.default_rng(seed)
    race = Race(map(str, range(len(speeds))))
    while not race.over:
        common = random.normal(0, 5 * NOISE)  # of the pass: it must cancel
        race.after_pass(
            {name: speeds[int(name)] + common + random.normal(0, NOISE) for name in race.alive}
        )
    return race


def test_identical_copies_never_leave_one_winner() -> None:
    assert all(len(raced([0.0] * 6, seed).alive) > 1 for seed in range(50))


@pytest.mark.parametrize("lead", [0.03, 0.1, 0.5])
def test_a_clear_winner_is_found_and_the_best_is_not_dropped(lead: float) -> None:
    rest = np.random.default_rng(0).uniform(-1, -lead, 30)
    for seed in range(20):
        race = raced([0.0, *rest], seed)
        assert race.alive == ["0"]
        assert race.settled


def test_an_arm_that_fails_leaves_the_rest_in_the_race() -> None:
    race = Race(["a", "b", "c"])
    race.after_pass({"a": 0.1, "b": 0.0, "c": 0.2})
    race.fail("c")
    assert race.leader == "a"
    assert not race.over
    while not race.over:
        race.after_pass({"a": 0.1 + race.passes % 2 * 1e-3, "b": 0.0})
    assert (race.alive, race.passes) == (["a"], LOOKS[0])


def test_a_race_without_end_is_not_settled() -> None:
    race = Race(["a", "b"])
    random = np.random.default_rng(0)
    while not race.over:
        race.after_pass({name: random.normal(0, 1) for name in race.alive})
    assert race.passes == LOOKS[-1]
    assert not race.settled


# From a saved run

SAVED = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
@pytest.mark.parametrize("goal", [goal.value for goal in Goal])
def test_any_saved_run_gives_an_answer_or_one_line(
    path: Path, goal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["choose", str(path), f"--goal={goal}"])
    out, err = capsys.readouterr()
    assert (status == 3 and len(err.splitlines()) == 1) or out.startswith(("Deploy ", "No cell "))


def test_what_is_no_run_or_no_value_is_an_error_of_its_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        [str(tmp_path / "none.json")],
        [str(tmp_path)],
        ["--variants=onxx"],
        ["--goal=latency", "--batch-size=1,8"],
    ):
        assert main(["choose", *arguments]) == 3
        assert len(capsys.readouterr().err.splitlines()) == 1


# What is kept


def test_what_was_measured_is_kept_for_the_same_code_of_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, about = tmp_path / "journal.jsonl", {"users": 1}
    for commit in ("a" * 40, "b" * 40):
        monkeypatch.setattr("ssept.decide.journal.commit_here", lambda own=commit: own)
        Kept(journal, about).add("accuracy", cell=commit)
    assert len(Kept(journal, about).all("accuracy")) == 2
    assert Kept(journal, {"users": 2}).all("accuracy") == []
    monkeypatch.setattr("ssept.decide.choose.kept.code_sha256", lambda folder: "other")
    assert Kept(journal, about).all("accuracy") == []


# A real race


@pytest.mark.slow
@right_integer_products
def test_where_few_users_do_not_show_the_accuracy_all_are_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.jsonl"
    asked = [
        "choose",
        "--variants=onnx,fused_int8_topk",
        "--providers=cpu",
        "--users=100",
        "--max-accuracy-loss=0.3%",
        "--max-minutes=1",
        f"--journal={journal}",
    ]
    assert main(asked) == 0
    assert "Not shown" not in capsys.readouterr().out
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    few, every = (
        next(each["change"] for each in records if each["kind"] == kind and "int8" in each["cell"])
        for kind in ("accuracy", "accuracy of all users")
    )
    assert few["low"] < -0.003 < every["low"]


@pytest.mark.slow
def test_a_race_ends_in_an_answer_and_what_it_measured_is_used_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, answer = tmp_path / "journal.jsonl", tmp_path / "answer.json"
    asked = [
        "choose",
        "--variants=onnx,fused_topk",
        "--providers=cpu",
        "--max-minutes=1",
        "--max-accuracy-loss=1%",
        f"--journal={journal}",
        f"--json={answer}",
    ]
    assert main(asked) == 0
    assert capsys.readouterr().out.startswith("Deploy fused_topk on cpu")
    first, size = json.loads(answer.read_text()), journal.stat().st_size
    assert main(asked) == 0
    assert json.loads(answer.read_text()) == first
    assert journal.stat().st_size == size
    # A part of it, as after an interruption: the rest is measured, the kept part is not.
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-5]) + lines[-5][:20])
    assert main(asked) == 0
    kept = journal.read_bytes().splitlines(keepends=True)
    assert kept[: len(lines) - 5] == lines[:-5]
    assert len(kept) == len(lines)


@pytest.mark.slow
def test_an_arm_whose_process_dies_does_not_end_the_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = main(
        [
            "choose",
            "--variants=onnx,onnx_graph",
            "--providers=cpu",
            "--max-minutes=0.5",
            f"--journal={tmp_path / 'journal.jsonl'}",
        ]
    )
    out = capsys.readouterr().out
    assert found == 0
    assert out.startswith("Deploy onnx on cpu")
    assert f"killed by {signal.SIGSEGV.name}" in " ".join(out.split())
    assert os.environ["PYTHONPATH"]


# Dies in the place where an engine would: as the session of one variant is loaded.
KILLER = """
import sys
if "ssept.decide.choose.process" in " ".join(sys.orig_argv):
    import os, signal
    import ssept.providers as providers
    loaded = providers.Provider.load
    def load(self, artifact, *rest):
        if artifact.variant == "onnx_graph":
            os.kill(os.getpid(), signal.SIGSEGV)
        return loaded(self, artifact, *rest)
    providers.Provider.load = load
"""
