"""Rows of a comparison of two saved runs: the change of each cell, where it can be given."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ssept.decide.compare.caveats import cautions, mixed, unit_of, why_no_ratio
from ssept.estimate import Estimate
from ssept.expressions import chosen
from ssept.results.cells import CellKey, MatrixRun, Run
from ssept.results.schema import (
    ACCURACY,
    Accuracy,
    Benchmark,
    Facts,
    PlainBenchmark,
    ServedRatio,
    Timed,
)

# Verdicts on a change below, at and above nothing. Milliseconds of sequential runs get none.
UNTOLD = "cannot be told apart"
FASTER = ("slower", UNTOLD, "faster")
BETTER = ("worse", UNTOLD, "better")
LARGER = ("smaller", "same", "larger")

RATIO, NDCG, BYTES, MS = "ratio", "ndcg", "bytes", "ms"
MEDIAN = "median"  # of another project's benchmark, between its quartiles
TOO_FEW = "too few calls for an interval"
SEQUENTIAL = "sequential runs, no common baseline"
ABSENT = "not selected, or the run ended before it"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of a cell in two runs.

    Attributes:
        cell, what: whose figure, and which.
        unit: "ratio" (times as fast as the baseline of its own run), "ndcg", "bytes" or "ms".
        first, other: in either run; None where it has none. Both ends of an exact figure are its
            value; those of another project's median are the quartiles.
        change: other / first; of NDCG other - first. None where that says nothing.
        verdict: on the change, by its interval; None where it deserves none.
        why_not: why there is no change; empty where there is one.
    """

    cell: str
    what: str
    unit: str
    first: Estimate | None
    other: Estimate | None
    change: Estimate | None = None
    verdict: str | None = None
    why_not: str = ""


@dataclass(frozen=True)
class OneSided:
    """What only the run with the label `run` measured; `reason` says why the other did not."""

    run: str
    cell: str
    what: str
    reason: str


@dataclass(frozen=True)
class RunComparison:
    """The first run and another one, by their labels; `notes` are whole sentences."""

    first: str
    other: str
    rows: list[Row]
    one_sided: list[OneSided]
    notes: list[str]


AnyRun = TypeVar("AnyRun", bound=Run, covariant=True)


@dataclass(frozen=True)
class Labelled(Generic[AnyRun]):
    """A run and the label that it has in the comparison."""

    label: str
    run: AnyRun


def difference(first: Estimate, other: Estimate) -> Estimate:
    """Subtract `first` from `other`, with an interval from those of two independent estimates.

    "Square and add" (Newcombe, Statistics in Medicine 17, 1998, pages 873-890), shown to hold in
    general by Zou and Donner (Statistics in Medicine 27, 2008, pages 1693-1702) under the name of
    MOVER: each end lies as far from the difference as the root of the sum of the squares of the
    distances of the two ends that make it. It is approximate: the confidence is about that of the
    two intervals, and just that for normal estimates. Of estimates that rise and fall together, as
    the accuracy of two models on the same users, it is conservative.
    """
    value = other.value - first.value
    below = math.hypot(other.value - other.low, first.high - first.value)
    above = math.hypot(other.high - other.value, first.value - first.low)
    return Estimate(value, value - below, value + above)


def ratio(first: Estimate, other: Estimate) -> Estimate:
    """Divide `other` by `first`: `difference` on the log scale.

    Args:
        first, other: values and ends above 0.
    """
    return difference(first.map(math.log), other.map(math.log)).map(math.exp)


def matrix_pair(
    first: Labelled[MatrixRun], other: Labelled[MatrixRun], select: str, *, absolute: bool
) -> RunComparison:
    """Compare two runs of the matrix, cell by cell.

    Args:
        first, other: the runs.
        select: only tests whose name this expression takes, as `chosen`.
        absolute: with the median times of both, in milliseconds.
    """
    a, b = (
        {key: test for key, test in each.run.cells.items() if chosen(test.name, select)}
        for each in (first, other)
    )
    baselines = first.run.baseline, other.run.baseline
    both = [cell for cell in a if cell in b]
    rows: list[Row] = []
    for name in dict.fromkeys(cell.name for cell in both):
        named = [cell for cell in both if cell.name == name]
        cells = [(cell, a[cell].extra_info, b[cell].extra_info) for cell in named]
        timed = [each for each in cells if each[0].measure.kind != ACCURACY]
        rows += [_accuracy(*each) for each in cells if each[0].measure.kind == ACCURACY]
        rows += [_speed(*each, why_no_ratio(each[0].measure.kind, *baselines)) for each in timed]
        rows += [_median(*each) for each in timed if absolute]
        rows.append(_size(*cells[0]))
    one_sided = [
        OneSided(mine.label, cell.name, cell.what, _absence(cell, test, theirs.run, there))
        for mine, here, theirs, there in ((first, a, other, b), (other, b, first, a))
        for cell, test in here.items()
        if cell not in there
    ]
    changed = any(row.unit == RATIO and row.change for row in rows)
    notes = cautions(first.run, other.run, changed=changed)
    notes += [mixed(first.label, other.label)] if any(map(_unjudged, rows)) else []
    return RunComparison(first.label, other.label, rows, one_sided, notes)


def plain_pair(
    first: Labelled[Run], other: Labelled[Run], select: str, *, absolute: bool
) -> RunComparison:
    """Compare two runs, of which one is not of the matrix, by the full names of their benchmarks.

    Args:
        first, other: the runs.
        select: only benchmarks whose full name this expression takes, as `chosen`.
        absolute: with medians and quartiles in milliseconds; else there is nothing to compare.
    """
    a, b = (
        {test.fullname: test for test in each.run.benchmarks if chosen(test.fullname, select)}
        for each in (first, other)
    )
    rows = [
        _row(name, MEDIAN, MS, _quartiles(a[name]), _quartiles(b[name]), change=_plain_ratio)
        if absolute
        else Row(cell=name, what=MEDIAN, unit=MS, first=None, other=None, why_not=SEQUENTIAL)
        for name in a
        if name in b
    ]
    one_sided = [
        OneSided(mine.label, name, MEDIAN, "no benchmark of that name")
        for mine, here, there in ((first, a, b), (other, b, a))
        for name in here
        if name not in there
    ]
    return RunComparison(first.label, other.label, rows, one_sided, [])


def _row(
    cell: str,
    what: str,
    unit: str,
    first: Estimate | None,
    other: Estimate | None,
    *,
    change: Callable[[Estimate, Estimate], Estimate],
    verdicts: tuple[str, str, str] | None = None,
    why: str = "",
) -> Row:
    """Return the change of a figure with its verdict, or without one if `why` has the reason."""
    row = Row(cell=cell, what=what, unit=unit, first=first, other=other)
    if why or first is None or other is None:
        return replace(row, why_not=why or TOO_FEW)
    found = change(first, other)
    none = 0 if unit == NDCG else 1
    verdict = verdicts and verdicts[1 + (found.low > none) - (found.high < none)]
    return replace(row, change=found, verdict=verdict)


def _speed(cell: CellKey, first: Facts, other: Facts, why: str) -> Row:
    found = (_speedup(facts) for facts in (first, other))
    verdicts = FASTER if unit_of(first) == unit_of(other) else None
    return _row(cell.name, cell.what, RATIO, *found, change=ratio, verdicts=verdicts, why=why)


def _unjudged(row: Row) -> bool:
    return bool(row.unit == RATIO and row.change and not row.verdict)


def _speedup(facts: Facts) -> Estimate | None:
    """Return how many times as fast the cell is as the baseline that it was paired with."""
    if isinstance(facts, ServedRatio):
        return facts.ratio
    return facts.speedup if isinstance(facts, Timed) else None


def _median(cell: CellKey, first: Facts, other: Facts) -> Row:
    """Compare medians in milliseconds, without a verdict: the machine may have drifted."""
    found = (facts.p50_ms if isinstance(facts, Timed) else None for facts in (first, other))
    return _row(cell.name, f"{cell.what} p50", MS, *found, change=ratio)


def _accuracy(cell: CellKey, first: Facts, other: Facts) -> Row:
    why = "" if first.data_hash == other.data_hash else "other data"
    if not (first.data_hash and other.data_hash):
        why = "the model does not name its data"
    found = (facts.full.ndcg if isinstance(facts, Accuracy) else None for facts in (first, other))
    return _row(cell.name, cell.what, NDCG, *found, change=difference, verdicts=BETTER, why=why)


def _size(cell: CellKey, first: Facts, other: Facts) -> Row:
    found = (_exactly(facts.size_bytes) for facts in (first, other))
    return _row(cell.name, "size", BYTES, *found, change=_plain_ratio, verdicts=LARGER)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def _quartiles(benchmark: PlainBenchmark) -> Estimate:
    stats = benchmark.stats
    return Estimate(stats.median * 1e3, stats.q1 * 1e3, stats.q3 * 1e3)


def _plain_ratio(first: Estimate, other: Estimate) -> Estimate:
    return _exactly(other.value / first.value)


def _absence(cell: CellKey, test: Benchmark, run: MatrixRun, there: Iterable[CellKey]) -> str:
    """Say why `run` has no such cell."""
    about = run.content.ssept
    for entry in about.outcomes:
        if entry.test == test.name and entry.outcome != "measured":
            return f"{entry.outcome}: {entry.reason}"
    for near in there:
        if (near.combination, near.measure, near.params) == (
            cell.combination,
            cell.measure,
            cell.params,
        ):
            return f"measured with {near.settings_beside(cell)}"
    return "not applicable" if str(cell.combination) in about.not_applicable else ABSENT
