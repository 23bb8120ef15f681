"""ConditionRates of false alarms and of detection in a self-test, with their intervals."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ssept.decide.gate.findings import Verdict, interval
from ssept.decide.gate.self_test.other_tools import RULES, WAYS
from ssept.decide.gate.self_test.scenarios import CONDITIONS, Counts
from ssept.decide.gate.self_test.suites import file_of, identity, machine_of, read
from ssept.decide.journal import Record
from ssept.estimate import Estimate

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """A count of hits among a count of trials."""

    hits: int
    of: int

    def estimate(self) -> Estimate:
        """Return the share with its 95 % interval of Clopper and Pearson (Biometrika 26, 1934).

        It takes the trials for independent; the cells of one suite share their passes, so of cells
        read it as the least uncertainty.
        """
        if not self.of:
            return Estimate(math.nan, 0.0, 1.0)
        ends = stats.binomtest(self.hits, self.of).proportion_ci(CONFIDENCE, "exact")
        return Estimate(self.hits / self.of, float(ends.low), float(ends.high))


@dataclass(frozen=True)
class Alarms:
    """Where a rule called the head slower."""

    cells: Share
    suites: Share


@dataclass(frozen=True, kw_only=True)
class ConditionRates:
    """A condition on a machine.

    Attributes:
        condition: its name.
        cpu, cpus: the machine.
        settings: that all its suites share.
        suites: how many there are.
        others: suites of the same condition and machine with other settings, which do not count.
        verdicts: how many cells had each.
        counted: what the condition counts: false alarms of suites, or a verdict of cells.
        slowdown: of the head, measured: the median over passes of head / base - 1.
        half_width: of the last look's interval, the median over cells, as a share.
        seconds: that a cell took, the median over suites.
        gate: where the gate called the head slower.
        rivals: where other rules did on the same calls, by the way of taking them and by rule.
    """

    condition: str
    cpu: str
    cpus: int
    settings: Record
    suites: int
    others: int
    verdicts: dict[Verdict, int]
    counted: Share
    slowdown: float
    half_width: float
    seconds: float
    gate: Alarms
    rivals: dict[str, dict[str, Alarms]]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite or unknown number is null."""
        return asdict(self) | {
            "verdicts": {verdict.value: count for verdict, count in self.verdicts.items()},
            "interval": interval(self.counted.estimate()),
            **{
                name: value if math.isfinite(value) else None
                for name, value in (("half_width", self.half_width), ("slowdown", self.slowdown))
            },
        }


def rates_in(folder: Path) -> list[ConditionRates]:
    """Return the rates of all conditions with suites in a folder, machine by machine.

    Of each condition and machine those suites count that have the settings of the last one.

    Raises:
        GateError: a file is damaged.
    """
    found = [rates for name in CONDITIONS for rates in _by_machine(name, folder)]
    order = list(dict.fromkeys((rates.cpu, rates.cpus) for rates in found))
    return sorted(found, key=lambda rates: order.index((rates.cpu, rates.cpus)))


def _by_machine(name: str, folder: Path) -> Iterator[ConditionRates]:
    records = read(file_of(folder, name))
    last = {machine_of(record): record for record in records}
    for machine, newest in last.items():
        here = [record for record in records if machine_of(record) == machine]
        same = [record for record in here if identity(record) == identity(newest)]
        yield rates_of(name, same, len(here) - len(same))


def rates_of(name: str, records: Sequence[Record], others: int = 0) -> ConditionRates:
    """Return the rates of one or more suites that share settings and machine."""
    cells = [cell for record in records for cell in record["cells"].values()]
    verdicts = {verdict: sum(c["verdict"] == verdict.value for c in cells) for verdict in Verdict}
    gate = _alarms(records, lambda cell: bool(cell["verdict"] == Verdict.REGRESSED.value))
    settings, (cpu, cpus) = records[0]["settings"], machine_of(records[0])
    ratios = [
        head / base
        for cell in cells
        for base, head in zip(cell["base_ns"], cell["head_ns"], strict=True)
    ]
    return ConditionRates(
        condition=name,
        cpu=cpu,
        cpus=cpus,
        settings=settings,
        suites=len(records),
        others=others,
        verdicts=verdicts,
        counted={
            Counts.FALSE_ALARMS: gate.suites,
            Counts.FINE: Share(verdicts[Verdict.FINE], len(cells)),
            Counts.FOUND: gate.cells,
        }[Counts(settings["counts"])],
        slowdown=float(np.median(ratios)) - 1 if ratios else math.nan,
        half_width=_half_width(cells),
        seconds=float(np.median([record["seconds"] / len(record["cells"]) for record in records])),
        gate=gate,
        rivals={way: {rule: _alarms(records, _rival(way, rule)) for rule in RULES} for way in WAYS},
    )


def _alarms(records: Sequence[Record], slower: Callable[[Record], bool]) -> Alarms:
    found = [[slower(cell) for cell in record["cells"].values()] for record in records]
    return Alarms(
        Share(sum(map(sum, found)), sum(map(len, found))),
        Share(sum(map(any, found)), len(found)),
    )


def _rival(way: str, rule: str) -> Callable[[Record], bool]:
    # A cell that could not be measured has no calls to judge.
    return lambda cell: bool(cell["rivals"].get(way, {}).get(rule))


def _half_width(cells: Sequence[Record]) -> float:
    """Return the median half-width of the last looks, as a share; infinite without a bound."""
    ends = [cell["looks"][-1]["log_ratio"] for cell in cells if cell["looks"]]
    widths = [
        math.inf if None in (end["low"], end["high"]) else (end["high"] - end["low"]) / 2
        for end in ends
    ]
    return math.expm1(float(np.median(widths))) if widths else math.nan
