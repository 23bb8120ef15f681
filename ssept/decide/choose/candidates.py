"""Candidates: cells with what is known of them, the goals they compete for, and promises."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ssept.estimate import Estimate
from ssept.results.cells import Combination

BYTES_PER_MB = 1e6
DEFAULT_LOSS = 0.01  # of NDCG@10: the promise where the user makes none


class Goal(str, Enum):
    """What is best."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    MEMORY = "memory"
    COST = "cost"
    REQUESTS = "requests"


SPEED_GOALS = (Goal.LATENCY, Goal.THROUGHPUT, Goal.COST)
# What breaks a tie, in this order; what is still a tie, the order of VARIANTS and PROVIDERS.
TIE_BREAKS = {
    Goal.LATENCY: (Goal.SIZE, Goal.MEMORY),
    Goal.THROUGHPUT: (Goal.SIZE, Goal.MEMORY),
    Goal.COST: (Goal.LATENCY, Goal.SIZE, Goal.MEMORY),
    Goal.SIZE: (Goal.LATENCY, Goal.MEMORY),
    Goal.MEMORY: (Goal.LATENCY, Goal.SIZE),
    Goal.REQUESTS: (Goal.MEMORY, Goal.SIZE),
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A cell, or a cell behind a server, with what is known of it; None for what was not measured.

    Attributes:
        cell: variant and provider.
        threads: that a call may use.
        batch: sequences in a call.
        rate: sequences a second, relative to the baseline's.
        p50_ms, p99_ms: of a call.
        fps: sequences a second.
        ndcg_change: of NDCG@10 from the baseline's, as a share.
        size_bytes: of the model file.
        memory_bytes: the peak of a process that loads it and answers once; of the processes of a
            server, what they have under load.
        server: that it is behind; empty for a call in this process.
        limit_ms: the promise of p99 that the server was measured for.
        requests: a second, that the server answers within it.
        times: as many requests a second as the fastest server, in the same rounds.
        problem: why it could not be measured; empty if it was.
    """

    cell: Combination
    threads: int
    batch: int
    size_bytes: int
    rate: Estimate | None = None
    p50_ms: Estimate | None = None
    p99_ms: Estimate | None = None
    fps: float | None = None
    ndcg_change: Estimate | None = None
    memory_bytes: int | None = None
    server: str = ""
    limit_ms: float | None = None
    requests: Estimate | None = None
    times: Estimate | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The cell and its settings, as test ids have them."""
        threads = f"-t{self.threads}" if self.threads > 1 else ""
        if self.server:
            return f"{self.cell}{threads} behind {self.server}"
        return f"{self.cell}{threads}-b{self.batch:03}"

    def merit(self, goal: Goal) -> Estimate | None:
        """Return what the goal compares, the more the better; None if it was not measured."""
        if goal is Goal.SIZE:
            return _exactly(1 / self.size_bytes)
        if goal is Goal.MEMORY:
            return _exactly(1 / self.memory_bytes) if self.memory_bytes else None
        if goal is Goal.COST and self.rate:
            return self.rate.map(lambda rate: rate / self.threads)
        if goal is Goal.REQUESTS:
            return self.times
        return self.rate


@dataclass(frozen=True, kw_only=True)
class Promises:
    """What the chosen cell must keep; None for no such promise.

    Attributes:
        max_accuracy_loss: of the baseline's NDCG@10, as a share.
        p99_ms: of a call.
        max_mb: of the model file, in 10^6 bytes.
        max_memory_mb: of the process, in 10^6 bytes.
    """

    max_accuracy_loss: float | None = None
    p99_ms: float | None = None
    max_mb: float | None = None
    max_memory_mb: float | None = None

    def broken_by(self, candidate: Candidate) -> list[str]:
        """Return the promises that a candidate surely breaks, in words."""
        return [each.words for each in self._judged(candidate) if each.low > each.limit]

    def unshown_by(self, candidate: Candidate) -> list[str]:
        """Return the promises that it may break: not measured, or too few data, in words."""
        return [
            each.words for each in self._judged(candidate) if each.low <= each.limit < each.high
        ]

    def excess(self, candidate: Candidate) -> float:
        """Return by what share a candidate misses the promise that it misses most; 0 if none."""
        over = [
            (each.low - each.limit) / (each.limit or 1)
            for each in self._judged(candidate)
            if each.low > each.limit
        ]
        return max(over, default=0.0)

    def _judged(self, candidate: Candidate) -> list["_Judged"]:
        """Put each promise beside its figure; one that was not measured may be anything."""
        loss = _negated(candidate.ndcg_change)
        figures: list[tuple[float | None, Estimate | None, Callable[[float], str], str]] = [
            (self.max_accuracy_loss, loss, lambda share: f"{share:.2%}", "NDCG@10 loss"),
            (self.p99_ms, _p99_of(candidate), lambda ms: f"{ms:.3g} ms", "p99"),
            (self.max_mb, _mb(candidate.size_bytes), lambda mb: f"{mb:.3g} MB", "model file"),
            (
                self.max_memory_mb,
                _mb(candidate.memory_bytes),
                lambda mb: f"{mb:.4g} MB",
                "memory of the server" if candidate.server else "peak memory",
            ),
        ]
        return [
            _judged(what, limit, figure, shown)
            for limit, figure, shown, what in figures
            if limit is not None
        ]


@dataclass(frozen=True)
class _Judged:
    """A figure that should be at most a limit; `words` say both."""

    limit: float
    low: float
    high: float
    words: str


def _judged(
    what: str, limit: float, figure: Estimate | None, shown: Callable[[float], str]
) -> _Judged:
    if figure is None:
        words = f"{what} not measured, at most {shown(limit)} promised"
        return _Judged(limit, -math.inf, math.inf, words)
    between = f" [{shown(figure.low)}, {shown(figure.high)}]" if figure.low < figure.high else ""
    words = f"{what} {shown(figure.value)}{between}, at most {shown(limit)} promised"
    return _Judged(limit, figure.low, figure.high, words)


def _p99_of(candidate: Candidate) -> Estimate | None:
    """Return the p99 of a call; where only the median is known, that it is not below that."""
    if candidate.p99_ms or not candidate.p50_ms:
        return candidate.p99_ms
    return Estimate(candidate.p50_ms.value, candidate.p50_ms.low, math.inf)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def _mb(size_bytes: int | None) -> Estimate | None:
    return None if size_bytes is None else _exactly(size_bytes / BYTES_PER_MB)


def _negated(change: Estimate | None) -> Estimate | None:
    return None if change is None else Estimate(-change.value, -change.high, -change.low)
