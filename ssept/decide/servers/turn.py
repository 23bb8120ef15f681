"""A server's turn in a round: started, loaded, and stopped."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ssept.decide.servers.staircase import DOWN, LEAST_RATE, bracket, staircase
from ssept.decide.servers.threshold import rate_of
from ssept.errors import SseptError
from ssept.measure.statistics import MINIMUM_SAMPLES
from ssept.serving.load.open_loop import Requests
from ssept.serving.load.server_cpu import cpu_seconds, resident_bytes

START_RATE = 200.0
LOADS = 8  # of a turn's staircase
LOAD_SECONDS = 2.0
SEARCH_SECONDS = 1.5  # of a load that looks where to begin
WARM_SECONDS = 1.0
OVERLOAD = 2.0  # times the rate
OVERLOAD_SECONDS = 2.0


@dataclass(frozen=True)
class RunningServer:
    """A server that has answered once.

    Attributes:
        pid: of its first process.
        send: makes a load: rate, seconds, and the seed of the times. Raises AnswerError for a
            wrong answer, LoadError where it does not answer any more.
    """

    pid: int
    send: Callable[[float, float, int], Requests]


@dataclass(frozen=True)
class Contender:
    """A server of the comparison.

    Attributes:
        name: in the results.
        start: starts it, for a block that begins when it has answered a request rightly. Raises
            ServerError where it does not.
    """

    name: str
    start: Callable[[], AbstractContextManager[RunningServer]]


@dataclass(frozen=True, kw_only=True)
class LoadFacts:
    """What became of one load.

    Attributes:
        offered: requests a second that were to be sent.
        kept: whether it kept the promise.
        requests: how many were.
        p99_ms: of those answered, from when each was to be sent; None for too few.
        in_time: requests a second that were answered within the promise: the goodput.
        errors: requests that failed, by kind.
        late_p99_ms: how late the client was.
        client_cpu: the share of a core that it used.
        server_cpu_s: CPU seconds that the server's processes used.
        rss_bytes: of its processes, after the load; shared pages count in each.
    """

    offered: float
    kept: bool
    requests: int
    p99_ms: float | None
    in_time: float
    errors: dict[str, int]
    late_p99_ms: float
    client_cpu: float
    server_cpu_s: float
    rss_bytes: int


@dataclass(kw_only=True)
class Turn:
    """What one start of one server gave.

    Attributes:
        server: its name.
        round: from 0.
        cold_s: from its start to its first answer; None if it gave none.
        rate: that it carried by these loads alone, requests a second; 0 if none of them kept the
            promise, None for a fault.
        loads: those of the staircase, and before it of the search for where to begin.
        overload: the load at twice the rate.
        fault: why it could not be measured; empty otherwise.
    """

    server: str
    round: int
    cold_s: float | None = None
    rate: float | None = None
    loads: list[LoadFacts] = field(default_factory=list)
    overload: LoadFacts | None = None
    fault: str = ""

    @property
    def outcomes(self) -> list[tuple[float, bool]]:
        """The rate of each load, and whether it kept the promise."""
        return [(load.offered, load.kept) for load in self.loads]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "Turn":
        """Read what `as_json` returned."""
        loads = [LoadFacts(**load) for load in values["loads"]]
        overload = LoadFacts(**values["overload"]) if values["overload"] else None
        return cls(**{**values, "loads": loads, "overload": overload})


def take_turn(contender: Contender, number: int, limit_ms: float, before: float | None) -> Turn:
    """Start a server, find the rate that it carries, overload it, and stop it.

    A fault of the server is a result, not an error: the other servers go on.

    Args:
        contender: the server.
        number: of the round.
        limit_ms: 99 % of the requests are to be answered within it, and none may fail.
        before: the rate by its earlier turns; None to search for where to begin.
    """
    turn = Turn(server=contender.name, round=number)
    begun = time.monotonic()
    try:
        with contender.start() as server:
            turn.cold_s = time.monotonic() - begun
            _loaded(turn, server, limit_ms, before)
    except SseptError as error:  # of its environment too
        turn.rate, turn.fault = None, str(error)
    return turn


def _loaded(turn: Turn, server: RunningServer, limit_ms: float, before: float | None) -> None:
    seeds = _seeds(turn.round)

    def load(rate: float, seconds: float) -> LoadFacts:
        cpu = cpu_seconds(server.pid)
        long_enough = max(seconds, 1.05 * MINIMUM_SAMPLES[99] / rate)
        requests = server.send(rate, long_enough, next(seeds))
        used = max(0.0, cpu_seconds(server.pid) - cpu)
        return _facts(requests, rate, limit_ms, used, resident_bytes(server.pid))

    def kept(rate: float, seconds: float = LOAD_SECONDS) -> bool:
        facts = load(rate, seconds)
        turn.loads.append(facts)
        return facts.kept

    server.send(before or START_RATE, WARM_SECONDS, next(seeds))
    if before:
        begin = max(before, LEAST_RATE)  # a round that went badly is no reason to try nothing
    else:
        begin = bracket(partial(kept, seconds=SEARCH_SECONDS), START_RATE) / DOWN
    staircase(kept, begin, LOADS)
    if all(facts.errors for facts in turn.loads):
        last = ", ".join(f"{n:,} {kind}" for kind, n in turn.loads[-1].errors.items())
        turn.fault = f"requests failed at each rate: {last}"
        return
    turn.rate = 0.0
    if any(facts.kept for facts in turn.loads):
        turn.rate = rate_of([turn.outcomes]).value
        turn.overload = load(OVERLOAD * turn.rate, OVERLOAD_SECONDS)


def _facts(
    requests: Requests, rate: float, limit_ms: float, server_cpu_s: float, rss_bytes: int
) -> LoadFacts:
    result = requests.result(rate)
    p99_ms = result.latency.p99_ms
    in_time = requests.good & (requests.latency_ms <= limit_ms)
    return LoadFacts(
        offered=rate,
        kept=not requests.errors and p99_ms is not None and p99_ms <= limit_ms,
        requests=len(requests.due),
        p99_ms=p99_ms,
        in_time=float(np.count_nonzero(in_time) / requests.seconds),
        errors=requests.errors,
        late_p99_ms=result.late_p99_ms or 0.0,
        client_cpu=requests.client_cpu,
        server_cpu_s=server_cpu_s,
        rss_bytes=rss_bytes,
    )


def _seeds(number: int) -> Iterator[int]:
    """Seeds of loads that no other round has."""
    return itertools.count(number << 16)
