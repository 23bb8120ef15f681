"""The figures of the pages are those of the saved runs that the pages name.

A line `<!-- figures: 0014 -->` before a block or a table names its runs of `results/`.
"""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.matrix import ROOT, environment
from tests.project.test_docs import PAGES

MARK = re.compile(
    r"^<!-- figures: ([\d ]+) -->\n+(?:```\n(?P<fence>.*?)^```$|(?P<table>(?:^\|[^\n]*\n)+))",
    re.M | re.S,
)
TRIPLE = re.compile(r"(-?[\d,]*\.?\d+)\*{0,2} \[(-?[\d,]*\.?\d+), (-?[\d,]*\.?\d+)\]")
FEWEST_PAGES = 5


def blocks() -> Iterator[tuple[str, tuple[str, ...], str, str]]:
    """Yield the place, the runs, the fenced block and the table of each mark; one is empty."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in MARK.finditer(text):
            place = f"{page.name}:{text[: found.start()].count(chr(10)) + 1}"
            yield place, tuple(found[1].split()), found["fence"] or "", found["table"] or ""


BLOCKS = list(blocks())


def run_file(number: str) -> Path:
    (path,) = (ROOT / "results").glob(f"*/{number}_*.json")
    return path


@cache
def printed(*arguments: str) -> str:
    """What a command of `ssept` prints, in a process that may read the project's own runs."""
    words = [sys.executable, "-m", "ssept.cli", *arguments]
    done = subprocess.run(
        words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def reported(number: str, *options: str) -> str:
    return printed("report", str(run_file(number)), *options)


def intervals(number: str) -> set[tuple[float, ...]]:
    """The values of a run that have an interval, with it."""
    rows = csv.DictReader(io.StringIO(reported(number, "--format=csv")))
    return {
        tuple(float(row[name]) for name in ("value", "low", "high")) for row in rows if row["low"]
    }


def same(shown: tuple[str, ...], figures: tuple[float, ...]) -> bool:
    """Whether figures are shown so, each with its own number of decimals."""
    return all(
        abs(float(text.replace(",", "")) - figure) <= 0.5001 * 10.0 ** -len(text.partition(".")[2])
        for text, figure in zip(shown, figures, strict=True)
    )


def plain(text: str) -> str:
    return " ".join(text.split())


def wrong_lines(block: str, text: str) -> list[str]:
    """The lines of a table, and the paragraphs, of a block that a text does not have."""
    lines, whole = {plain(line) for line in text.splitlines()}, plain(text)
    wrong = []
    for paragraph in re.split(r"\n\s*\n", block.replace("…\n", "")):
        if "---" in paragraph:
            wrong += [line for line in paragraph.splitlines() if plain(line) not in lines]
        elif plain(paragraph) not in whole:
            wrong.append(paragraph)
    return wrong


def wrong_figures(table: str, figures: set[tuple[float, ...]]) -> list[tuple[str, ...]]:
    """The figures of a table, each with its interval, that are not among those of the runs."""
    shown = TRIPLE.findall(table)
    assert shown, "no figure has an interval"
    return [each for each in shown if not any(same(each, found) for found in figures)]


@pytest.mark.parametrize(
    ("runs", "fence", "table"), [block[1:] for block in BLOCKS], ids=[block[0] for block in BLOCKS]
)
def test_figures_are_those_of_the_runs(runs: tuple[str, ...], fence: str, table: str) -> None:
    if fence:
        text = "\n".join(reported(run, *more) for run in runs for more in ((), ("--full",)))
        assert wrong_lines(fence, text) == []
    else:
        assert wrong_figures(table, set().union(*map(intervals, runs))) == []


def test_the_findings_are_what_their_command_prints() -> None:
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    command = re.search(r"`ssept (findings [^`]*) --out docs/findings.md`", page)
    assert command
    assert printed(*command[1].split()) == page.replace(" --out docs/findings.md", "")


def test_enough_pages_are_checked() -> None:
    assert len({place.partition(":")[0] for place, *_ in BLOCKS}) >= FEWEST_PAGES


def test_every_mark_is_before_a_block() -> None:
    marks = [re.findall(r"^<!-- figures: ", page.read_text("utf-8"), re.M) for page in PAGES]
    assert sum(map(len, marks)) == len(BLOCKS)


def test_a_changed_figure_is_found() -> None:
    place, runs, fence, _ = next(block for block in BLOCKS if block[2])
    text = "\n".join(reported(run, *more) for run in runs for more in ((), ("--full",)))
    changed = re.sub(r"\d\.\d\d(?= \[)", "9.99", fence, count=1)  # the first with an interval
    assert changed != fence, place
    assert wrong_lines(changed, text)
    found = next(block for block in BLOCKS if block[3])
    figures = set().union(*map(intervals, found[1]))
    first = TRIPLE.search(found[3])
    assert first
    higher = f"{float(first[1].replace(',', '')) * 1.1:.2f}"
    assert wrong_figures(found[3].replace(first[1], higher, 1), figures)
