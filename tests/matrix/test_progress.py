"""The progress bar: on a terminal it names the cell and the time left; elsewhere there is none."""

import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT, command, run_matrix

TEST = """
import pytest

@pytest.mark.cell
@pytest.mark.parametrize("outcome", ["fine", "failing", "skipping"])
def test_own(benchmark, baseline_cell, outcome):
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info |= baseline_cell.facts() | {"measure": "own"}
    assert outcome != "failing", "it failed"
    if outcome == "skipping":
        pytest.skip("none here")
"""
LEFT = re.compile(r"fine own: +33%.* 1/3 \[\d\d:\d\d<\d\d:\d\d")


@pytest.fixture
def options(tmp_path: Path, small_checkpoint: Path, small_folder: Path) -> list[str | Path]:
    file = tmp_path / "test_own.py"
    file.write_text(TEST)
    model = ("--data-dir", small_folder, "--checkpoint", small_checkpoint)
    plugins = ROOT / "benchmarks" / "test_edge.py"  # so that the root's are loaded
    return [*model, "--import-mode=importlib", "-k", "own", plugins, file]


def test_on_a_terminal_it_shows_cell_count_and_time_left(
    options: list[str | Path], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(tmp_path / "results", "-o", "console_output_style=classic", *options),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal so
        while read := os.read(ours, 65_536):
            shown += read
    os.close(ours)
    text = shown.decode()
    assert process.wait() == 1
    assert LEFT.search(text)
    assert "failed=1" in text
    assert "F" not in re.split(r"collected \d", text)[1].split("FAILURES")[0]
    assert re.search(r"1 failed.*1 passed.*1 skipped", text)


@pytest.mark.slow
def test_elsewhere_pytest_shows_what_it_always_does(
    options: list[str | Path], tmp_path: Path
) -> None:
    run = run_matrix(tmp_path / "results", *options)
    assert run.code == 1
    assert ".Fs" in run.output
    assert "/3 [" not in run.output
