"""Times measured in real worker processes, and what becomes of workers that misbehave.

Sides are small packages named ssept, written for the test, so that a worker can be made to die.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.findings import Finding, GateResult, Measure, Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.suite import Suite, run_suite

ENGINE = """
import os, signal, sys, time
import numpy as np
from types import SimpleNamespace

class FallbackError(Exception):
    pass

class Session:
    calls = 0

    def __init__(self, path):
        model = SimpleNamespace(users=5, items={items}, max_length=4, data_hash="")
        self.artifact = SimpleNamespace(path=path, sha256="", size_bytes=4, model=model)

    def recommend(self, user, sequence, k):
        Session.calls += 1
        sum(range(5000))
        best = [[sum(row) % 97] for row in sequence.tolist()]
        answer = np.array(best), np.array(best, np.float32)
        {recommend}
        return answer

def load(source, variant, provider, threads):
    {load}
    return Session(source)
"""
PROVIDERS = """
from types import SimpleNamespace
PROVIDERS = {{
    name: SimpleNamespace(formats=("onnx",), unavailable=lambda: None) for name in {providers!r}
}}
"""
QUICK = GatePlan(
    alpha=0.5, looks=1, seconds=1, stretch_seconds=0.02, confirmation=1, call_limit_s=3,
    start_limit_s=20, prepare_limit_s=20,
)  # fmt: skip
CELL = GateCell("onnx", "cpu", 1)

pytestmark = pytest.mark.usefixtures("no_child_left")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What the packages pretend to load."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"1234")
    return path


def side(
    folder: Path,
    *,
    load: str = "pass",
    recommend: str = "pass",
    providers: tuple[str, ...] = ("cpu",),
    items: int = 20,
) -> Side:
    """A source tree whose ssept runs these statements as it loads and recommends."""
    package = folder / "ssept"
    package.mkdir(parents=True)
    engine = ENGINE.format(load=load, recommend=recommend, items=items)
    (package / "__init__.py").write_text(engine)
    (package / "providers.py").write_text(PROVIDERS.format(providers=providers))
    (package / "variants.py").write_text("VARIANTS = {'onnx': None}")
    return Side(folder.name, Path(sys.executable), folder, None, {})


def compared(base: Side, head: Side, model: Path, *cells: GateCell) -> dict[str, Finding]:
    result = run_suite(base, head, Suite(cells or (CELL,), plan=QUICK, checkpoint=model))
    return times(result)


def times(result: GateResult) -> dict[str, Finding]:
    return {f.cell: f for f in result.findings if f.measure == Measure.LATENCY}


def test_what_a_library_prints_is_no_answer(tmp_path: Path, model: Path) -> None:
    base = side(tmp_path / "a", recommend="print('hello')", load="print('{\"ns\": [1]}')")
    found = compared(base, side(tmp_path / "b"), model)[CELL.id]
    assert found.verdict != Verdict.UNMEASURED, found.why
    assert len(found.details["log_ratios"]) >= QUICK.passes(1)[0]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("Session.calls < 20 or os.kill(os.getpid(), 9)", "its worker was killed by SIGKILL"),
        ("Session.calls < 20 or time.sleep(99)", "its worker gave no answer within 3 s"),
        ("Session.calls < 20 or [][0]", "IndexError: list index out of range"),
        ("Session.calls < 20 or print('why', file=sys.stderr, flush=True) or os._exit(4)",
         "its worker ended with 4: why"),
    ],
)  # fmt: skip
def test_a_cell_whose_worker_fails_is_not_measured_and_the_others_are(
    tmp_path: Path, model: Path, statement: str, why: str
) -> None:
    odd = f"len(user) == 1 or ({statement})"
    head = side(tmp_path / "head", recommend=odd)
    good, bad = CELL, dataclasses.replace(CELL, batch=2)
    found = compared(side(tmp_path / "base"), head, model, bad, good)
    assert found[bad.id].verdict == Verdict.UNMEASURED
    assert found[bad.id].why == f"head: {why}"
    assert found[good.id].verdict != Verdict.UNMEASURED, found[good.id].why


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("if Session.calls > 12: answer = answer[0] + 1, answer[1]", "has items"),
        ("if Session.calls == 14: answer = answer[0], answer[1] * 2", "has items"),
        ("if Session.calls == 14: answer[1][0] = np.nan", "a score is NaN"),
        ("Session.last, answer = answer, getattr(Session, 'last', answer)", "has items"),
        ("answer = Session.first = getattr(Session, 'first', answer)", "have the same answer"),
        ("answer[1][:] = np.nan", "a score is NaN"),
    ],
    ids=["after calls", "once", "NaN once", "of the call before", "cached", "NaN"],
)
def test_a_cell_with_a_wrong_answer_is_not_measured(
    tmp_path: Path, model: Path, statement: str, why: str
) -> None:
    head = side(tmp_path / "head", recommend=statement)
    found = compared(side(tmp_path / "base"), head, model)[CELL.id]
    assert found.verdict == Verdict.UNMEASURED
    assert found.why.startswith("head: AnswerError: ")
    assert why in found.why


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ("raise FallbackError('another would run')", "FallbackError: another would run"),
        ("os._exit(0)", "its worker ended with 0"),
    ],
)
def test_a_model_that_does_not_load_is_not_measured(
    tmp_path: Path, model: Path, load: str, why: str
) -> None:
    found = compared(side(tmp_path / "a"), side(tmp_path / "b", load=load), model)[CELL.id]
    assert (found.verdict, found.why) == (Verdict.UNMEASURED, f"head: {why}")


def test_a_syntax_error_is_told_of_every_cell(tmp_path: Path, model: Path) -> None:
    base, head = side(tmp_path / "a"), side(tmp_path / "b")
    (tmp_path / "b/ssept/__init__.py").write_text("def broken(:\n")
    cells = (CELL, dataclasses.replace(CELL, batch=8))
    found = compared(base, head, model, *cells)
    assert set(found) == {cell.id for cell in cells}
    for finding in found.values():
        assert finding.verdict == Verdict.UNMEASURED
        assert finding.why.startswith("head: SyntaxError: invalid syntax")


def test_code_from_elsewhere_is_refused(tmp_path: Path, model: Path) -> None:
    base, head = side(tmp_path / "a"), side(tmp_path / "b")
    (tmp_path / "b/ssept").rename(tmp_path / "b/other")
    found = compared(base, head, model)[CELL.id]
    assert found.verdict == Verdict.UNMEASURED
    assert f"not the ssept of {tmp_path / 'b'}" in found.why


def test_a_provider_of_one_side_is_not_measured(tmp_path: Path, model: Path) -> None:
    head = side(tmp_path / "b", providers=("cpu", "new"))
    found = compared(side(tmp_path / "a"), head, model, CELL, GateCell("onnx", "new", 1))
    assert found["onnx-new-b001"].verdict == Verdict.UNMEASURED
    assert found["onnx-new-b001"].why == "base: unknown provider new"
    assert found[CELL.id].verdict != Verdict.UNMEASURED


def test_models_of_different_sizes_are_not_compared(tmp_path: Path, model: Path) -> None:
    found = compared(side(tmp_path / "a"), side(tmp_path / "b", items=21), model)[CELL.id]
    assert found.verdict == Verdict.UNMEASURED
    assert "20 items" in found.why
    assert "21 items" in found.why


def test_an_optional_provider_on_neither_side_is_left_out(tmp_path: Path, model: Path) -> None:
    sides = (side(tmp_path / "a"), side(tmp_path / "b"))
    suite = Suite((GateCell("onnx", "new", 1),), plan=QUICK, checkpoint=model)
    strict = run_suite(*sides, suite)
    assert [f.verdict for f in strict.findings] == [Verdict.UNMEASURED]
    lenient = run_suite(*sides, dataclasses.replace(suite, optional=("new",)))
    assert lenient.left_out == {"onnx-new": "unknown provider new"}
    assert lenient.exit_code == 3  # nothing was measured


def test_three_times_the_work_is_found(tmp_path: Path, model: Path) -> None:
    from ssept.decide.gate.timing import Timing
    from ssept.decide.gate.workers.prepare import prepare

    plan = GatePlan(alpha=0.2, looks=1, seconds=1, stretch_seconds=0.2, confirmation=2)
    base, head = side(tmp_path / "a"), side(tmp_path / "b")
    ready = prepare(base, head, [("onnx", "cpu")], checkpoint=model, plan=plan)
    timing = Timing(ready, [CELL], {CELL.id: 0.03}, plan, extra_work={CELL.id: 2.0})
    timing.run()
    trial = timing.trials.cells[CELL.id]
    assert trial.verdict == Verdict.REGRESSED, trial
    assert len(timing.stretches[CELL.id]) == len(trial.log_ratios)


def test_an_interruption_keeps_what_was_found(tmp_path: Path, model: Path) -> None:
    def interrupt(timing: object) -> None:
        raise KeyboardInterrupt

    suite = Suite((CELL,), plan=QUICK, checkpoint=model)
    result = run_suite(side(tmp_path / "a"), side(tmp_path / "b"), suite, interrupt)
    assert result.interrupted
    assert result.exit_code == 3
    assert times(result)[CELL.id].why == "interrupted"
    assert len(times(result)[CELL.id].details["log_ratios"]) == 1


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    hanging = side(tmp_path / "a", load="time.sleep(99)")
    program = f"""
from pathlib import Path
from ssept.decide.gate.workers.handle import WorkerHandle
from ssept.decide.gate.sides.side import Side
side = Side("a", Path({sys.executable!r}), Path({str(hanging.tree)!r}), None, {{}})
worker = WorkerHandle("base", side)
worker.ask("facts", 60)
worker.send("prepare", source="x", variant="onnx", provider="cpu", threads=1)
print("ready", flush=True)
worker.receive(99)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"ready\n"
    (worker,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.01)
