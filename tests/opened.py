"""Counts how often this process opens which files; as a plugin it says so at the end of a run."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

OPENED: Counter[str] = Counter()


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        OPENED[Path(os.fsdecode(arguments[0])).name] += 1


sys.addaudithook(_count)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, count in OPENED.items():
        terminalreporter.write_line(f"opened {name}: {count}")
