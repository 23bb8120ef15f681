"""The requests of all loads of a check so far, cut into blocks."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ssept.decide.promise.plan import PromisePlan
from ssept.decide.promise.tail import Tail, tail_of
from ssept.metrics import FloatArray
from ssept.serving.load.open_loop import Requests
from ssept.serving.load.result import BUSY, LATE_MS

LATE_SHARE = 0.05  # of the promised time: a client that is later has measured itself too


@dataclass
class Sample:
    """Requests of one or several loads.

    Attributes:
        plan: how they are cut.
        blocks: their latencies in ms, less each load's beginning; a failed one is infinite.
        late_ms: how late each was sent, by load.
        errors: how many failed, by kind, those of the beginnings included.
        sent: how many there were, the same.
        client_cpu: the largest share of a core that the client used in a load.
    """

    plan: PromisePlan
    blocks: list[FloatArray] = field(default_factory=list)
    late_ms: list[FloatArray] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    client_cpu: float = 0.0

    def add(self, load: Requests, blocks: int) -> None:
        """Take a load that lasted for a beginning and this number of blocks."""
        latency = np.where(load.good, load.latency_ms, np.inf)
        ends = self.plan.warm_seconds + self.plan.block_seconds * np.arange(blocks + 1)
        places = np.searchsorted(load.due, ends).tolist()
        places[-1] = len(load.due)  # whatever rounding made of the last end
        self.blocks += np.split(latency, places[:-1])[1:]
        self.late_ms.append(load.late_ms)
        self.errors.update(load.errors)
        self.sent += len(load.due)
        self.client_cpu = max(self.client_cpu, load.client_cpu)

    def tail(self) -> Tail:
        """Estimate the 99th percentile."""
        return tail_of(self.blocks, self.plan.tail)

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(self.errors.values())

    @property
    def broken_by_failures(self) -> str:
        """How many requests failed, in words; empty if no more did than may."""
        if self.failed > self.plan.max_failed * self.sent:
            kinds = ", ".join(f"{count:,} × {kind}" for kind, count in self.errors.items())
            return f"{self.failed:,} of {self.sent:,} requests failed ({kinds})"
        return ""

    @property
    def late_p99_ms(self) -> float:
        """The 99th percentile of how late requests were sent."""
        return float(np.percentile(np.concatenate(self.late_ms), 99))

    @property
    def client_bound(self) -> str:
        """Why the client itself may be what was measured; empty if it is not."""
        limit = max(LATE_MS, LATE_SHARE * self.plan.p99_ms)
        if self.late_p99_ms > limit:
            return (
                f"the client sent requests {self.late_p99_ms:.3g} ms late (99th percentile; "
                f"accepted: at most {limit:.3g} ms)"
            )
        if self.client_cpu > BUSY:
            return f"the client used {self.client_cpu:.0%} of a CPU core"
        return ""
