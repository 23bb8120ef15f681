"""Reports of the gate's self-test, for the terminal and as Markdown."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from tabulate import tabulate

from ssept.decide.gate.findings import Verdict
from ssept.decide.gate.self_test.other_tools import IN_SEQUENCE, INTERLEAVED, WAYS
from ssept.decide.gate.self_test.rates import Alarms, ConditionRates
from ssept.decide.gate.self_test.scenarios import Counts
from ssept.percent import percent
from ssept.report.text import NOTHING, filled

TITLES = {
    INTERLEAVED: "Other tools' rules on the same calls, with base and head in alternation",
    IN_SEQUENCE: (
        "The same rules on the calls in sequence, as those tools take them: the base's of the "
        "first half of the passes against the head's of the second"
    ),
}
EXPLAINED = (
    "busy beside: processes that burn a CPU each in random bursts; slower by: extra work in the "
    "head's calls; measured: median of head / base - 1 over all passes; alarms: suites with a cell "
    "called regressed; fine, found: cells called fine, regressed; 95 %: Clopper-Pearson, in "
    "percent; sees ±: median half-width of the last interval."
)
LEGEND = (
    "Percent of cells called slower, and in brackets of suites with any such cell. mean, median, "
    "min: pytest-benchmark's --benchmark-compare-fail; t-test: pyperf's (p < 0.05); Mann-Whitney: "
    "asv's (p < 0.002, and medians apart by more than 1.1); the last two here on single calls."
)
COUNTED = {
    Counts.FALSE_ALARMS: "alarms",
    Counts.FINE: "fine",
    Counts.FOUND: "found",
}


def self_test_text(found: Sequence[ConditionRates]) -> str:
    """Return all tables for the terminal."""
    return _report(found, "simple")


def self_test_markdown(found: Sequence[ConditionRates]) -> str:
    """Return all tables as Markdown."""
    return _report(found, "github") + "\n"


def sentence(found: Sequence[ConditionRates]) -> str:
    """Say which slowdowns a machine detects in what time, from trials with identical code."""
    seen = []
    for rates in found:
        if rates.settings["extra_work"] or not math.isfinite(rates.half_width):
            continue
        change = (1 + rates.settings["tolerance"]) * (1 + rates.half_width) - 1
        seen.append(f"{_percent(change)} in {rates.seconds:.3g} s a cell ({rates.condition})")
    if not seen:
        return ""
    tolerance = _percent(found[0].settings["tolerance"])
    return (
        f"With {tolerance} tolerated, slowdowns from about this size on are called here: "
        f"{', '.join(seen)}. That is the tolerance and the median half-width of the last interval."
    )


def _report(found: Sequence[ConditionRates], style: str) -> str:
    machines = groupby(found, key=lambda rates: (rates.cpu, rates.cpus))
    return "\n\n".join(part for key, of in machines for part in _machine(key, list(of), style))


def _machine(machine: tuple[str, int], found: list[ConditionRates], style: str) -> Iterator[str]:
    cpu, cpus = machine
    yield f"{cpu}, {cpus} CPUs"
    yield _table(_rows(found), found, style)
    yield filled(EXPLAINED)
    for rates in found:
        if rates.others:
            yield filled(f"{rates.condition}: {rates.others} suites of other settings not counted")
    if text := sentence(found):
        yield filled(text)
    for way in WAYS:
        rules = {"ssept gate": [rates.gate for rates in found]} | {
            rule: [rates.rivals[way][rule] for rates in found] for rule in found[0].rivals[way]
        }
        yield filled(f"{TITLES[way]}:")
        yield _table(
            [[rule, *map(_alarms, alarms)] for rule, alarms in rules.items()], found, style
        )
    yield filled(LEGEND)


def _rows(found: Sequence[ConditionRates]) -> list[list[str]]:
    """Return a row for each quantity, with a column for each condition."""
    intervals = [rates.counted.estimate() for rates in found]
    settings = [rates.settings for rates in found]
    verdicts = [
        [verdict.value, *(str(rates.verdicts[verdict]) for rates in found)] for verdict in Verdict
    ]
    return [
        ["s/cell, plan", *(f"{each['plan']['seconds']:g}" for each in settings)],
        ["busy beside", *(str(each["hogs"]) for each in settings)],
        ["slower by", *(_percent(each["extra_work"]) for each in settings)],
        ["measured", *(_percent(rates.slowdown) for rates in found)],
        ["suites", *(str(rates.suites) for rates in found)],
        ["counted", *(COUNTED[Counts(each["counts"])] for each in settings)],
        ["", *(f"{rates.counted.hits} of {rates.counted.of}" for rates in found)],
        ["share", *(_percent(each.value) for each in intervals)],
        ["95 %", *(f"{100 * e.low:.1f} to {100 * e.high:.1f}" for e in intervals)],
        ["cells", *(str(sum(rates.verdicts.values())) for rates in found)],
        *verdicts,
        ["sees ±", *(_percent(rates.half_width) for rates in found)],
        ["s/cell, used", *(f"{rates.seconds:.1f}" for rates in found)],
    ]


def _table(rows: Sequence[Sequence[str]], found: Sequence[ConditionRates], style: str) -> str:
    header = ["", *(rates.condition for rates in found)]
    return tabulate(rows, header, tablefmt=style, disable_numparse=True)


def _alarms(alarms: Alarms) -> str:
    cells, suites = alarms.cells.estimate().value, alarms.suites.estimate().value
    return f"{100 * cells:.0f} ({100 * suites:.0f})"


def _percent(share: float) -> str:
    return percent(share, ".1f") if math.isfinite(share) else NOTHING
