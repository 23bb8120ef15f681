"""Summaries of a server's turns: its rate, its costs and its failed requests."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ssept.decide.servers.comparison import UNIT, carried, ratio
from ssept.decide.servers.threshold import METHOD
from ssept.decide.servers.turn import LoadFacts, Turn
from ssept.estimate import Estimate
from ssept.measure.latency import CONFIDENCE
from ssept.results.schema import Interval
from ssept.serving.load.connections import KINDS, UNSENT
from ssept.serving.load.result import BUSY, LATE_MS

NEAR = 1.25  # times the rate
# What may become of requests beyond the rate of a server: it refuses them, or its answers are so
# late that the client has no connection left.
REFUSALS = ("429", "503", KINDS[UNSENT])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A server under the promise; medians over its turns, None where there was nothing to measure.

    Attributes:
        rate: that it carries, requests a second; None too where it kept the promise at none.
        rate_interval: the same with its interval; None for fewer rounds than that needs.
        ratio: to the rate of the server that it is compared with, in the same rounds.
        ratio_interval: as for the rate.
        interval: how both intervals were made.
        cold_s: from its start to its first answer.
        cpu_ms: CPU time of its processes for a request, at the rate that it carries.
        rss_bytes: of its processes.
        overload: the share of the requests at twice the rate that were answered in time.
        requests: of the loads up to that rate; of all loads where there is none.
        failed: requests of all loads, by kind; refusals of those up to that rate
            alone, and requests for which the client had no connection left.
        client_bound: whether the client was busy or late, and may be what limits the rate.
        fault: why it could not be measured; empty otherwise.
    """

    rate: float | None
    rate_interval: Estimate | None
    ratio: float | None
    ratio_interval: Estimate | None
    interval: Interval | None
    cold_s: float | None
    cpu_ms: float | None
    rss_bytes: float | None
    overload: float | None
    requests: int
    failed: dict[str, int]
    client_bound: bool
    fault: str


def summary(turns: Sequence[Turn], others: Sequence[Turn]) -> Summary:
    """Sum up the turns of a server, and compare it with the turns of another one."""
    rate, times = carried(turns), ratio(turns, others)
    most = rate.value if rate else math.inf
    last = [
        load for turn in turns for load in turn.loads if most / NEAR < load.offered < most * NEAR
    ]
    up_to = [load for turn in turns for load in turn.loads if load.offered <= most]
    failed: Counter[str] = Counter()
    for turn in turns:
        for load in (*turn.loads, *([turn.overload] if turn.overload else [])):
            beyond = REFUSALS if load.offered > most else ()
            failed.update({kind: n for kind, n in load.errors.items() if kind not in beyond})
    n = sum(turn.rate is not None for turn in turns) if rate else 0
    return Summary(
        rate=rate.value if rate else None,
        rate_interval=_bounded(rate),
        ratio=times.value if times else None,
        ratio_interval=_bounded(times),
        interval=Interval(method=METHOD, unit=UNIT, n=n, confidence=CONFIDENCE) if n else None,
        cold_s=_median([turn.cold_s for turn in turns if turn.cold_s is not None]),
        cpu_ms=_median([1e3 * load.server_cpu_s / load.requests for load in last]),
        rss_bytes=_median([load.rss_bytes for load in last]),
        overload=_median([_answered(turn.overload) for turn in turns if turn.overload]),
        requests=sum(load.requests for load in up_to),
        failed=dict(failed),
        client_bound=sum(map(_is_client_bound, last)) > len(last) / 2,
        fault=next((turn.fault for turn in turns if turn.fault), ""),
    )


def _is_client_bound(load: LoadFacts) -> bool:
    return load.late_p99_ms > LATE_MS or load.client_cpu > BUSY


def _answered(load: LoadFacts) -> float:
    return load.in_time / load.offered


def _bounded(estimate: Estimate | None) -> Estimate | None:
    return estimate if estimate and math.isfinite(estimate.high) else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
