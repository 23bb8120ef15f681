"""The number of replicas for a peak rate, with each step of the arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ssept.decide.capacity.figures import COMMAND, LargestRate
from ssept.errors import SseptError

SCHEMA = 1
MOST_REPLICAS = 1_000_000
ON_ONE_CPU = "`taskset -c 0 tox -e fastapi -- -k 'largest_rate and w01'`"
HOURS_A_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted.

    Attributes:
        peak_rate: requests a second, at most.
        headroom: how much more the replicas must be able to answer, as a share of that.
        workers: of each replica; None for as many as were measured.
        cpus: of each replica; None for as many as were measured with.
        client_elsewhere: whether requests come from other machines, so that a client's CPU time
            does not count where a rate is predicted.
        cost_per_replica_hour: in any currency.
    """

    peak_rate: float
    headroom: float = 0.0
    workers: int | None = None
    cpus: float | None = None
    client_elsewhere: bool = False
    cost_per_replica_hour: float | None = None


@dataclass(frozen=True)
class Step:
    """A line of the arithmetic: what it gives, how, and the result with its unit."""

    what: str
    how: str
    value: float
    unit: str


@dataclass
class Capacity:
    """What is needed, and why.

    Attributes:
        demand: what was wanted.
        limit_ms: of the 99th percentile.
        steps: the arithmetic, line by line.
        assumed: what must hold besides, in sentences.
        replica_rate: requests a second that a replica answers in time.
        predicted: whether that follows from a run with other workers.
        replicas: how many are needed.
        cost_per_hour: of all; None without a price.
    """

    demand: Demand
    limit_ms: float
    steps: list[Step] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    replica_rate: float = 0.0
    predicted: bool = False
    replicas: int = 0
    cost_per_hour: float | None = None

    @property
    def load_each(self) -> float:
        """Requests a second that each replica gets at the peak."""
        return self.demand.peak_rate / self.replicas

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"schema": SCHEMA}


def capacity(rates: Sequence[LargestRate], demand: Demand) -> Capacity:
    """Compute how many replicas answer a peak rate.

    Args:
        rates: of one server on one machine within one limit; one or more.
        demand: what is wanted.

    Raises:
        SseptError: a rate cannot be predicted from these, or absurdly many replicas are needed.
    """
    found = Capacity(demand, rates[0].limit_ms)
    needed = demand.peak_rate * (1 + demand.headroom)
    found.steps += [
        Step("peak", "as asked", demand.peak_rate, "requests/s"),
        Step("to answer", f"{demand.peak_rate:,.6g} × (1 + {demand.headroom:g})", needed,
             "requests/s"),
    ]  # fmt: skip
    _replica(found, rates)
    rate = found.replica_rate
    if not needed <= MOST_REPLICAS * rate:
        raise SseptError(
            f"{needed:,.4g} requests a second need more than {MOST_REPLICAS:,} replicas of "
            f"{rate:,.4g} each: expected a smaller --peak-rate or --headroom"
        )
    found.replicas = max(1, math.ceil(needed / rate))
    how = f"{needed:,.6g} / {rate:,.6g} = {needed / rate:,.3f}, rounded up"
    found.steps.append(Step("replicas", how, found.replicas, "replicas"))
    how = f"{demand.peak_rate:,.6g} / {found.replicas:,}"
    found.steps.append(Step("load of each at the peak", how, found.load_each, "requests/s"))
    _cost(found)
    found.assumed += [
        "The replicas are alike, each on a machine like the measured one, and the load is spread "
        "evenly over them: a replica that fails takes its share out of the headroom.",
        "Requests are like the measured ones: their lengths, and random arrivals.",
    ]
    return found


def _replica(found: Capacity, rates: Sequence[LargestRate]) -> None:
    """Find the rate of one replica: measured with as many workers and CPUs, or predicted."""
    demand = found.demand
    workers = demand.workers or max(each.workers for each in rates)
    alike = [e for e in rates if e.workers == workers and demand.cpus in (None, e.cpus)]
    if alike:
        _measured(found, alike)
        return
    # The most like it: from fewer workers before from more, whose contention is in their figure.
    base = min(rates, key=lambda each: (each.workers > workers, abs(each.workers - workers)))
    same = [each for each in rates if each.workers == base.workers]
    _predicted(found, min(same, key=lambda each: each.rate), workers)


def _measured(found: Capacity, alike: Sequence[LargestRate]) -> None:
    slowest = min(alike, key=lambda each: each.rate)
    found.replica_rate = slowest.rate
    several = f", the smallest of {len(alike)}" if len(alike) > 1 else ""
    how = f"measured: {slowest.run}, {_shape(slowest.workers, slowest.cpus)}{several}"
    found.steps.append(Step("a replica", how, slowest.rate, "requests/s"))
    found.assumed.append(
        f"A replica answers what was measured within a p99 of {slowest.limit_ms:g} ms, with the "
        "client on the same machine; with clients on other machines, it may answer more."
    )


def _predicted(found: Capacity, base: LargestRate, workers: int) -> None:
    """Predict a replica from the CPU time of a request.

    Each worker adds its rate until the CPUs are used up. "Used up" is what the busiest one was at
    the measured largest rate, less than all of its time: to keep p99, a queue must have room. That
    is a worker's own, or all of them, if workers and client shared them. A client on the same
    machine takes its part.
    """
    demand, cpus = found.demand, found.demand.cpus or base.cpus
    if base.server_s is None or base.client_s is None or cpus is None:
        raise SseptError(
            f"{base.run}: was measured with {_shape(base.workers, base.cpus)}, and lacks the CPU "
            f"time of a request, which predictions need: measure with `{COMMAND}`"
        )
    one = base.rate / base.workers
    server_ms, both_s = 1e3 * base.server_s, base.server_s + base.client_s
    use, how = own = one * base.server_s, f"a worker's own: {one:,.6g} × {server_ms:.4g} ms"
    if base.cpus:
        text = f"shared: {base.rate:,.6g} × {1e3 * both_s:.4g} ms / {base.cpus:g}"
        use, how = max(own, (base.rate * both_s / base.cpus, text))
    share = min(1.0, use)
    client_s = 0.0 if demand.client_elsewhere else base.client_s
    by_workers, request_s = workers * one, base.server_s + client_s
    by_cpus = cpus * share / request_s
    found.predicted, found.replica_rate = True, min(by_workers, by_cpus)
    found.steps += [
        Step("a worker", f"measured: {base.run}, {base.rate:,.6g} / {base.workers}", one,
             "requests/s"),
        Step("CPU time of a request", f"{1e3 * base.server_s:.4g} ms of the server + "
             f"{1e3 * client_s:.4g} ms of the client", 1e3 * request_s, "ms"),
        Step("use of a CPU at that rate", how, share, "of its time"),
        Step("by its workers", f"{workers} × {one:,.6g}", by_workers, "requests/s"),
        Step("by its CPUs", f"{cpus:g} × {share:.4g} / {1e3 * request_s:.4g} ms", by_cpus,
             "requests/s"),
        Step("a replica", "predicted: the smaller of the two", found.replica_rate, "requests/s"),
    ]  # fmt: skip
    found.assumed.append(
        f"A replica of {_shape(workers, cpus)} was not measured: its workers are assumed to be as "
        "fast as the measured one until the CPUs are as busy as its own was. Shared caches, memory "
        "and hyperthreads are not taken into account."
    )
    if how == own[1] and client_s and workers + 1 > cpus:
        found.assumed.append(
            "The predicted rate is likely too high: the measured worker had a CPU to itself, while "
            "these wait for each other and the client. Measure one worker that shares its CPU with "
            f"the client: {ON_ONE_CPU}, then predict with --cpus."
        )


def _cost(found: Capacity) -> None:
    price = found.demand.cost_per_replica_hour
    if price is None:
        return
    found.cost_per_hour = found.replicas * price
    found.steps += [
        Step("cost", f"{found.replicas:,} × {price:,.6g}", found.cost_per_hour, "an hour"),
        Step("", f"{found.cost_per_hour:,.6g} × {HOURS_A_MONTH} hours",
             found.cost_per_hour * HOURS_A_MONTH, "a month"),
    ]  # fmt: skip


def _shape(workers: int, cpus: float | None) -> str:
    own = f"{workers} worker{'s' if workers > 1 else ''}"
    return f"{own} on {cpus:g} CPUs" if cpus else own
