"""The gate's own trials with identical code, judged again where a false alarm is likeliest.

Code at +0 % with 3 % tolerated is far from an alarm. Judged at tolerance 0 the same trials are
exactly at it: there the gate promises alarms in 1 % of suites, over all looks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssept.decide.gate.findings import Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.self_test.rates import Share
from ssept.decide.gate.self_test.scenarios import CONDITIONS
from ssept.decide.gate.self_test.suites import file_of, machine_of, read
from ssept.decide.gate.sequential_test import Trials
from ssept.decide.journal import Record

Series = Mapping[str, Sequence[float]]  # log ratios by cell, one a pass
RESAMPLED = 200
LEAST_STORED = 20  # fewer would be put together again and again
LEVEL = GatePlan().alpha
STORED = "suites of the gate with identical code, tolerance 0; error: a cell called slower"
ALL_LOOKS = (
    "as above to the last look: each suite is put together from whole stored ones, drawn at random"
)


def identical_code(folder: Path) -> dict[tuple[str, str, int], list[Record]]:
    """Return the stored suites with identical code, by condition and machine."""
    found: dict[tuple[str, str, int], list[Record]] = {}
    for name, condition in CONDITIONS.items():
        if not condition.extra_work:
            for record in read(file_of(folder, name)):
                found.setdefault((name, *machine_of(record)), []).append(record)
    return found


def stored_alarms(records: Sequence[Record]) -> Share:
    """Count the stored suites with an alarm at tolerance 0, after as many passes as they had."""
    return Share(sum(alarms(series_of(record)) for record in records), len(records))


def resampled_alarms(records: Sequence[Record], suites: int = RESAMPLED) -> Share:
    """Count the alarms at tolerance 0 of suites that are put together from stored ones."""
    random = np.random.default_rng(0)
    stored = [series_of(record) for record in records]
    cells = [name for name in stored[0] if all(len(each.get(name, ())) for each in stored)]
    plan = GatePlan()
    needed = plan.passes(len(cells))[-1] + plan.confirmation
    hits = 0
    for _ in range(suites):
        drawn: dict[str, list[float]] = {name: [] for name in cells}
        while min(map(len, drawn.values())) < needed:
            block = stored[random.integers(len(stored))]
            for name in cells:
                drawn[name] += block[name]
        hits += alarms(drawn)
    return Share(hits, suites)


def series_of(record: Record) -> dict[str, list[float]]:
    """Return the log ratios of a stored suite, by cell."""
    return {name: cell["log_ratios"] for name, cell in record["cells"].items()}


def alarms(series: Series, tolerance: float = 0.0) -> bool:
    """Whether any cell is called slower; one that waits for its confirmation at the end is too."""
    trials = Trials(GatePlan(), dict.fromkeys(series, tolerance))
    passes = max(map(len, series.values()))
    for number in range(passes):
        given = {n: series[n][number] for n in trials.open if number < len(series[n])}
        trials.after_pass(given, number == passes - 1)
        if not trials.open:
            break
    return any(
        trial.verdict is Verdict.REGRESSED or trial.candidate_at is not None
        for trial in trials.cells.values()
    )
