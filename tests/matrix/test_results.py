"""Files of saved runs: what is read, and what is refused in one line that names file and field."""

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssept.cli import main
from ssept.errors import RunError
from ssept.results.cells import MatrixRun
from ssept.results.files import read_matrix_run, read_run, run_files, write_run

SHIPPED = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))
LONGEST_LINE = 500


def one_of_each() -> dict[str, Any]:
    """A run with a benchmark of each measure out of the shipped ones, and some outcomes."""
    found: dict[str, Any] = {}
    outcomes = []
    for path in SHIPPED:
        content = json.loads(path.read_text(encoding="utf-8"))
        for benchmark in content["benchmarks"]:
            found.setdefault(benchmark["extra_info"]["measure"], benchmark)
        outcomes += content["ssept"]["outcomes"][-2:]
    content["benchmarks"] = [*found.values()]
    content["ssept"]["outcomes"] = outcomes
    return content


WHOLE = one_of_each()
Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """The places of all values in a JSON value."""
    yield place
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*place, key))


def changed(content: Any, place: Place, value: Any) -> Any:
    """A copy with another value at a place; without it where that is `...`."""
    if not place:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


def outcome(*arguments: str | Path) -> tuple[int, str, str]:
    """The exit code of a command, its output and its error output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def works_or_says_why(*arguments: str | Path) -> str:
    """What a command says where it fails: one line, not too long; else nothing."""
    code, out, err = outcome(*arguments)
    out.encode()  # what a terminal could not show would be an error there
    assert code in (0, 1)
    assert bool(err) == (code == 1)
    assert len(err.splitlines()) <= 1
    assert len(err) - sum(len(str(a)) for a in arguments) < LONGEST_LINE
    assert err.isascii() or err.strip().isprintable()
    return err


NASTY = [
    *(0, -1, 0.0, -0.5, 1, 2.5, 1e308, 1e-308, 5e-324, 10**30, 10**400, -(10**400)),
    *(float("nan"), float("inf"), float("-inf"), None, True, False),
    *("", "1.5", "x" * 5000, "a\nb", "\x1b[2J", "\ud800", "served ratio", "accuracy", "edge"),
    *([], {}, [[]], [1, "a"], {"a": 1}, {"value": 1, "low": 2, "high": 0}, {"\ud800\n": {}}, ...),
]


@pytest.mark.parametrize("options", [[], ["--absolute", "--json", "-"]])
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from([*places(WHOLE)]), st.sampled_from(NASTY) | st.floats() | st.text())
def test_any_value_at_any_place_is_read_or_refused_in_one_line(
    tmp_path: Path, options: list[str], place: Place, value: Any
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(WHOLE))
    bad.write_text(json.dumps(changed(WHOLE, place, value)))
    report = works_or_says_why("report", bad)
    first = works_or_says_why("compare", bad, good, *options)
    second = works_or_says_why("compare", good, bad, *options)
    for said in (report, first, second):
        assert not said or str(bad) in said


def at(measure: str, *rest: str) -> Place:
    """A place in the facts of the benchmark of a measure."""
    measures = [one["extra_info"]["measure"] for one in WHOLE["benchmarks"]]
    return ("benchmarks", measures.index(measure), "extra_info", *rest)


def named(place: Place) -> str:
    """A place as an error names it."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (at("served ratio", "ratio", "low"), "1.5", 'is "1.5"; expected a positive number'),
        (at("served ratio", "ratio", "low"), 0, "is 0; expected a positive number"),
        (at("latency", "speedup", "high"), float("nan"), "is NaN; expected a positive number"),
        (at("latency", "speedup"), [1, 2, 3], "is a list; expected an object"),
        (at("latency", "p50_ms", "value"), 10**40, ", at most 1e+30"),
        (at("latency", "p50_ms", "value"), ..., "is missing; expected a positive number"),
        (at("latency", "threads"), True, "is true; expected a whole number of at least 1"),
        (at("latency", "batch"), 1.5, "is 1.5; expected a whole number of at least 1"),
        (at("accuracy", "full", "ndcg", "value"), 1.01, "expected a number from 0 to 1"),
        (at("accuracy", "full"), None, "is null; expected an object"),
        (at("budget", "ndcg_change", "low"), None, "is null; expected a number"),
        (at("footprint", "size_bytes"), 0, "is 0; expected a whole number of at least 1"),
        (at("edge", "measure"), ["edge"], "is a list; expected text"),
        (("benchmarks", 1, "stats", "median"), 0, "is 0; expected a positive number"),
        (("benchmarks", 1, "stats", "median"), None, "is null; expected a positive number"),
        (("benchmarks", 1, "stats", "q3"), "1.5", 'is "1.5"; expected a positive number'),
        (("benchmarks", 1, "name"), ..., "is missing; expected text"),
        (("benchmarks", 1), 1, "is 1; expected an object"),
        (("benchmarks", 1, "fullname"), WHOLE["benchmarks"][0]["fullname"], "no other benchmark"),
        (("benchmarks",), [], "is empty; expected one or more results"),
        (("benchmarks",), {}, "is an object; expected a list"),
        (("ssept",), None, "is null; expected an object"),
        (("ssept", "schema"), 99, "is 99; expected 1, which this version reads: measure again"),
        (("ssept", "schema"), True, "is true; expected a whole number"),
        (("ssept", "baseline"), 5, "is 5; expected text"),
        (("ssept", "outcomes"), [{"test": "a"}], "[0].variant is missing; expected text"),
        (("machine_info",), "a", 'is "a"; expected an object'),
        (("machine_info", "ssept", "memory_bytes"), "8", 'is "8"; expected a whole number'),
        (("machine_info", "ssept", "packages", "numpy"), 2, "is 2; expected text"),
        (("commit_info", "dirty"), "no", 'is "no"; expected true or false'),
    ],
)  # fmt: skip
def test_the_error_names_file_field_value_and_what_was_expected(
    tmp_path: Path, place: Place, value: Any, said: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(changed(WHOLE, place, value)))
    error = works_or_says_why("report", path)
    assert error.startswith(f"ssept: error: {path}: {named(place)}")
    assert said in error
    assert error == works_or_says_why("compare", path, path)


DEEP = 200_000
FILES = {
    "nothing": b"",
    "truncated": json.dumps(WHOLE).encode()[:-100],
    "list": b"[1, 2]",
    "number": b"7",
    "null": b"null",
    "text of a word processor": b"\xd0\xcf\x11\xe0" * 1000,
    "latin 1": '{"benchmarks": "é"}'.encode("latin-1"),
    "deep lists": b"[" * DEEP,
    "deep parameters": json.dumps(changed(WHOLE, ("benchmarks", 0, "params"), "HERE"))
    .encode()
    .replace(b'"HERE"', b"[" * DEEP + b"]" * DEEP),
    "too many digits": b'{"benchmarks": ' + b"9" * 50_000 + b"}",
    "a long name": json.dumps({"benchmarks": [{"name": "n" * 10**6}]}).encode(),
    "a lock file": b'{"lockfileVersion": 3, "packages": {}}',
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(FILES[name])
    for arguments in (["report", path], ["compare", path, path]):
        assert str(path) in works_or_says_why(*arguments)


@pytest.mark.parametrize("nested", [50, 300, 900])
def test_deep_parameters_are_read_or_refused(tmp_path: Path, nested: int) -> None:
    """Whatever the depth at which Python's own readers give up."""
    path = tmp_path / "run.json"
    text = json.dumps(changed(WHOLE, ("benchmarks", 0, "params"), "HERE"))
    path.write_text(text.replace('"HERE"', "[" * nested + "]" * nested))
    works_or_says_why("compare", path, path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_that_json_may_have_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(WHOLE), encoding=encoding)
    assert not works_or_says_why("report", path)


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    content = changed(WHOLE, ("ssept", "outcomes", 0, "reason"), "\x1b[2Jgone\nnext \ud800")
    content = changed(content, ("ssept", "outcomes", 0, "outcome"), "failed")
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    code, out, _ = outcome("report", path)
    assert code == 0
    assert r"\x1b[2Jgone\nnext \ud800" in out


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name[:4])
def test_every_shipped_run_is_read(path: Path) -> None:
    run = read_matrix_run(path)
    assert len(run.benchmarks) == len(json.loads(path.read_text(encoding="utf-8"))["benchmarks"])
    assert str(run.baseline.combination) == "onnx-cpu"


def test_a_file_of_another_project_is_read_but_has_no_table(tmp_path: Path) -> None:
    content = {"benchmarks": [], "machine_info": {}, "version": "5.3.1"}
    for name, median in (("test_a", 0.5), ("test_b", 1e-9)):
        stats = {"median": median, "q1": median, "q3": median}
        content["benchmarks"].append(
            {"name": name, "fullname": f"t.py::{name}", "stats": stats, "extra_info": [name]}
        )
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    run = read_run(path)
    assert not isinstance(run, MatrixRun)
    assert [benchmark.name for benchmark in run.benchmarks] == ["test_a", "test_b"]
    assert "2 plain pytest-benchmark results" in works_or_says_why("report", path)
    assert not works_or_says_why("compare", path, path)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "0001_run.json"
    write_run(path, WHOLE)
    assert json.loads(path.read_text(encoding="utf-8")) == WHOLE
    assert run_files([tmp_path]) == [path]


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "0001_run.json"
    write_run(path, WHOLE)
    wrong = changed(WHOLE, at("latency", "speedup", "low"), float("inf"))
    with pytest.raises(RunError, match=r"speedup\.low is Infinity; expected a positive number"):
        write_run(path, wrong)
    assert json.loads(path.read_text(encoding="utf-8")) == WHOLE
