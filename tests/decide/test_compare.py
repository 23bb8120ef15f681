"""`ssept compare`: what it says of saved runs, small ones made here and copies of real ones."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssept.cli import main
from ssept.decide.compare.comparison import compare
from ssept.decide.compare.rows import UNTOLD, Row, RunComparison, difference, ratio
from ssept.estimate import Estimate
from ssept.report.compare import comparison_markdown, comparison_table
from ssept.results.files import read_run
from ssept.results.files import run_of as checked

SAVED = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))
MACHINE = {
    **{"cpu": "A64", "architecture": "x86_64", "cores": 2, "governor": "performance"},
    **{"memory_bytes": 8_000_000_000, "system": "Linux-6", "python": "3.11.7"},
    "packages": {"numpy": "2.4.6", "onnxruntime": "1.24.1"},
}


def cell(
    measure: str = "latency",
    pair: str = "onnx-openvino",
    *,
    batch: int = 1,
    speedup: tuple[float, float, float] | None = (1.0, 0.99, 1.01),
    p50_ms: float = 0.3,
    ndcg: float = 0.25,
    **facts: Any,
) -> dict[str, Any]:
    """A benchmark of the matrix, with what compare reads of it."""
    variant, provider = pair.split("-")
    extra = {
        **{"variant": variant, "provider": provider, "threads": 1, "options": {}},
        **{"checkpoint": "tiny", "checkpoint_sha256": "c" * 64, "data_hash": "d" * 64},
        **{"artifact_sha256": "a" * 64, "size_bytes": 4_000_000, "measure": measure},
    }
    params: dict[str, Any] = {"cell": [variant, provider]}
    if measure == "accuracy":
        low, high = max(0.0, ndcg - 0.01), min(1.0, ndcg + 0.01)
        full = {"ndcg": {"value": ndcg, "low": low, "high": high}}
        extra |= {"split": "test", "full": full}
        params["split"] = suffix = "test"
    else:
        ends = speedup and dict(zip(("value", "low", "high"), speedup, strict=True))
        p50 = {"value": p50_ms, "low": p50_ms * 0.98, "high": p50_ms * 1.02}
        extra |= {"batch": batch, "call": "recommend", "speedup": ends, "p50_ms": p50}
        params["batch_size"], suffix = batch, f"b{batch:03}"
    name = f"test_{measure}[{pair}-{suffix}]"
    return plain(f"benchmarks/test_it.py::{name}", p50_ms / 1e3) | {
        **{"name": name, "params": params, "extra_info": extra | facts},
    }


def plain(fullname: str, median: float) -> dict[str, Any]:
    stats = {"median": median, "q1": median * 0.9, "q3": median * 1.2, "iqr": median * 0.3}
    name = fullname.split("::")[-1]
    return {"name": name, "fullname": fullname, "extra_info": {}, "stats": stats}


def run_of(*cells: dict[str, Any], **about: Any) -> dict[str, Any]:
    """A saved run of the matrix; `about` goes into its part `ssept`, but for `machine`."""
    machine = MACHINE | about.pop("machine", {})
    return {
        "machine_info": {"node": "n", "cpu": {"brand_raw": "A64", "count": 2}, "ssept": machine},
        "commit_info": {"id": "f" * 40, "dirty": False},
        "datetime": "2026-01-02T03:04:05+00:00",
        "benchmarks": list(cells),
        "ssept": {"schema": 1, "baseline": "onnx-cpu", "outcomes": [], "not_applicable": []}
        | about,
    }


def plain_run(*tests: dict[str, Any], node: str = "n") -> dict[str, Any]:
    info = {"node": node, "machine": "x86_64", "cpu": {"brand_raw": "A64", "count": 2}}
    return {"machine_info": info, "benchmarks": list(tests), "commit_info": {}}


def compared(*contents: dict[str, Any], **options: Any) -> RunComparison:
    """What compare says of the first two runs."""
    runs = [checked(Path(f"{place}.json"), content) for place, content in enumerate(contents)]
    return compare(runs, **options).pairs[0]


def shown(*contents: dict[str, Any], **options: Any) -> str:
    runs = [checked(Path(f"{place}.json"), content) for place, content in enumerate(contents)]
    return comparison_table(compare(runs, **options))


def row_of(pair: RunComparison, what: str) -> Row:
    (row,) = [row for row in pair.rows if row.what == what]
    return row


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Writes a run as a file."""

    def save(content: dict[str, Any], name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return save


@pytest.mark.parametrize(
    ("speedup", "verdict", "mark"),
    [
        ((1.2, 1.18, 1.22), "faster", "faster"),
        ((0.8, 0.79, 0.81), "slower", "slower"),
        ((1.015, 1.0, 1.03), UNTOLD, "~"),
    ],
)
def test_a_change_is_told_by_its_interval(
    speedup: tuple[float, float, float], verdict: str, mark: str
) -> None:
    before, after = run_of(cell()), run_of(cell(speedup=speedup))
    row = row_of(compared(before, after), "latency 1")
    assert row.verdict == verdict
    assert row.change is not None
    assert row.change.value == pytest.approx(speedup[0])
    line = next(line for line in shown(before, after).splitlines() if "latency 1" in line)
    assert line.split()[-1] == mark
    assert "1.000 [0.990, 1.010]" in line


OVER_SESSIONS = {"unit": "pair of fresh sessions", "n": 12}
OF_ONE = {"unit": "block of calls", "n": 30}


@pytest.mark.parametrize(
    ("one", "two", "judged"),
    [
        (None, None, True),  # two old runs, as ever
        (OVER_SESSIONS, OVER_SESSIONS, True),
        (OVER_SESSIONS, OVER_SESSIONS | {"n": 14}, True),
        (None, OVER_SESSIONS, False),
        (OVER_SESSIONS, OF_ONE, False),
    ],
)
def test_intervals_that_were_made_in_different_ways_are_not_judged_together(
    one: dict[str, Any] | None, two: dict[str, Any] | None, judged: bool
) -> None:
    made = {"method": "Hodges-Lehmann", "confidence": 0.99}
    before, after = (
        run_of(cell(speedup=speedup, **({"interval": made | how} if how else {})))
        for how, speedup in ((one, (1.0, 0.99, 1.01)), (two, (1.2, 1.18, 1.22)))
    )
    row = row_of(compared(before, after), "latency 1")
    assert row.change is not None
    assert row.change.value == pytest.approx(1.2)
    assert row.verdict == ("faster" if judged else None)
    said = " ".join(shown(before, after).split())
    assert ("whose intervals A and B made in different ways" in said) == (not judged)


def test_intervals_add_as_squares_on_the_log_scale() -> None:
    change = ratio(Estimate(2, 2 / 1.03, 2 * 1.03), Estimate(3, 3 / 1.04, 3 * 1.04))
    wide = math.exp(math.hypot(math.log(1.03), math.log(1.04)))
    assert change.value == pytest.approx(1.5)
    assert (change.low, change.high) == (pytest.approx(1.5 / wide), pytest.approx(1.5 * wide))


def test_the_far_end_of_either_interval_makes_the_end() -> None:
    """An end of B - A is made of that end of B and the opposite one of A."""
    change = difference(Estimate(1.0, 1.0, 4.0), Estimate(10.0, 6.0, 10.0))
    assert change == Estimate(9.0, 4.0, 9.0)


def test_the_interval_holds_as_often_as_those_it_is_made_of() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal((1, 4), (0.1, 0.3), (4000, 2)).T
    z = 2.5758
    changes = [
        difference(Estimate(x, x - 0.1 * z, x + 0.1 * z), Estimate(y, y - 0.3 * z, y + 0.3 * z))
        for x, y in zip(a, b, strict=True)
    ]
    assert 0.985 < np.mean([change.low <= 3 <= change.high for change in changes]) < 0.995


@st.composite
def estimates(draw: st.DrawFn) -> tuple[float, float, float]:
    # In thousandths: two that differ, differ by more than the rounding of a logarithm.
    value = draw(st.integers(100, 20_000))
    below, above = draw(st.integers(0, value // 2)), draw(st.integers(0, value))
    return value / 1e3, (value - below) / 1e3, (value + above) / 1e3


@st.composite
def any_run(draw: st.DrawFn) -> dict[str, Any]:
    cells = []
    for batch in (1, 8, 64):
        for measure in ("latency", "real_lengths"):
            speedup = draw(st.none() | estimates())
            cells.append(cell(measure, batch=batch, speedup=speedup))
    accuracy = cell(
        "accuracy", ndcg=draw(st.integers(0, 100)) / 100, size_bytes=draw(st.integers(1, 10**9))
    )
    return run_of(*draw(st.lists(st.sampled_from(cells), unique_by=id, min_size=1)), accuracy)


OPPOSITE = {
    **{"faster": "slower", "better": "worse", "larger": "smaller"},
    **{"slower": "faster", "worse": "better", "smaller": "larger"},
}


@given(any_run(), any_run())
def test_swapping_the_runs_inverts_every_change(a: dict[str, Any], b: dict[str, Any]) -> None:
    there, back = compared(a, b), compared(b, a)
    assert {(row.cell, row.what) for row in there.rows} == {(r.cell, r.what) for r in back.rows}
    for row in there.rows:
        swapped = row_of(back, row.what)
        assert (row.first, row.other) == (swapped.other, swapped.first)
        assert (row.change is None) == (swapped.change is None)
        assert swapped.verdict == OPPOSITE.get(str(row.verdict), row.verdict)
        if row.change and swapped.change:
            ends = (row.change.value, row.change.low, row.change.high)
            negated = [-x if row.unit == "ndcg" else 1 / x for x in ends]
            found = (swapped.change.value, swapped.change.high, swapped.change.low)
            assert found == pytest.approx(negated, rel=1e-9, abs=1e-12)
    sides = {"A": "B", "B": "A"}
    assert {(one.run, one.what) for one in there.one_sided} == {
        (sides[one.run], one.what) for one in back.one_sided
    }


def nothing_changed(pair: RunComparison) -> bool:
    none = {"ndcg": 0}
    return not pair.one_sided and all(
        row.verdict in (UNTOLD, "same") and row.change and row.change.value == none.get(row.unit, 1)
        for row in pair.rows
        if not row.why_not
    )


@given(any_run())
def test_a_run_against_itself_says_nothing_changed(run: dict[str, Any]) -> None:
    assert nothing_changed(compared(run, copy.deepcopy(run)))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.name[:4])
def test_a_real_run_against_itself_says_nothing_changed(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    pair = compared(content, content)
    assert nothing_changed(pair)
    assert len({(row.cell, row.what) for row in pair.rows}) >= 4
    said = shown(content, content)
    assert "not the same" not in said
    assert "Not the same" not in said


def test_accuracy_and_size_stand_beside_speed() -> None:
    before = run_of(cell(), cell("accuracy"))
    after = run_of(cell(size_bytes=5_000_000), cell("accuracy", ndcg=0.2, size_bytes=5_000_000))
    pair = compared(before, after)
    assert [row.what for row in pair.rows] == ["NDCG@10", "latency 1", "size"]
    ndcg, _, size = pair.rows
    assert ndcg.change is not None
    assert ndcg.change.low == pytest.approx(-0.05 - math.hypot(0.01, 0.01))
    assert ndcg.verdict == "worse"
    assert (size.verdict, size.change) == ("larger", Estimate(1.25, 1.25, 1.25))
    (line,) = [line for line in shown(before, after).splitlines() if "NDCG@10  " in line]
    assert line.endswith("-.0500 [-.0641, -.0359]  worse")


def test_accuracy_on_other_data_is_shown_and_not_compared() -> None:
    other = {"data_hash": "e" * 64, "checkpoint_sha256": "b" * 64}
    before, after = run_of(cell("accuracy")), run_of(cell("accuracy", **other))
    row = row_of(compared(before, after), "NDCG@10")
    assert (row.change, row.verdict, row.why_not) == (None, None, "other data")
    assert row.other is not None
    said = shown(before, after)
    assert "other data: onnx-openvino (NDCG@10)" in said
    assert "data: A dddddddddddd; B eeeeeeeeeeee" in said


def test_the_data_of_a_bare_state_dict_are_unknown() -> None:
    run = run_of(cell("accuracy", data_hash=""))
    assert "does not name its data" in row_of(compared(run, run), "NDCG@10").why_not


def test_cells_of_one_side_are_listed_with_the_reason() -> None:
    test = cell("latency", "onnx-cuda")["name"]
    lost = cell("latency", "onnx-cpu")["name"]
    about = {"variant": "onnx", "provider": "any"}
    outcomes = [
        about | {"test": test, "outcome": "skipped", "reason": "no CUDA here"},
        about | {"test": lost, "outcome": "failed", "reason": "it broke"},
    ]
    first = run_of(
        cell(),
        cell(batch=8),
        cell(pair="onnx-cuda"),
        cell(pair="onnx-cpu"),
        cell(pair="torch-cpu"),
        cell(pair="onnx_graph-cpu", length=50),
    )
    second = run_of(
        cell(),
        cell(pair="onnx_graph-cpu", length=20),
        outcomes=outcomes,
        not_applicable=["torch-cpu"],
    )
    reasons = {
        (one.run, one.cell, one.what): one.reason for one in compared(first, second).one_sided
    }
    assert reasons == {
        ("A", "onnx-openvino", "latency 8"): "not selected, or the run ended before it",
        ("A", "onnx-cuda", "latency 1"): "skipped: no CUDA here",
        ("A", "onnx-cpu", "latency 1"): "failed: it broke",
        ("A", "torch-cpu", "latency 1"): "not applicable",
        ("A", "onnx_graph-cpu", "latency 1"): "measured with length 20",
        ("B", "onnx_graph-cpu", "latency 1"): "measured with length 50",
    }
    said = shown(first, second)
    assert "only in A; in B:\n" in said
    assert "  not selected, or the run ended before it: onnx-openvino (latency 8)\n" in said
    assert "  skipped: no CUDA here: onnx-cuda\n" in said


def test_options_make_another_cell() -> None:
    first, second = run_of(cell()), run_of(cell(options={"num_streams": 2}))
    pair = compared(first, second)
    assert not pair.rows
    assert [one.cell for one in pair.one_sided] == ["onnx-openvino", "onnx-openvino, num_streams=2"]
    assert "options of onnx-openvino: A –; B num_streams=2" in shown(first, second)


def test_what_differs_is_said_first_and_only_that() -> None:
    first = run_of(cell())
    second = run_of(
        cell(artifact_sha256="b" * 64),
        machine={"governor": "powersave", "packages": {"numpy": "2.4.6", "onnxruntime": "1.32.0"}},
    )
    second["commit_info"]["dirty"] = True
    said = shown(first, second)
    block = said.split("\n\n")[1]
    assert block.splitlines() == [
        "not the same:",
        "  governor: A performance; B powersave",
        "  commit: A ffffffffffff; B ffffffffffff dirty",
        "  onnxruntime: A 1.24.1; B 1.32.0",
        "  baseline's file: A aaaaaaaaaaaa; B bbbbbbbbbbbb",
    ]
    sentences = " ".join(said.split())
    assert "Not the same in both: the baseline's file, the machine, packages. The" in sentences


def test_the_baseline_against_itself_shows_the_noise_between_sessions() -> None:
    baseline = cell(pair="onnx-cpu", speedup=(0.99, 0.985, 0.995))
    pair = compared(run_of(cell(), baseline), run_of(cell()))
    assert any("×0.990 to ×0.990" in note for note in pair.notes)


@pytest.mark.parametrize(
    ("facts", "about", "why"),
    [
        ({}, {"baseline": "custom-cpu"}, "onnx-cpu, custom-cpu"),
        ({"checkpoint_sha256": "b" * 64}, {}, "they have different checkpoints"),
    ],
)
def test_ratios_to_another_baseline_are_shown_and_not_compared(
    facts: dict[str, Any], about: dict[str, Any], why: str
) -> None:
    first, second = run_of(cell(), cell("edge")), run_of(cell(**facts), cell("edge", **facts))
    second["ssept"] |= about
    pair = compared(first, second)
    speed = [row for row in pair.rows if row.unit == "ratio"]
    assert len(speed) == 2
    for row in speed:
        assert (row.change, row.verdict) == (None, None)
        assert row.first == row.other == Estimate(1.0, 0.99, 1.01)
        assert why in row.why_not
    assert why in shown(first, second)


def test_other_threads_are_another_baseline_but_for_one_core() -> None:
    first = run_of(cell(), cell("edge"))
    second = run_of(cell(threads=2), cell("edge"))
    pair = compared(first, second)
    assert [row.what for row in pair.rows] == ["edge", "size"]
    assert pair.rows[0].verdict == UNTOLD
    assert "No ratios are compared but of edge: the baselines differ: 1 and 2 threads." in " ".join(
        shown(first, second).split()
    )
    assert {one.reason for one in pair.one_sided} == {
        "measured with threads 1",
        "measured with threads 2",
    }


def test_too_few_calls_give_no_change() -> None:
    first, second = run_of(cell(), cell(batch=8, speedup=None)), run_of(cell(), cell(batch=8))
    row = row_of(compared(first, second), "latency 8")
    assert (row.first, row.change, row.verdict) == (None, None, None)
    assert "too few calls for an interval: onnx-openvino (latency 8)" in shown(first, second)


def test_an_interrupted_run_is_compared_for_what_it_has() -> None:
    content = json.loads(SAVED[0].read_text(encoding="utf-8"))
    part = copy.deepcopy(content)
    part["benchmarks"] = part["benchmarks"][:30]
    part["ssept"]["outcomes"] = part["ssept"]["outcomes"][:30]
    pair = compared(content, part)
    assert {row.verdict for row in pair.rows} == {UNTOLD, "same"}
    assert {one.run for one in pair.one_sided} == {"A"}
    assert {one.reason for one in pair.one_sided} == {"not selected, or the run ended before it"}


def test_times_are_compared_only_where_asked_for() -> None:
    first, second = run_of(cell(p50_ms=0.3)), run_of(cell(p50_ms=0.6))
    assert " ms" not in shown(first, second)
    row = row_of(compared(first, second, absolute=True), "latency 1 p50")
    assert row.change is not None
    assert row.change.value == pytest.approx(2)
    assert row.verdict is None
    assert "latency 1 p50 ms" in shown(first, second, absolute=True)


def test_a_kernel_that_takes_some_memory_is_the_same_machine() -> None:
    first, second = run_of(cell()), run_of(cell(), machine={"memory_bytes": 7_999_000_000})
    assert compared(first, second, absolute=True).rows
    assert "memory" not in shown(first, second)


def test_times_of_other_machines_are_refused(
    saved: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = saved(run_of(cell()), "a.json")
    b = saved(run_of(cell(), machine={"governor": "powersave", "cores": 4}), "b.json")
    assert main(["compare", str(a), str(b), "--absolute"]) == 1
    said = capsys.readouterr().err
    assert "cores: 2 and 4; governor: performance and powersave" in said
    assert str(b) in said
    assert len(said.splitlines()) == 1
    assert main(["compare", str(a), str(b)]) == 0


def test_of_other_projects_nothing_is_said_on_speed() -> None:
    first = plain_run(plain("t.py::test_a", 0.1), plain("t.py::test_b", 0.1))
    second = plain_run(plain("t.py::test_a", 0.2), plain("t.py::test_c", 0.1))
    pair = compared(first, second)
    (row,) = pair.rows
    assert (row.cell, row.first, row.other, row.change) == ("t.py::test_a", None, None, None)
    assert {(one.run, one.cell) for one in pair.one_sided} == {
        ("A", "t.py::test_b"),
        ("B", "t.py::test_c"),
    }
    said = " ".join(shown(first, second).split())
    assert "sequential runs, no common baseline: t.py::test_a only in A" in said
    assert "allow no verdict on speed" in said
    assert "median ms" not in said


def test_medians_of_other_projects_have_quartiles_and_no_verdict() -> None:
    first, second = plain_run(plain("t.py::test_a", 0.1)), plain_run(plain("t.py::test_a", 0.2))
    (row,) = compared(first, second, absolute=True).rows
    assert row.first == Estimate(*map(pytest.approx, (100, 90, 120)))  # type: ignore[arg-type]
    assert row.change == Estimate(2, 2, 2)
    assert row.verdict is None
    said = shown(first, second, absolute=True)
    assert "100 [90.0, 120]  200 [180, 240]  2.000" in said
    assert "quartiles in brackets" in said
    assert "99 %" not in said


@pytest.mark.parametrize("node", ["other", ""])
def test_medians_of_another_or_an_unknown_machine_are_refused(
    node: str, saved: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = saved(plain_run(plain("t.py::test_a", 0.1)), "a.json")
    content = plain_run(plain("t.py::test_a", 0.1), node=node)
    if not node:
        del content["machine_info"]
    b = saved(content, "b.json")
    assert main(["compare", str(a), str(b), "--absolute"]) == 1
    said = capsys.readouterr().err
    assert ("node: n and other" if node else "does not name its machine") in said


def test_a_run_of_the_matrix_and_one_without_its_part() -> None:
    matrix = run_of(cell(p50_ms=100))
    bare = {name: value for name, value in matrix.items() if name != "ssept"}
    (row,) = compared(matrix, bare).rows
    assert row.why_not == "sequential runs, no common baseline"
    (row,) = compared(matrix, bare, absolute=True).rows
    assert row.change == Estimate(1, 1, 1)
    assert row.first is not None
    assert row.first.value == pytest.approx(100)


def test_k_takes_an_expression_on_test_ids(saved: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a = saved(run_of(cell(), cell(batch=8), cell(pair="onnx-cpu")), "a.json")
    assert main(["compare", str(a), str(a), "-k", "OpenVINO-b001", "--json", "-"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert [(row["cell"], row["what"]) for row in pair["rows"]] == [
        ("onnx-openvino", "latency 1"),
        ("onnx-openvino", "size"),
    ]
    assert main(["compare", str(a), str(a), "-k", "tensorrt"]) == 1
    assert "'tensorrt'" in capsys.readouterr().err
    expression = "not (openvino or b008)"
    assert main(["compare", str(a), str(a), "-k", expression, "--json", "-"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert {row["cell"] for row in pair["rows"]} == {"onnx-cpu"}
    assert main(["compare", str(a), str(a), "-k", "openvino and"]) == 1
    assert "the expression is incomplete" in capsys.readouterr().err


def test_a_folder_stands_for_its_runs_by_number(
    saved: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("0010", "0009", "10000"):
        path = saved(run_of(cell()), f"runs/{number}_x.json")
    saved({"pairs": []}, "runs/comparison.json")
    assert main(["compare", str(path.parent), "--json", "-"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    names = [Path(run["file"]).name for run in comparison["runs"]]
    assert names == ["0009_x.json", "0010_x.json", "10000_x.json"]
    assert [(pair["first"], pair["other"]) for pair in comparison["pairs"]] == [
        ("A", "B"),
        ("A", "C"),
    ]


def test_everything_is_written(
    saved: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = saved(run_of(cell()), "a.json")
    b = saved(run_of(cell(speedup=(1.2, 1.18, 1.22))), "b.json")
    out, text = tmp_path / "out.json", tmp_path / "out.md"
    assert main(["compare", str(a), str(b), "--json", str(out), "--markdown", str(text)]) == 0
    assert "faster" in capsys.readouterr().out
    row = json.loads(out.read_text())["pairs"][0]["rows"][0]
    assert row["verdict"] == "faster"
    assert row["change"]["low"] < row["change"]["value"] < row["change"]["high"]
    lines = [line for line in text.read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "| onnx-openvino " in lines[2]
    assert "faster" in lines[2]


BROKEN = {
    "no such results file": None,
    "not a results file": "{",
    "schema is 99; expected 1, which this version reads": json.dumps(
        {"benchmarks": [], "ssept": {"schema": 99}}
    ),
    "benchmarks[0] is 1; expected an object": '{"benchmarks": [1]}',
    "ssept.baseline is missing; expected text": json.dumps(
        {"benchmarks": [], "ssept": {"schema": 1}}
    ),
    "benchmarks[0].extra_info.measure is missing": json.dumps(run_of(plain("t.py::test_a", 1))),
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_no_run_is_one_line(
    message: str, saved: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = saved(run_of(cell()), "good.json"), tmp_path / "bad.json"
    if BROKEN[message] is not None:
        bad.write_text(str(BROKEN[message]))
    assert main(["compare", str(good), str(bad)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert str(bad) in said
    assert len(said.splitlines()) == 1


def test_one_run_is_too_few(saved: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(run_of(cell()), "runs/0001_x.json")
    for given_path in (path, path.parent):
        assert main(["compare", str(given_path)]) == 1
        assert "to compare, got 1" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "empty")]) == 1
    assert "no saved runs in it" in capsys.readouterr().err


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=20)
@given(any_run(), st.sampled_from([1e-5, 0.3, 12345.6]))
def test_no_line_is_wider_than_a_terminal(run: dict[str, Any], p50_ms: float) -> None:
    long = cell(pair="quant_static_aggressive-openvino_native_bf16", batch=64, p50_ms=p50_ms)
    options = cell("edge", options={"load_config": "x" * 120}, speedup=(150, 123.4, 180))
    for test in (long, options):
        run["benchmarks"].append(test)
    first = checked(Path("folder/" * 20) / "0001_a.json", run)
    second = checked(Path("b.json"), run_of(*run["benchmarks"], plain_cell_with_long_name()))
    table = comparison_table(compare([first, second], absolute=True))
    assert max(map(len, table.splitlines())) <= 100


def plain_cell_with_long_name() -> dict[str, Any]:
    return cell(pair="onnx-" + "provider" * 20)


def test_the_saved_runs_fit_a_terminal_and_markdown() -> None:
    comparison = compare([read_run(path) for path in SAVED], absolute=True)
    assert len(comparison.pairs) == len(SAVED) - 1
    assert max(map(len, comparison_table(comparison).splitlines())) <= 100
    assert comparison_markdown(comparison).count("\n## ") == len(SAVED) - 1


def test_real_runs_of_two_packages() -> None:
    """The first run and the edge run: one checkpoint, two versions of ONNX Runtime."""
    edge = next(path for path in SAVED if path.name.startswith("0005"))
    pair = compare([read_run(SAVED[0]), read_run(edge)]).pairs[0]
    assert row_of_cell(pair, "onnx-cpu", "latency 1").verdict == UNTOLD
    assert row_of_cell(pair, "onnx-cpu", "NDCG@10").verdict == UNTOLD
    assert {"torch-torch", "onnx-openvino"} <= {one.cell for one in pair.one_sided}


def row_of_cell(pair: RunComparison, name: str, what: str) -> Row:
    (row,) = [row for row in pair.rows if (row.cell, row.what) == (name, what)]
    return row


def test_the_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for word in ("--absolute", "--json", "--markdown", "-k", "a folder means all runs"):
        assert word in said
