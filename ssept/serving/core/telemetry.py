"""Prometheus counters of a server process, or their sum over several workers."""

import os
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ssept.serving.core.batcher import Job

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Read by prometheus_client when it is imported: counters then are files in that folder.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Telemetry:
    """Counters, which several workers share where PROMETHEUS_MULTIPROC_DIR names a folder.

    Attributes:
        requests: answers by route and status.
        seconds: from a request's headers to its answer, by route.
        refused: requests turned away by reason.
        reloads: by result, "done" or "failed".
    """

    def __init__(self) -> None:
        self._shared = METRICS_VARIABLE in os.environ
        registry = CollectorRegistry()
        if self._shared:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            # Of one worker out of several they would jump from scrape to scrape.
            ProcessCollector(registry=registry)
        self._registry = registry
        counted = None if self._shared else registry
        self.requests = Counter("ssept_requests", "Answers", ["route", "status"], registry=counted)
        self.seconds = Histogram(
            "ssept_request_seconds",
            "From a request's headers to its answer",
            ["route"],
            buckets=SECONDS,
            registry=counted,
        )
        self.refused = Counter(
            "ssept_refused", "Requests turned away", ["reason"], registry=counted
        )
        self.reloads = Counter("ssept_reloads", "Reloads", ["result"], registry=counted)
        self._rows = Histogram(
            "ssept_batch_sequences",
            "Sequences in a call",
            ["variant"],
            buckets=SIZES,
            registry=counted,
        )
        self._calls = Histogram(
            "ssept_call_seconds",
            "A call of a session",
            ["variant"],
            buckets=SECONDS,
            registry=counted,
        )
        # To find a counter by its labels takes longer than to count.
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: a path as it was declared, never as it was asked for: each is kept for good.
            status: of HTTP.
            seconds: from the request's headers to its answer.
        """
        key = route, status
        found = self._answers.get(key)
        if found is None:
            found = self.requests.labels(route, status), self.seconds.labels(route)
            self._answers[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def batches(self, variant: str) -> Callable[[Sequence[Job], float], None]:
        """Return a function that counts the batches of a variant."""
        rows, calls = self._rows.labels(variant), self._calls.labels(variant)

        def observe(jobs: Sequence[Job], seconds: float) -> None:
            rows.observe(sum(len(job.sequences) for job in jobs))
            calls.observe(seconds)

        return observe

    def register(self, collector: Collector) -> None:
        """Expose the metrics of a collector together with the counters."""
        self._registry.register(collector)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their media type, in the format that an Accept header prefers."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
