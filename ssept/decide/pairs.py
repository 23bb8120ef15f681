"""Two saved runs side by side: how each cell changed, as far as that can be said."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ssept.decide.cautions import cautions, why_no_ratio
from ssept.estimate import Estimate
from ssept.results.cells import (
    ACCURACY,
    SERVED,
    Benchmark,
    Cell,
    Facts,
    Run,
    baseline_of,
    cells_of,
    selected,
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


@dataclass(frozen=True)
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
class Pair:
    """The first run and another one, by their labels; `notes` are whole sentences."""

    first: str
    other: str
    rows: list[Row]
    one_sided: list[OneSided]
    notes: list[str]


@dataclass(frozen=True)
class Labelled:
    """A run and the label that it has in the comparison."""

    label: str
    run: Run


def difference(first: Estimate, other: Estimate) -> Estimate:
    """other - first, with an interval from those of two independent estimates.

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
    """other / first: `difference` on the log scale, where a ratio and its inverse are alike.

    Args:
        first, other: values and ends above 0.
    """
    return difference(first.map(math.log), other.map(math.log)).map(math.exp)


def matrix_pair(first: Labelled, other: Labelled, select: str, *, absolute: bool) -> Pair:
    """Two runs of the matrix, cell by cell.

    Args:
        first, other: the runs.
        select: as `cells_of` takes it.
        absolute: with the median times of both, in milliseconds.
    """
    a, b = cells_of(first.run, select), cells_of(other.run, select)
    baselines = baseline_of(first.run), baseline_of(other.run)
    both = [cell for cell in a if cell in b]
    rows: list[Row] = []
    for name in dict.fromkeys(cell.name for cell in both):
        facts = [(c, a[c]["extra_info"], b[c]["extra_info"]) for c in both if c.name == name]
        timed = [each for each in facts if each[0].measure != ACCURACY]
        rows += [_accuracy(*each) for each in facts if each[0].measure == ACCURACY]
        rows += [_speed(*each, why_no_ratio(each[0].measure, *baselines)) for each in timed]
        rows += [_median(*each) for each in timed if absolute]
        rows.append(_size(*facts[0]))
    one_sided = [
        OneSided(mine.label, cell.name, cell.what, _absence(cell, test, theirs.run, there))
        for mine, here, theirs, there in ((first, a, other, b), (other, b, first, a))
        for cell, test in here.items()
        if cell not in there
    ]
    changed = any(row.unit == RATIO and row.change for row in rows)
    notes = cautions(first.run, other.run, changed=changed)
    return Pair(first.label, other.label, rows, one_sided, notes)


def plain_pair(first: Labelled, other: Labelled, select: str, *, absolute: bool) -> Pair:
    """Two runs of which one is not of the matrix, by the full names of their benchmarks.

    Args:
        first, other: the runs.
        select: only benchmarks in whose full name this stands, in capitals or not.
        absolute: with medians and quartiles in milliseconds; else there is nothing to compare.
    """
    a, b = (
        {test["fullname"]: test for test in run.benchmarks if selected(test["fullname"], select)}
        for run in (first.run, other.run)
    )
    rows = [
        _row(name, MEDIAN, MS, _quartiles(a[name]), _quartiles(b[name]), change=_plain_ratio)
        if absolute
        else Row(name, MEDIAN, MS, None, None, why_not=SEQUENTIAL)
        for name in a
        if name in b
    ]
    one_sided = [
        OneSided(mine.label, name, MEDIAN, "no benchmark of that name")
        for mine, here, there in ((first, a, b), (other, b, a))
        for name in here
        if name not in there
    ]
    return Pair(first.label, other.label, rows, one_sided, [])


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
    """The change of a figure, unless `why` says why not, and the verdict on it."""
    why = why or (TOO_FEW if first is None or other is None else "")
    if why or first is None or other is None:
        return Row(cell, what, unit, first, other, why_not=why)
    found = change(first, other)
    none = 0 if unit == NDCG else 1
    verdict = verdicts and verdicts[1 + (found.low > none) - (found.high < none)]
    return Row(cell, what, unit, first, other, found, verdict)


def _speed(cell: Cell, first: Facts, other: Facts, why: str) -> Row:
    key = "ratio" if cell.measure == SERVED else "speedup"
    found = (_estimate(facts[key]) for facts in (first, other))
    return _row(cell.name, cell.what, RATIO, *found, change=ratio, verdicts=FASTER, why=why)


def _median(cell: Cell, first: Facts, other: Facts) -> Row:
    """Of the calls, in milliseconds: a change without a verdict, the machine may have drifted."""
    found = (_estimate(facts.get("p50_ms")) for facts in (first, other))
    return _row(cell.name, f"{cell.what} p50", MS, *found, change=ratio)


def _accuracy(cell: Cell, first: Facts, other: Facts) -> Row:
    data = [facts["data_hash"] for facts in (first, other)]
    why = "" if data[0] == data[1] else "other data"
    if not all(data):
        why = "the model does not say of which data it is"
    found = (_estimate(facts["full"]["ndcg"]) for facts in (first, other))
    return _row(cell.name, cell.what, NDCG, *found, change=difference, verdicts=BETTER, why=why)


def _size(cell: Cell, first: Facts, other: Facts) -> Row:
    found = (_exactly(facts["size_bytes"]) for facts in (first, other))
    return _row(cell.name, "size", BYTES, *found, change=_plain_ratio, verdicts=LARGER)


def _estimate(found: dict[str, float] | None) -> Estimate | None:
    return Estimate(**found) if found else None


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def _quartiles(benchmark: Benchmark) -> Estimate:
    stats = benchmark["stats"]
    return Estimate(*(stats[name] * 1e3 for name in ("median", "q1", "q3")))


def _plain_ratio(first: Estimate, other: Estimate) -> Estimate:
    return _exactly(other.value / first.value)


def _absence(cell: Cell, test: Benchmark, run: Run, there: Iterable[Cell]) -> str:
    """Why `run` has no such cell."""
    about = run.content["ssept"]
    for entry in about["outcomes"]:
        if entry["test"] == test["name"] and entry["outcome"] != "measured":
            return f"{entry['outcome']}: {entry['reason']}"
    for near in there:
        if (near.pair, near.measure, near.params) == (cell.pair, cell.measure, cell.params):
            return f"measured with {near.settings_beside(cell)}"
    return "not applicable" if cell.pair in about["not_applicable"] else ABSENT
