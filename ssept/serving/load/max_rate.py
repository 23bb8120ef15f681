"""The search for the largest request rate at which a server meets a condition."""

from collections.abc import Callable
from dataclasses import dataclass

from ssept.serving.load.result import Result

STEP = 1.25
PRECISION = 1.05
LEAST = 0.02  # of the rate to start with: below that the search ends


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


def largest_rate(
    measure: Callable[[float], Result], start: float, kept: Callable[[Result], bool]
) -> tuple[float, list[Probe]]:
    """Bisect for the largest rate, to 5 %.

    A rate counts as too large when it fails twice: once may be a pause of the machine's.

    Args:
        measure: tries a rate, requests a second.
        start: the rate to begin with.
        kept: whether a result meets the condition.

    Returns:
        The largest rate that met it, 0 if even a small one did not; and all probes.
    """
    probes: list[Probe] = []

    def holds(rate: float) -> bool:
        for _ in range(2):
            result = measure(rate)
            probes.append(Probe(rate, kept(result), result))
            if probes[-1].kept:
                return True
        return False

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
    return low, probes
