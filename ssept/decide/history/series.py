"""Series: one figure of one cell over the commits of a branch, on one machine."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ssept.metrics import FloatArray
from ssept.results.cells import CellKey, MatrixRun
from ssept.results.machines import machine
from ssept.results.schema import Accuracy, Benchmark, ServedRatio, Timed

RATIO, NDCG = "ratio", "NDCG@10"


@dataclass(frozen=True, eq=False)
class Point:
    """The runs of one commit, in the order in which they were saved, and when it was committed."""

    commit: str
    committed: datetime
    runs: tuple[MatrixRun, ...]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A figure of a cell.

    Attributes:
        machine: on which it was measured, by its own names and values.
        cell, what: whose figure, and which.
        unit: RATIO, times as fast as the baseline of the same run, or NDCG.
        points: the commits that have it, oldest first.
        values: float64[N], the figure at each; of several runs of a commit, the geometric mean.
    """

    machine: tuple[tuple[str, str], ...]
    cell: str
    what: str
    unit: str
    points: tuple[Point, ...]
    values: FloatArray


def commits(runs: Iterable[MatrixRun]) -> list[Point]:
    """Group runs by their commits, in the order of the commits' times.

    Runs of uncommitted changes, and of no repository, are left out: no commit has their figures.
    """
    of: dict[tuple[datetime, str], list[MatrixRun]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.content.datetime):
        about = run.content.commit_info
        if about and about.id and not about.dirty and (committed := _time(about.time)):
            of[committed, about.id].append(run)
    return [
        Point(commit, committed, tuple(of[committed, commit])) for committed, commit in sorted(of)
    ]


def series_of(points: Sequence[Point]) -> list[Series]:
    """Return the series of all figures, of each machine apart."""
    found: dict[tuple[tuple[tuple[str, str], ...], CellKey, str], dict[Point, list[float]]]
    found = defaultdict(lambda: defaultdict(list))
    units: dict[CellKey, str] = {}
    for point in points:
        for run in point.runs:
            where = tuple(sorted(machine(run).items()))
            for key, benchmark in run.cells.items():
                if (figure := _figure(benchmark)) is None:
                    continue
                unit, value = figure
                units[key] = unit
                # A ratio is to the baseline, and accuracy is on the data: others are others.
                apart = str(run.baseline.combination)
                apart += benchmark.extra_info.data_hash if unit == NDCG else ""
                found[where, key, apart][point].append(value)
    return [
        Series(
            machine=where,
            cell=key.name,
            what=key.what,
            unit=units[key],
            points=tuple(at),
            values=np.array([math.exp(np.mean(np.log(values))) for values in at.values()]),
        )
        for (where, key, _), at in found.items()
    ]


def _figure(benchmark: Benchmark) -> tuple[str, float] | None:
    facts = benchmark.extra_info
    if isinstance(facts, Accuracy):
        return (NDCG, facts.full.ndcg.value) if facts.full.ndcg.value > 0 else None
    if isinstance(facts, ServedRatio):
        return RATIO, facts.ratio.value
    if isinstance(facts, Timed) and facts.speedup:
        return RATIO, facts.speedup.value
    return None


def _time(text: str | None) -> datetime | None:
    """Read a time in ISO 8601, as UTC where it names no zone; None for other text."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
