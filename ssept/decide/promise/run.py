"""The check of a promise: loads, looks at what they gave, and a verdict."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from ssept.decide.promise.plan import PromisePlan
from ssept.decide.promise.sample import Sample
from ssept.decide.promise.tail import Tail
from ssept.metrics import FloatArray
from ssept.serving.load.open_loop import Requests

SCHEMA = 1

# Sends a load: its length in seconds, and the seed of the times at which requests are due.
Load = Callable[[float, int], Requests]
# Called with what is being done, the seconds measured so far, and the most that there may be.
Progress = Callable[[str, int, int], None]


class Answer(str, Enum):
    """What is said of a promise."""

    KEPT = "kept"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Answer.KEPT: 0, Answer.BROKEN: 1, Answer.INCONCLUSIVE: 2}  # as those of a gate


@dataclass(frozen=True)
class Look:
    """What a look saw.

    Attributes:
        blocks: measured so far.
        tail: p99 of all their requests.
        failed: requests so far that failed.
        late_p99_ms: how late the client was, 99th percentile.
        confirmation: whether it is one of fresh requests alone.
    """

    blocks: int
    tail: Tail
    failed: int
    late_p99_ms: float
    confirmation: bool = False


@dataclass
class PromiseResult:
    """The verdict on a promise, and what it rests on.

    Attributes:
        plan: as declared beforehand.
        looks: in their order.
        sent: requests, each load's beginning included.
        errors: how many of them failed, by kind.
        client_cpu: the largest share of a core that the client used.
        blocks: of each block of time a summary, to judge it anew.
        answer: the verdict.
        why: the reason in words; empty for a kept promise.
    """

    plan: PromisePlan
    looks: list[Look] = field(default_factory=list)
    sent: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    client_cpu: float = 0.0
    blocks: list[dict[str, Any]] = field(default_factory=list)
    answer: Answer = Answer.INCONCLUSIVE
    why: str = ""

    @property
    def tail(self) -> Tail:
        """The 99th percentile of all requests."""
        return [look for look in self.looks if not look.confirmation][-1].tail

    @property
    def exit_code(self) -> int:
        """0 kept, 1 broken, 2 inconclusive."""
        return EXIT_CODES[self.answer]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite end of an interval is null."""
        return asdict(self) | {
            "schema": SCHEMA,
            "answer": self.answer.value,
            "looks": [_look(look) for look in self.looks],
        }


def check(plan: PromisePlan, load: Load, show: Progress) -> PromiseResult:
    """Load a server until a look decides, or the time is over.

    A promise is *kept* at the first look whose interval of p99 lies within it. It is *broken* where
    more requests failed than may, or where the interval lies beyond it and a load of fresh
    requests, by itself, has a p99 beyond it too: that a spell of trouble on the machine, which
    neighbouring blocks share, has not decided. A confirmation can only take back an alarm, so it
    adds nothing to the error. While the client is late nothing is decided.

    Args:
        plan: what is promised, and how it is judged.
        load: sends requests at the plan's rate.
        show: is told of each load.

    Raises:
        LoadError: the server cannot be reached, or does not answer any more.
    """
    checking = _Check(plan, load, show)
    for blocks in plan.looks_at:
        missing = blocks - len(checking.sample.blocks)
        if missing > 0:
            checking.measure(missing)
        elif blocks < plan.looks_at[-1]:
            continue  # a confirmation has been as long
        if checking.look():
            break
    return checking.result


class _Check:
    def __init__(self, plan: PromisePlan, load: Load, show: Progress) -> None:
        self.sample = Sample(plan)
        self.result = PromiseResult(plan)
        self._plan, self._load, self._show = plan, load, show
        self._loads = 0

    def measure(self, blocks: int) -> Sample:
        """Make one load more; returns what it gave by itself."""
        fresh = Sample(self._plan)
        what = f"p99 <= {self._plan.p99_ms:g} ms"
        self._show(what, len(self.sample.blocks), self._plan.looks_at[-1])
        seconds = self._plan.warm_seconds + blocks * self._plan.block_seconds
        requests = self._load(seconds, self._loads)
        self._loads += 1
        for each in (fresh, self.sample):
            each.add(requests, blocks)
        self._show(what, len(self.sample.blocks), self._plan.looks_at[-1])
        self.result.sent = self.sample.sent
        self.result.errors = dict(self.sample.errors)
        self.result.client_cpu = self.sample.client_cpu
        self.result.blocks += [_summary(block, self._plan.p99_ms) for block in fresh.blocks]
        return fresh

    def look(self) -> bool:
        """Judge all requests so far; whether that decides."""
        plan, sample = self._plan, self.sample
        tail = self._note(sample).tail.p99_ms
        if why := sample.client_bound:
            answer = Answer.INCONCLUSIVE
        elif why := sample.broken_by_failures:
            answer = Answer.BROKEN
        elif tail.high <= plan.p99_ms:
            answer = Answer.KEPT
        elif tail.low > plan.p99_ms:
            answer, why = self._confirmed()
        else:
            answer = Answer.INCONCLUSIVE
            why = "the interval still contains the promised time: increase --seconds"
        self.result.answer, self.result.why = answer, why
        return answer is not Answer.INCONCLUSIVE

    def _confirmed(self) -> tuple[Answer, str]:
        """Judge a promise that looks broken by fresh requests alone."""
        fresh = self.measure(self._plan.confirmation)
        again = self._note(fresh, confirmation=True).tail.p99_ms.value
        if why := fresh.client_bound:
            return Answer.INCONCLUSIVE, why
        if why := fresh.broken_by_failures:
            return Answer.BROKEN, why
        if again > self._plan.p99_ms:
            return Answer.BROKEN, f"confirmed by fresh requests: {again:.3g} ms"
        return Answer.INCONCLUSIVE, f"not confirmed: {again:.3g} ms when measured again"

    def _note(self, sample: Sample, *, confirmation: bool = False) -> Look:
        look = Look(
            len(sample.blocks), sample.tail(), sample.failed, sample.late_p99_ms, confirmation
        )
        self.result.looks.append(look)
        return look


def _summary(block: FloatArray, limit_ms: float) -> dict[str, Any]:
    """Summarize the latencies of a block; failed requests have none."""
    good = block[np.isfinite(block)]
    figures = {}
    if len(good):
        quantiles = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100}
        figures = {name: round(float(np.percentile(good, q)), 3) for name, q in quantiles.items()}
    slow = int(np.count_nonzero(good > limit_ms))
    return {"requests": len(block), "failed": len(block) - len(good), "slow": slow} | figures


def _look(look: Look) -> dict[str, Any]:
    return asdict(look) | {"tail": asdict(look.tail) | {"p99_ms": look.tail.p99_ms.as_json()}}
