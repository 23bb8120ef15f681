"""Compares saved runs by what can be compared: ratios to a baseline timed in the same loop.

Milliseconds of two runs differ because the machine does. What a run measured against its own
baseline, call by call, does not drift with it: the change of a cell is the ratio of two such
ratios. It stays relative to the baseline, so a faster baseline shows as slower cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase

from ssept.decide.compare.rows import Labelled, RunComparison, matrix_pair, plain_pair
from ssept.errors import SseptError, shortened
from ssept.results.cells import MatrixRun, Run
from ssept.results.conditions import (
    conditions,
    differences,
    plain_conditions,
    plain_machine,
)
from ssept.results.machines import machine

LONGEST_LIST = 200  # characters of what differs, in an error
LABELS = (*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2)))


@dataclass(frozen=True, kw_only=True)
class About:
    """A compared run: its label, file, time, commit and number of benchmarks."""

    label: str
    file: str
    datetime: str
    commit: str
    benchmarks: int
    of_matrix: bool


@dataclass(frozen=True)
class Comparison:
    """Saved runs compared with the first of them.

    Attributes:
        runs: in the order given.
        differences: values by label, of each condition that is not the same in all runs.
        pairs: the first run with each other one.
    """

    runs: list[About]
    differences: dict[str, dict[str, str]]
    pairs: list[RunComparison]


def compare(runs: Sequence[Run], *, select: str = "", absolute: bool = False) -> Comparison:
    """Compare the first run with each other one.

    Args:
        runs: two or more, of the matrix or of any other project that uses pytest-benchmark.
        select: only cells whose test id this expression takes, as `chosen`; the full name, where
            one of two runs is not of the matrix.
        absolute: with times in milliseconds.

    Raises:
        SseptError: fewer than two runs or more than there are labels, none with such a cell, or
            absolute times of machines that are not the same.
    """
    if not 2 <= len(runs) <= len(LABELS):
        raise SseptError(
            f"{', '.join(str(run.path) for run in runs[:2])}: expected two runs or more (at "
            f"most {len(LABELS)}) to compare, got {len(runs)}: give files, or a folder of several"
        )
    if absolute:
        _check_machines(runs)
    labelled = [Labelled(label, run) for label, run in zip(LABELS, runs, strict=False)]
    pairs = [_pair(labelled[0], other, select, absolute=absolute) for other in labelled[1:]]
    if not any(pair.rows or pair.one_sided for pair in pairs):
        raise SseptError(
            f"nothing to compare in {', '.join(str(run.path) for run in runs[:2])}: no measured "
            f"speed or accuracy{f' that -k {shortened(select)!r} matches' if select else ''}"
        )
    of_matrix = _all_of_matrix(runs)
    known = map(conditions, of_matrix) if of_matrix else map(plain_conditions, runs)
    found = differences([*known])
    return Comparison(
        [_about(each) for each in labelled],
        {name: dict(zip(LABELS, values, strict=False)) for name, values in found.items()},
        pairs,
    )


def _pair(
    first: Labelled[Run], other: Labelled[Run], select: str, *, absolute: bool
) -> RunComparison:
    a, b = first.run, other.run
    if isinstance(a, MatrixRun) and isinstance(b, MatrixRun):
        cells = Labelled(first.label, a), Labelled(other.label, b)
        return matrix_pair(*cells, select, absolute=absolute)
    return plain_pair(first, other, select, absolute=absolute)


def _all_of_matrix(runs: Sequence[Run]) -> list[MatrixRun]:
    """Return the runs if all are of the matrix, else none."""
    found = [run for run in runs if isinstance(run, MatrixRun)]
    return found if len(found) == len(runs) else []


def _about(labelled: Labelled[Run]) -> About:
    run = labelled.run
    return About(
        label=labelled.label,
        file=str(run.path),
        datetime=run.content.datetime,
        commit=run.commit,
        benchmarks=len(run.benchmarks),
        of_matrix=isinstance(run, MatrixRun),
    )


def _check_machines(runs: Sequence[Run]) -> None:
    """Refuse times of machines that differ, or that nothing is known of.

    Raises:
        SseptError: naming what differs.
    """
    of_matrix = _all_of_matrix(runs)
    known = [*map(machine, of_matrix)] if of_matrix else [*map(plain_machine, runs)]
    for run, found in zip(runs, known, strict=True):
        if not found:
            raise SseptError(f"{run.path}: does not name its machine: leave --absolute out")
        if differs := differences([known[0], found]):
            named = "; ".join(
                f"{name}: {shortened(a)} and {shortened(b)}" for name, (a, b) in differs.items()
            )
            raise SseptError(
                f"{run.path}: measured on another machine than {runs[0].path}: "
                f"{shortened(named, LONGEST_LIST)}; --absolute compares times of one machine only"
            )
