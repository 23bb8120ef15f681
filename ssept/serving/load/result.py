"""The result of a load on a server, the same for each load generator."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.measure.statistics import MINIMUM_SAMPLES

# A client that was later than this, or as busy, has measured itself too.
LATE_MS = 1.0
BUSY = 0.9  # of a core: each of these clients has one thread that does the work


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of latencies in ms; None where there are too few samples."""

    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, latencies_ms: npt.NDArray[np.float64]) -> "Percentiles":
        """Compute the percentiles of float64[n]; n may be 0."""
        return cls(*(_percentile(latencies_ms, q) for q in MINIMUM_SAMPLES))


def _percentile(samples: npt.NDArray[np.float64], q: int) -> float | None:
    return float(np.percentile(samples, q)) if len(samples) >= MINIMUM_SAMPLES[q] else None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one load.

    In a closed loop latency counts from the sending of a request, in an open loop from when it was
    to be sent: a client or server that is late does not make its own figures better by that.

    Attributes:
        rate: requests that succeeded, a second.
        requests: how many were to be answered.
        seconds: how long it took.
        latency: of those that succeeded. wrk and LoadGen cannot leave out the others: read theirs
            where there are no errors.
        errors: how many failed, by kind: the HTTP status, or why there was none.
        client_cpu: the share of a core that the client used.
        offered: requests a second that were to be sent; None in a closed loop.
        refused: the latency of answers that were no success; None where that is not known.
        waited: how many requests found that all connections were waiting for answers, so that
            they had to wait as well; their latency counts from the plan all the same.
        late_mean_ms, late_p99_ms: how much later than planned the client sent; None where
            nothing was planned, or the tool does not report it.
        server_cpu: how many cores the server used; None where that was not measured.
    """

    rate: float
    requests: int
    seconds: float
    latency: Percentiles
    errors: dict[str, int]
    client_cpu: float
    offered: float | None = None
    refused: Percentiles | None = None
    waited: int = 0
    late_mean_ms: float | None = None
    late_p99_ms: float | None = None
    server_cpu: float | None = None

    @property
    def client_bound(self) -> bool:
        """Whether the client, and not only the server, may be what limits the figures."""
        late = self.late_p99_ms if self.late_p99_ms is not None else self.late_mean_ms
        return self.client_cpu > BUSY or (late is not None and late > LATE_MS)

    def facts(self) -> dict[str, Any]:
        """Return all fields, to be saved as JSON."""
        return asdict(self) | {"client_bound": self.client_bound}
