"""The search for the largest request rate at which a server meets a condition."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ssept.serving.load.result import Result

STEP = 1.25
PRECISION = 1.05
LEAST = 0.02  # of the rate to start with: below that the search ends
FRESH = 5  # probes of the rate that the search found
ENOUGH = 4  # of them that must meet the condition
LOWER = 0.95  # times the rate, where they do not; squared the second time, and so on


@dataclass(frozen=True)
class Probe:
    """A rate that was tried, and whether the condition held."""

    rate: float
    kept: bool
    result: Result


def within(limit_ms: float) -> Callable[[Result], bool]:
    """Return the condition that every request succeeds, and 99 % of them within a limit in ms."""

    def kept(result: Result) -> bool:
        p99 = result.latency.p99_ms
        return not result.errors and p99 is not None and p99 <= limit_ms

    return kept


@dataclass(frozen=True)
class LargestRate:
    """What a search found.

    Attributes:
        rate: requests a second, 0 if even a small rate did not meet the condition.
        fresh: the probes of that rate after it was found; empty at rate 0.
        probes: all, in the order they were taken.
    """

    rate: float
    fresh: list[Probe]
    probes: list[Probe]

    @property
    def result(self) -> Result:
        """The result of the fresh probe whose p99 is the median; one without p99 is the slowest."""
        results = [probe.result for probe in self.fresh]
        return sorted(results, key=lambda result: result.latency.p99_ms or math.inf)[FRESH // 2]


def largest_rate(
    measure: Callable[[float], Result], start: float, kept: Callable[[Result], bool]
) -> LargestRate:
    """Bisect for the largest rate, to 5 %, then confirm it by probes that did not choose it.

    In the search a rate counts as too large when it fails twice, since once may be a pause of the
    machine's. Of many rates near the limit some so pass by luck, which by itself would end above
    the rate that passes half of the time. So the rate is lowered until 4 of 5 fresh probes pass, by
    5 %, then 10 %, then 14 %: where noise is large, small steps would take many minutes.

    Args:
        measure: tries a rate, requests a second.
        start: the rate to begin with.
        kept: whether a result meets the condition.
    """
    probes: list[Probe] = []

    def probe(rate: float) -> Probe:
        result = measure(rate)
        probes.append(Probe(rate, kept(result), result))
        return probes[-1]

    rate = _bisected(lambda rate: probe(rate).kept or probe(rate).kept, start)
    lowered = 0
    while rate > LEAST * start:
        fresh: list[Probe] = []
        while sum(not one.kept for one in fresh) <= FRESH - ENOUGH:
            if len(fresh) == FRESH:
                return LargestRate(rate, fresh, probes)
            fresh.append(probe(rate))
        lowered += 1
        rate *= LOWER**lowered
    return LargestRate(0.0, [], probes)


def _bisected(holds: Callable[[float], bool], start: float) -> float:
    """Return the largest rate that held, to 5 %; 0 if none did above `LEAST` of the start."""
    low, high = 0.0, 0.0
    rate = start
    while not (low and high and high / low <= PRECISION) and rate > LEAST * start:
        if holds(rate):
            low = rate
        else:
            high = rate
        if not high:
            rate = low * STEP
        elif not low:
            rate = high / STEP**2
        else:
            rate = (low * high) ** 0.5
    return low
