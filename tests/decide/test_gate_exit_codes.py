"""The gate's exit code when anything goes wrong, at any place: 3, never that of a finding."""

import contextlib
import errno
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssept.children import command, finished
from ssept.cli import main
from ssept.data.dataset import Dataset
from ssept.decide.gate import plan
from ssept.decide.gate.plan import GatePlan
from tests.helpers.matrix import environment
from tests.helpers.repositories import commit, git, write_engine

QUICK = GatePlan(alpha=0.5, looks=1, seconds=1, stretch_seconds=0.02, confirmation=1)
# Where an error is raised: what is replaced, and whether it does its work before.
PLACES = {
    "the options of commands": "ssept.cli.commands._parser",
    "the check of onnxruntime": "ssept.cli.commands.check_one_onnxruntime",
    "arguments": "ssept.cli.decide.gate_self_test.check",
    "extras": "ssept.measure.machine.package_versions",
    "signals of a side": "ssept.decide.gate.sides.side.ended_by_signals",
    "a revision": "ssept.decide.gate.sides.side.commit_of",
    "the cache": "ssept.decide.gate.sides.worktrees.cache_folder",
    "a lock": "ssept.decide.gate.sides.worktrees.locked",
    "a mark": "ssept.decide.gate.sides.worktrees.mark",
    "the filters of git": "ssept.decide.gate.sides.worktrees.without_filters",
    "a worktree": "ssept.decide.gate.sides.side.check_out",
    "git": "ssept.git.subprocess.run",
    "an interpreter": "ssept.decide.gate.sides.interpreter._requirements",
    "packages of a side": "ssept.decide.gate.sides.side.versions",
    "data": "ssept.cli.decide.gate.load_dataset",
    "prepared data": "ssept.cli.decide.gate.prepared",
    "the checkpoint": "ssept.cli.decide.gate.checkpoint_for",
    "cells": "ssept.cli.decide.gate.chosen",
    "budgets": "ssept.decide.gate.budgets.share",
    "the plan": "ssept.decide.gate.timing.Trials.__init__",
    "the machine": "ssept.decide.gate.suite.fingerprint",
    "preparing": "ssept.decide.gate.suite.prepare",
    "the code of a side": "ssept.decide.gate.workers.prepare._check_code",
    "what is possible": "ssept.decide.gate.workers.prepare._possible",
    "models": "ssept.decide.gate.workers.prepare._keep",
    "starting a worker": "ssept.decide.gate.workers.handle.WorkerHandle.__init__",
    "a request": "ssept.decide.gate.workers.handle.WorkerHandle.send",
    "an answer": "ssept.decide.gate.workers.handle.WorkerHandle.receive",
    "CPUs": "ssept.decide.gate.workers.handle.WorkerHandle.pin",
    "ending a worker": "after ssept.decide.gate.workers.handle.WorkerHandle.__exit__",
    "sizes": "ssept.decide.gate.suite.compare_size",
    "users": "ssept.decide.gate.suite.chosen_cases",
    "ranks": "ssept.decide.user_accuracy.full_ranks",
    "the bootstrap": "ssept.decide.gate.accuracy.bootstrap_relative_change",
    "the accuracy": "ssept.decide.gate.accuracy.judge_accuracy",
    "a pass": "ssept.decide.gate.timing.Timing._pass",
    "loading": "ssept.decide.gate.timing.Timing._load",
    "a stretch": "ssept.decide.gate.timing.Timing._stretch",
    "a look": "ssept.decide.gate.sequential_test.look_at",
    "the alarm": "ssept.decide.gate.sequential_test.holm",
    "stopping": "after ssept.decide.gate.sequential_test.Trials.stop",
    "the progress bar": "ssept.cli.decide.gate._show",
    "findings": "ssept.decide.gate.suite.latency_findings",
    "the report": "ssept.report.gate.gate_table",
    "the Markdown": "ssept.report.gate.gate_markdown",
    "the JSON": "ssept.decide.gate.findings.GateResult.as_json",
    "a temporary file": "ssept.files.tempfile.mkstemp",
    "a file's name": "ssept.files.Path.replace",
    "printing": "ssept.cli.decide.gate.print",
    "the exit code": "ssept.decide.gate.findings.counted",
    "cleaning up": "after ssept.decide.gate.sides.worktrees._remove",
}
ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("first\nsecond \x1b[31m" + 10_000 * "x"),
    lambda: MemoryError(),
    lambda: RecursionError("too deep"),
    lambda: UnicodeEncodeError("ascii", "×", 0, 1, "ordinal not in range"),
    lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"),
    lambda: OSError(errno.ENOSPC, "No space left on device", "/some/file"),
    lambda: OSError(errno.EPERM, "Operation not permitted"),
    lambda: AssertionError(),
    lambda: ImportError("no module"),
    lambda: KeyError(1),
    lambda: StopIteration(),
    lambda: EOFError(),
    lambda: SystemExit(0),
    lambda: SystemExit(1),
    lambda: SystemExit("why"),
    lambda: KeyboardInterrupt(),
    lambda: GeneratorExit(),
)

LATE = ("the report", "cleaning up")

pytestmark = pytest.mark.usefixtures("no_child_left")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small: Dataset) -> Path:
    """A repository of something like this project, whose last revision does three times the work.

    Its revisions `same` and `other` differ in nothing.
    """
    folder = tmp_path_factory.mktemp("project")
    git("init", "--quiet", folder=folder)
    for label, work in (("same", 5000), ("other", 5000), ("slow", 15_000)):
        commit(write_engine(folder, label, small.items, work), label)
        git("tag", label, folder=folder)
    return folder


@pytest.fixture
def arguments(
    tmp_path: Path,
    project: Path,
    small_folder: Path,
    small_checkpoint: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Of a gate that compares two equal revisions in a second or two."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(plan, "GatePlan", lambda **_: QUICK)
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('["onnx-cpu*"]\nlatency = "30%"\n')
    return [
        "gate", "same", "other", f"--data-dir={small_folder}", f"--checkpoint={small_checkpoint}",
        "--variants=onnx", "--providers=cpu", "--batch-sizes=1", f"--budgets={budgets}",
        f"--json={tmp_path / 'gate.json'}", f"--markdown={tmp_path / 'gate.md'}",
    ]  # fmt: skip


def inject(monkeypatch: pytest.MonkeyPatch, place: str, error: Callable[[], BaseException]) -> None:
    """Raise an error in place of a function, or after it."""
    _, after, path = place.rpartition("after ")
    owner, _, name = path.rpartition(".")
    parts = owner.split(".")
    found: Any = None
    for count in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:count]))
            break
    for part in parts[count:]:
        found = getattr(found, part)
    original = getattr(found, name, None)

    def fail(*values: Any, **named: Any) -> Any:
        if after:
            original(*values, **named)
        raise error()

    monkeypatch.setattr(found, name, fail, raising=False)


def outcome(arguments: list[str]) -> tuple[int, str, list[str]]:
    """The exit code of a command, what it printed and its lines of errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    lines = err.getvalue().replace("\r", "\n").split("\n")
    return code, out.getvalue(), [line for line in lines if line.startswith("ssept: ")]


def test_equal_revisions_are_fine(arguments: list[str], tmp_path: Path) -> None:
    code, out, said = outcome(arguments)
    assert (code, said) == (0, []), out
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "fine"


def test_a_slow_revision_is_a_regression(arguments: list[str], tmp_path: Path) -> None:
    code, out, said = outcome(["gate", "same", "slow", *arguments[3:]])
    assert (code, said) == (1, []), out
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "regressed"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PLACES)), ids=list(PLACES))
def test_an_error_at_any_place_is_3_and_one_line(
    number: int, arguments: list[str], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, list(PLACES.values())[number], ERRORS[number % 12])
    code, out, said = outcome(arguments)
    assert code == 3, out
    assert len(said) == 1
    assert said[0].startswith("ssept: error: ")
    assert len(said[0]) < 1000
    assert said[0].isprintable()


@pytest.mark.parametrize(
    "place",
    ["extras", "preparing", *(pytest.param(p, marks=pytest.mark.slow) for p in LATE)],
)
@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_whatever_is_raised_is_3(
    place: str, number: int, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, PLACES[place], ERRORS[number])
    code, out, said = outcome(arguments)
    assert code == 3, out
    assert len(said) <= 1


def test_what_can_be_written_is_written(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gate.md").mkdir()
    code, out, said = outcome(arguments)
    assert code == 3
    assert "fine: 3 fine" in out
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "fine"
    assert said == [
        f"ssept: error: {tmp_path / 'gate.md'}: is not a regular file; expected the name of a "
        "file to write"
    ]


# A program that is the gate, with a line that is run before it.
GATE = """
import sys
{line}
from ssept.children import command, finished
from ssept.cli import main
sys.exit(main())
"""


def program(script: Path, arguments: list[str], line: str) -> tuple[int, str]:
    """The exit code and the errors of a gate that runs a line first."""
    script.write_text(GATE.format(line=line))
    done = finished(command(script, *arguments), env=environment(), timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["numpy", "tqdm", "platformdirs", "psutil", "packaging", "scipy"])
def test_a_package_that_does_not_import_is_3(
    name: str, arguments: list[str], tmp_path: Path
) -> None:
    code, said = program(tmp_path / "gate.py", arguments, f"sys.modules[{name!r}] = None")
    assert code == 3, said
    assert len(said.splitlines()) == 1
    assert name in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", ["ssept.cli.commands", "ssept.decide.gate.suite", "psutil"])
def test_a_signal_while_it_is_imported_is_3(
    number: signal.Signals, place: str, arguments: list[str], tmp_path: Path
) -> None:
    line = (
        "import os, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {place!r}: os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())"
    )
    assert program(tmp_path / "gate.py", arguments, line) == (3, "ssept: interrupted\n")


@pytest.mark.parametrize(("stream", "why"), [("pipe", "closed"), ("disk", "No space left")])
def test_a_report_that_cannot_be_printed_is_3(
    stream: str, why: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, out = os.pipe() if stream == "pipe" else (None, os.open("/dev/full", os.O_WRONLY))
    if read:
        os.close(read)
    errors = io.StringIO()
    with open(out, "w") as file, contextlib.redirect_stderr(errors):  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", file)
        assert main([*arguments, "--no-accuracy"]) == 3
    (line,) = [line for line in errors.getvalue().splitlines() if line.startswith("ssept: ")]
    assert why in line
