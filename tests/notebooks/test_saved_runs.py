"""`ssept.SavedRuns`: the numbers are those of the CSV, the plots those of the page."""

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert

import ssept
from ssept.cli import main
from ssept.errors import RunError
from tests.helpers.reports import RUNS, altered

FIRST, SECOND, *_ = RUNS


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS[:2], RUNS], ids=["one", "two", "all"])
def test_its_numbers_are_those_of_the_csv(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = ssept.SavedRuns(*runs).numbers()
    assert main(["report", *map(str, runs), "--format=csv"]) == 0
    read = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    for name in ("value", "low", "high"):
        read[name] = pd.to_numeric(read[name])
    pd.testing.assert_frame_equal(numbers.astype(read.dtypes), read)


def test_they_have_the_hit_rate_beside_ndcg() -> None:
    numbers = ssept.SavedRuns(FIRST).numbers()
    saved = [
        each["extra_info"]["full"]["hr"]
        for each in json.loads(FIRST.read_text())["benchmarks"]
        if each["extra_info"]["measure"] == "accuracy"
    ]
    rows = numbers[numbers["figure"] == "full.hr"]
    assert rows[["value", "low", "high"]].to_dict("records") == saved
    assert len(rows) == (numbers["figure"] == "full.ndcg").sum() > 0


def test_a_run_without_the_hit_rate_is_read(tmp_path: Path) -> None:
    def without(content: dict[str, Any]) -> None:
        for benchmark in content["benchmarks"]:
            benchmark["extra_info"].get("full", {}).pop("hr", None)

    figures = set(ssept.SavedRuns(altered(FIRST, tmp_path, without)).numbers()["figure"])
    assert "full.ndcg" in figures
    assert "full.hr" not in figures


@pytest.mark.parametrize("section", ["accuracy-and-speed", "latency", "throughput", "resources"])
def test_its_plots_are_drawn_without_the_page(section: str) -> None:
    plots = ssept.SavedRuns(FIRST).plots(section)
    assert plots
    for plot in plots:
        spec = plot.to_dict()
        assert "var(" not in json.dumps(spec)
        svg = vl_convert.vegalite_to_svg(spec)
        assert spec["title"].split()[0] in svg
        assert "#0072b2" in svg  # the page's first colour, in light mode


def test_a_section_without_a_plot_has_none() -> None:
    assert ssept.SavedRuns(FIRST).plots("machines") == []


def test_another_section_is_refused_with_those_there_are() -> None:
    with pytest.raises(ssept.SseptError, match=r"section speed: expected one of .*latency, "):
        ssept.SavedRuns(FIRST).plots("speed")


def test_without_the_report_extra_plots_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("ssept.report.page.charts")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "altair", None)
    runs = ssept.SavedRuns(FIRST)
    assert len(runs.numbers())
    with pytest.raises(ssept.SseptError, match="plots need altair: install the report extra"):
        runs.plots("latency")


def test_the_newest_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    for age, run in enumerate((SECOND, FIRST)):
        folder = tmp_path / f"Linux-CPython-3.{10 - age}-64bit"
        folder.mkdir()
        copy = Path(shutil.copy(run, folder))
        os.utime(copy, (0, 1_000 + age))
    assert set(ssept.SavedRuns.newest(tmp_path).numbers()["file"]) == {FIRST.name}


@pytest.mark.parametrize("make", [False, True], ids=["no folder", "an empty folder"])
def test_a_folder_without_runs_is_refused(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "runs"
    if make:
        folder.mkdir()
    with pytest.raises(RunError, match="runs: no "):
        ssept.SavedRuns.newest(folder)
