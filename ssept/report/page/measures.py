"""Every measured number of the runs as a flat list: a row for each cell and measure."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from ssept.estimate import Estimate
from ssept.report.page.material import LabelledRun, Material
from ssept.results.schema import Benchmark, Facts, Interval

# Fields that say of what a number is, and are columns of their own.
SETTINGS = ("batch", "split", "call", "length", "sessions", "served", "against", "protocol", "load")
COMMON = frozenset(each.name for each in fields(Facts))


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measured number; empty text for a setting that it does not have.

    Attributes:
        run, file, machine: where it was measured.
        variant, provider, threads, options: of which cell.
        measure, setting: what was measured, and at which batch size, split or load.
        test: the name of the test.
        figure: the number's name, with its unit at the end.
        value, low, high: the number, and its interval if it has one.
    """

    run: str
    file: str
    machine: int
    variant: str
    provider: str
    threads: int
    options: str
    measure: str
    setting: str
    test: str
    figure: str
    value: float
    low: float | None
    high: float | None


COLUMNS = tuple(each.name for each in fields(Measure))


def measures_of(material: Material) -> list[Measure]:
    """Return all numbers of all runs, in their order."""
    return [
        measure
        for run in material.runs
        for benchmark in run.run.benchmarks
        for measure in _of(run, benchmark)
    ]


def csv_of(material: Material) -> str:
    """Return the numbers as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(measure) for measure in measures_of(material))
    return text.getvalue()


def _of(run: LabelledRun, benchmark: Benchmark) -> Iterator[Measure]:
    facts = benchmark.extra_info
    settings = {name: getattr(facts, name, None) for name in SETTINGS}
    numbers = {"size_bytes": facts.size_bytes, "median_s": benchmark.stats.median}
    for name, found in [*numbers.items(), *_numbers(facts)]:
        value, low, high = _ends(found)
        yield Measure(
            run=run.label,
            file=run.run.path.name,
            machine=run.machine,
            variant=facts.variant,
            provider=facts.provider,
            threads=facts.threads,
            options=json.dumps(facts.options, sort_keys=True),
            measure=facts.measure,
            setting="; ".join(f"{k} {v}" for k, v in settings.items() if v is not None),
            test=benchmark.name,
            figure=name,
            value=value,
            low=low,
            high=high,
        )


def _numbers(record: Any, inside: str = "") -> Iterator[tuple[str, float | Estimate]]:
    """Return the numbers in a record of the schema, those within others by a joined name."""
    for field in fields(record):
        value, name = getattr(record, field.name), f"{inside}{field.name}"
        if not inside and field.name in (*COMMON, *SETTINGS):
            continue
        if isinstance(value, bool | Interval) or value is None:
            continue
        if isinstance(value, Estimate | int | float):
            yield name, value
        elif is_dataclass(value):
            yield from _numbers(value, f"{name}.")


def _ends(found: float | Estimate) -> tuple[float, float | None, float | None]:
    if not isinstance(found, Estimate):
        return found, None, None
    low, high = (end if math.isfinite(end) else None for end in (found.low, found.high))
    return found.value, low, high
