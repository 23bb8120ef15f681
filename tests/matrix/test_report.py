"""`ssept report` in its forms: what each says, what it is written over, and what it refuses."""

import csv
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssept.cli import main
from ssept.decide.choose import Goal, Promises, recommend
from ssept.report.choose import sentence
from ssept.results.files import read_matrix_run
from tests.helpers.reports import RUNS, altered, elsewhere, scale_folder

FIRST, SECOND, *_ = RUNS
ACCURATE, FASTAPI, TRITON = RUNS[-3:]
TITLES = (
    "Recommendation",
    "Accuracy against speed",
    "Latency",
    "Throughput",
    "Size, memory and cold start",
    "Servers",
    "Cost as the catalog grows",
    "Skipped, failed or not applicable",
    "The machine",
    "How it was measured",
)


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command prints when it succeeds."""
    assert main(["report", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of its error."""
    assert main(["report", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    return said.err


@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.name[:4])
def test_each_saved_run_is_told_in_all_sections(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = report(capsys, run, "--format=markdown")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == len(TITLES)
    for number, (heading, title) in enumerate(zip(headings, TITLES, strict=True), 1):
        assert heading.startswith(f"## {number} {title}")
    empty = ("Not measured. To measure it: `", "`ssept choose` measures", " tests measured, ")
    for part in text.split("\n## ")[1:]:
        assert "|--" in part or any(words in part for words in empty)


def test_an_older_run_says_that_its_intervals_are_too_narrow(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def made_of_sessions(content: dict[str, Any]) -> None:
        made = {"method": "median", "unit": "pair of sessions", "n": 9, "confidence": 0.99}
        for benchmark in content["benchmarks"]:
            if "speedup" in benchmark["extra_info"]:
                benchmark["extra_info"]["interval"] = made

    assert "are too narrow" in report(capsys, FIRST, "--format=markdown")
    text = report(capsys, altered(FIRST, tmp_path, made_of_sessions), "--format=markdown")
    assert "too narrow" not in text
    assert "one observation per pair of sessions" in text


@pytest.mark.parametrize(
    ("options", "goal", "promises"),
    [
        ((), Goal.LATENCY, Promises()),
        (("--goal=size",), Goal.SIZE, Promises()),
        (("--goal=throughput", "--max-mb=1"), Goal.THROUGHPUT, Promises(max_mb=1)),
        (("--max-accuracy-loss=0.1%",), Goal.LATENCY, Promises(max_accuracy_loss=0.001)),
        (("--max-mb=0.001",), Goal.LATENCY, Promises(max_mb=0.001)),
    ],
)
def test_the_recommendation_is_the_one_of_choose(
    options: tuple[str, ...], goal: Goal, promises: Promises, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = recommend(read_matrix_run(ACCURATE), goal, promises)
    found = json.loads(report(capsys, ACCURATE, "--format=json", *options))
    assert found["recommendations"]["A"]["sentence"] == sentence(expected)
    first = found["sections"][0]["parts"][0]
    assert first["sentences"] == [sentence(expected)]


def test_what_breaks_a_promise_is_never_on_the_front(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(report(capsys, ACCURATE, "--format=json", "--max-mb=1"))
    figures = found["sections"][1]["parts"][0]["figures"]
    spots = [spot for figure in figures for spot in figure["plot"]["spots"]]
    broken = {spot["name"] for spot in spots if spot["broken"]}
    assert broken == {"onnx"}
    assert not any(spot["broken"] and spot["best"] for spot in spots)
    for spot in spots:  # nothing that is kept is better in both than one on the front
        if spot["best"]:
            batch = [
                figure["plot"]["spots"] for figure in figures if spot in figure["plot"]["spots"]
            ]
            kept = [other for other in batch[0] if not other["broken"]]
            assert not [o for o in kept if o["x"][0] > spot["x"][0] and o["y"][0] > spot["y"][0]]


def test_csv_has_a_row_for_each_number_of_each_cell(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*csv.DictReader(io.StringIO(report(capsys, FIRST, FASTAPI, "--format=csv")))]
    saved = json.loads(FIRST.read_text())["benchmarks"]
    found = {(row["run"], row["test"], row["figure"]): row for row in rows}
    assert len(found) == len(rows)
    for benchmark in saved:
        facts = benchmark["extra_info"]
        key = ("A", benchmark["name"])
        assert float(found[(*key, "size_bytes")]["value"]) == facts["size_bytes"]
        if p50 := facts.get("p50_ms"):
            row = found[(*key, "p50_ms")]
            assert [float(row[end]) for end in ("value", "low", "high")] == [*p50.values()]
            assert (row["variant"], row["provider"]) == (facts["variant"], facts["provider"])
    accuracy = next(each for each in saved if each["extra_info"]["measure"] == "accuracy")
    ndcg = accuracy["extra_info"]["full"]["ndcg"]["value"]
    assert float(found["A", accuracy["name"], "full.ndcg"]["value"]) == ndcg
    assert {row["setting"] for row in rows if row["run"] == "B"} > {"served fastapi; load 261/s"}


def test_json_has_everything(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    scale = scale_folder(tmp_path)
    runs = (FIRST, FASTAPI, TRITON)
    found = json.loads(report(capsys, *runs, "--format=json", "--scale", scale))
    assert found["ssept_report"] == 1
    assert [run["run"] for run in found["runs"]] == ["A", "B", "C"]
    assert {measure["run"] for measure in found["measures"]} == {"A", "B", "C"}
    assert [
        section["title"].startswith(title)
        for section, title in zip(found["sections"], TITLES, strict=True)
    ] == [True] * len(TITLES)
    assert len(found["scale"]) == 3
    (scale_section,) = (each for each in found["sections"] if each["key"] == "scale")
    (curve,) = scale_section["parts"][0]["figures"]
    assert curve["title"] == "Items in the catalog, length 50, batch 1"
    assert {row["cells"][1] for row in curve["rows"]} == {"10,000", "100,000", "1,000,000"}
    assert found["recommendations"]["C"]["why_not"].startswith("No recommendation")


def test_a_gain_in_process_is_put_beside_the_one_behind_a_server(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def ratios(*runs: Path) -> dict[str, list[str]]:
        found = json.loads(report(capsys, *runs, "--format=json"))
        (servers,) = (each for each in found["sections"] if each["key"] == "servers")
        rows = [row["cells"] for part in servers["parts"] for row in part["figures"][0]["rows"]]
        return {f"{row[0]} / {row[1]}, {row[2]}": row[4:] for row in rows}

    def fast(content: dict[str, Any]) -> None:
        """Let the cell of torch be one of the served variant."""
        for benchmark in content["benchmarks"]:
            facts = benchmark["extra_info"]
            if facts["variant"] == "torch":
                facts |= {"variant": "fused_int8_topk", "provider": "cpu"}
                if facts.get("speedup"):
                    facts["speedup"] = {"value": 4.0, "low": 3.9, "high": 4.1}

    plain = "int8_topk / plain_all_scores, 8 at a time, batch 1"
    other = "topk / topk_unbatched, 8 at a time, batch 1"
    run = altered(FIRST, tmp_path, fast)
    # A ratio of 1.51 behind the server, of 4 in process: log 1.51 / log 4.
    assert ratios(run, TRITON)[plain] == ["4 [3.9, 4.1]", "30%"]
    # Another batching, another machine, or no run in process: nothing to put beside it.
    assert ratios(run, TRITON)[other] == ["–", "–"]
    assert ratios(TRITON)[plain] == ["–", "–"]
    assert ratios(altered(run, tmp_path, elsewhere), TRITON)[plain] == ["–", "–"]


def test_of_two_machines_only_ratios_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = altered(FIRST, tmp_path, elsewhere)
    found = json.loads(report(capsys, FIRST, other, SECOND, "--format=json"))
    assert [run["machine"] for run in found["runs"]] == ["1", "2", "1"]
    first, *rest = found["sections"][0]["parts"]
    assert first["heading"] == "All runs"
    (figure,) = first["figures"]
    assert figure["columns"][1:3] == ["run A, machine 1", "run B, machine 2"]
    for row in figure["rows"]:
        assert row["cells"][1] == row["cells"][2]  # the same figures in both
    assert len(rest) == 3
    for section in found["sections"][1:7]:
        for part in section["parts"]:
            assert part["heading"].startswith("Run ")  # of one run, and so of one machine
    (machines,) = (each for each in found["sections"] if each["key"] == "machines")
    assert [part["heading"] for part in machines["parts"]] == ["Machine 1", "Machine 2"]


def test_runs_of_two_models_say_that_their_ratios_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = report(capsys, FIRST, SECOND, "--format=markdown")
    assert "Runs A and B: the baselines differ: they have different checkpoints" in text


class References(HTMLParser):
    """Collects what a page asks for, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_all_saved_runs_fit_into_one_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    report(capsys, FIRST.parent, "-o", page)
    assert page.stat().st_size < 2_000_000
    references = References()
    references.feed(page.read_text(encoding="utf-8"))
    assert {one for one in references.found if not one.startswith("#")} == {"data:,"}
    assert references.tags.count("section") == len(TITLES)


HOSTILE = "</script><script>alert(1)</script><b>`|\"'&"


def test_text_of_a_run_stays_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    content = json.loads(FIRST.read_text())
    for benchmark in content["benchmarks"]:
        facts = benchmark["extra_info"]
        if facts["variant"] == "torch":
            facts["variant"] = HOSTILE
    content["ssept"]["outcomes"].append(
        {"test": HOSTILE, "variant": HOSTILE, "provider": "cpu", "outcome": "failed"}
        | {"reason": HOSTILE}
    )
    run, page = tmp_path / "hostile.json", tmp_path / "report.html"
    run.write_text(json.dumps(content))
    report(capsys, run, "-o", page)
    references = References()
    references.feed(page.read_text(encoding="utf-8"))
    scripts = references.tags.count("script") - references.tags.count("figure")
    assert scripts == 3  # beside the data of each plot
    assert "b" not in references.tags
    # Markdown shows it as text too, outside of code.
    text = re.sub(
        r"(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)", "", report(capsys, run, "--format=markdown")
    )
    assert "alert" in text
    assert "<b>" not in text
    for name in ("csv", "json"):
        assert "alert(1)" in report(capsys, run, f"--format={name}")


def test_only_a_report_is_written_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.md", "a.csv", "a.json", "a.html")]
    for file in files:
        report(capsys, FIRST, "-o", file)
        before = file.read_bytes()
        report(capsys, FIRST, "-o", file)
        assert file.read_bytes() == before
        file.write_text("my notes")
        said = refused(capsys, FIRST, "-o", file)
        assert "is not a report" in said
        assert "--overwrite" in said
        assert file.read_text() == "my notes"
        report(capsys, FIRST, "-o", file, "--overwrite")
        assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_run_is_not_replaced_by_its_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run.json"
    run.write_bytes(FIRST.read_bytes())
    assert "would be overwritten" in refused(capsys, run, "-o", run)
    assert run.read_bytes() == FIRST.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "report.pdf"), "expected a name that ends in .html"),
        (("-o", "report"), "expected a name that ends in .html"),
        (("-o", "FOLDER/folder.html"), "is not a regular file"),
        (("--format=csv", "--scale", "FOLDER"), "expected a folder that `ssept scale --out`"),
        (("FOLDER/none.json", "--format=csv"), "no such results file"),
        (("FOLDER", "--format=csv"), "no saved runs in it"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    words = [word.replace("FOLDER", str(tmp_path)) for word in arguments]
    assert message in refused(capsys, FIRST, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_only_a_page_is_refused(
    missing: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("ssept.report.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    page = tmp_path / "report.html"
    said = refused(capsys, FIRST, "-o", page)
    assert missing in said
    assert "install the report extra" in said
    assert not page.exists()
    for form in ("markdown", "csv", "json"):
        assert report(capsys, FIRST, f"--format={form}")


def test_a_page_that_would_be_too_large_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def many_reasons(content: dict[str, Any]) -> None:
        skipped = {"variant": "onnx", "provider": "cpu", "outcome": "skipped"}
        content["ssept"]["outcomes"] += [
            skipped | {"test": f"test_{number}", "reason": f"{number}: {'why ' * 100}"}
            for number in range(3000)
        ]

    run, page = altered(FIRST, tmp_path, many_reasons), tmp_path / "report.html"
    said = refused(capsys, run, "-o", page)
    assert "at most 2" in said
    assert "--format" in said
    assert not page.exists()


def test_without_options_the_tables_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    one = report(capsys, FIRST)
    assert "onnx-cpu *" in one
    both = report(capsys, FIRST, SECOND)
    assert one.strip() in both
    assert f"{FIRST}\n" in both
    assert f"{SECOND}\n" in both


def test_compared_servers_are_shown_with_their_rates(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rate = {"value": 2000.0, "low": 1900.0, "high": 2100.0}
    row = {"measure": "served rate", "server": "granian", "against": "ssept", "limit_ms": 10.0}
    row |= dict.fromkeys(("ratio", "ratio_interval", "interval", "overload", "cpu_ms", "cold_s"))
    row |= {"rate": 2000.0, "rate_interval": rate, "rss_bytes": 3e8, "requests": 9}
    row |= {"failed": {}, "client_bound": True, "fault": ""}
    nothing = {"server": "bad", "rate": None, "rate_interval": None, "fault": "did not <start>"}

    def served(content: dict[str, Any]) -> None:
        """Let two benchmarks be of servers."""
        for benchmark, own in zip(content["benchmarks"][:2], ({}, nothing), strict=True):
            benchmark["extra_info"] |= row | own

    run = altered(FIRST, tmp_path, served)
    found = json.loads(report(capsys, run, "--format=json"))
    (servers,) = (each for each in found["sections"] if each["key"] == "servers")
    (figure,) = servers["parts"][0]["figures"]
    assert [cells["cells"][0] for cells in figure["rows"]] == ["granian", "bad"]
    assert figure["rows"][0]["cells"][2] == "2,000 [1,900, 2,100] !"
    assert figure["rows"][1]["cells"][2] == "did not <start>"
    assert figure["command"] == "tox -e servers -- --servers=granian,bad --p99-ms=10"
    assert "did not &lt;start&gt;" in report(capsys, run, "--format=html")
