"""Prometheus counters of a server process, or their sums over several workers."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ssept.serving.core.batcher import Job
from ssept.serving.core.worker_memory import WorkerMemory

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# A count by labels: the family's name and its labels, a line each, then the numbers. Those of a
# histogram are its buckets, and its sum in the end.
SERIES = np.dtype([("key", "S120"), ("values", np.float64, 17)])
KEY_BYTES = SERIES["key"].itemsize
MOST_SERIES = 1024  # labels are declared ones, never what a client sends
TELEMETRY_BYTES = MOST_SERIES * SERIES.itemsize
Sums = dict[tuple[str, ...], npt.NDArray[np.float64]]  # by the name and the labels


class Series:
    """A counter or a histogram with its labels, in the memory of this worker."""

    __slots__ = ("_buckets", "_values")

    def __init__(self, values: "memoryview[float]", buckets: Sequence[float]) -> None:
        self._values = values
        self._buckets = buckets

    def inc(self) -> None:
        """Count one."""
        self._values[0] += 1

    def observe(self, value: float) -> None:
        """Count a value in its bucket."""
        self._values[bisect_left(self._buckets, value)] += 1
        self._values[-1] += value


class Family:
    """A metric with several label values: a counter, or with buckets a histogram."""

    def __init__(
        self, table: "Table", name: str, about: str, label: Sequence[str], buckets: Sequence[float]
    ) -> None:
        self._table = table
        self._name, self._about, self._label = name, about, label
        self._buckets = buckets

    def labels(self, *values: object) -> Series:
        """Return the series with these values of the labels."""
        return Series(self._table.values(self._name, *map(str, values)), self._buckets)

    def metric(self, sums: Sums) -> Metric:
        """Return what is exposed, of the sums over all workers."""
        mine = [(labels, values) for (name, *labels), values in sums.items() if name == self._name]
        if not self._buckets:
            counter = CounterMetricFamily(self._name, self._about, labels=self._label)
            for labels, values in mine:
                counter.add_metric(labels, values[0])
            return counter
        histogram = HistogramMetricFamily(self._name, self._about, labels=self._label)
        names = [*map(floatToGoString, (*self._buckets, np.inf))]
        for labels, values in mine:
            counts = accumulate(values[: len(names)].tolist())
            histogram.add_metric(labels, [*zip(names, counts, strict=True)], values[-1])
        return histogram


class Table(Collector):
    """All series of the workers: each writes its own, and any sums those of all."""

    def __init__(self, memory: WorkerMemory) -> None:
        self._own, self._every = memory.take(SERIES, MOST_SERIES)
        # Those of a worker that has ended in this place are counted on.
        keys = self._every["key"][memory.place].tolist()
        self._places = {key: place for place, key in enumerate(keys) if key}
        self._families: list[Family] = []

    def family(self, name: str, about: str, *labels: str, buckets: Sequence[float] = ()) -> Family:
        """Declare a metric."""
        self._families.append(Family(self, name, about, labels, buckets))
        return self._families[-1]

    def values(self, *words: str) -> "memoryview[float]":
        """Return the numbers of a series in the memory of this worker."""
        key = "\n".join(words).encode()
        start = self._places.setdefault(key, len(self._places)) * SERIES.itemsize
        entry = self._own[start : start + SERIES.itemsize]
        entry[: len(key)] = key
        return entry[KEY_BYTES:].cast("d")

    def collect(self) -> Iterator[Metric]:
        """Yield the sums over all workers."""
        every = self._every[self._every["values"].any(axis=-1)]
        sums: Sums = {}
        for key, values in zip(every["key"].tolist(), every["values"], strict=True):
            words = tuple(key.decode().split("\n"))
            sums[words] = sums.get(words, 0) + values
        for family in self._families:
            yield family.metric(sums)


class Telemetry:
    """Counters, which several workers share in their memory.

    prometheus_client's own way to share them needs a folder, and a variable that may be another
    program's.

    Attributes:
        requests: answers by route and status.
        seconds: from a request's headers to its answer, by route.
        refused: requests turned away by reason.
        reloads: by result, "done" or "failed".
    """

    def __init__(self, memory: WorkerMemory) -> None:
        self._registry = CollectorRegistry()
        table = Table(memory)
        self.register(table)
        if memory.workers == 1:
            # Of one worker out of several they would jump from scrape to scrape.
            ProcessCollector(registry=self._registry)
        about = "From a request's headers to its answer"
        self.requests = table.family("ssept_requests", "Answers", "route", "status")
        self.seconds = table.family("ssept_request_seconds", about, "route", buckets=SECONDS)
        self.refused = table.family("ssept_refused", "Requests turned away", "reason")
        self.reloads = table.family("ssept_reloads", "Reloads", "result")
        self._rows = table.family(
            "ssept_batch_sequences", "Sequences in a call", "variant", buckets=SIZES
        )
        self._calls = table.family(
            "ssept_call_seconds", "A call of a session", "variant", buckets=SECONDS
        )
        # To find a series by its labels takes longer than to count.
        self._answers: dict[tuple[str, int], tuple[Series, Series]] = {}

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
