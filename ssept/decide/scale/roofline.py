"""The least time of a call: its work at the best rates that this machine has been seen to reach.

The roofline model: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance
Model for Multicore Architectures", Communications of the ACM 52(4), 2009.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssept.measure.calls import collection_off

FLOAT32, INT8 = "float32", "int8"
MEMORY, ARITHMETIC = "memory", "arithmetic"
LOOK_SECONDS = 0.1
LEAST_CALLS = 3
# A timed call reads at least this amount, so that the cost of calling NumPy does not count.
READ_AT_LEAST_BYTES = 64_000_000


@dataclass(frozen=True)
class Work:
    """What one call must do.

    Attributes:
        bytes: to read from memory or write to it.
        multiply_adds: to compute, by precision, FLOAT32 or INT8.
    """

    bytes: int
    multiply_adds: Mapping[str, int]


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second.

    Attributes:
        bytes: read.
        multiply_adds: computed, by precision.
    """

    bytes: float
    multiply_adds: Mapping[str, float]


@dataclass(frozen=True)
class LeastTime:
    """The two times of which a call takes the larger at least, in seconds."""

    memory_s: float
    arithmetic_s: float

    @property
    def seconds(self) -> float:
        """max(bytes / bandwidth, sum over precisions of multiply-adds / rate)."""
        return max(self.memory_s, self.arithmetic_s)

    @property
    def bound_by(self) -> str:
        """Which of the two it is, MEMORY or ARITHMETIC."""
        return MEMORY if self.memory_s > self.arithmetic_s else ARITHMETIC


def least_time(work: Work, rates: Rates) -> LeastTime:
    """Return the least time of some work, if reading and computing overlap and all else is free."""
    return LeastTime(
        work.bytes / rates.bytes,
        sum(count / rates.multiply_adds[name] for name, count in work.multiply_adds.items()),
    )


@dataclass(frozen=True)
class Product:
    """A matrix product to find a peak rate with.

    Attributes:
        precision: FLOAT32 or INT8.
        multiply_adds: of a call.
        call: computes it.
    """

    precision: str
    multiply_adds: int
    call: Callable[[], Any]


class Ceilings:
    """The best rates seen in several looks: noise only slows a machine down."""

    def __init__(
        self, products: Sequence[Product], sizes_bytes: Iterable[int], threads: int
    ) -> None:
        """Say what to look at.

        Args:
            products: of each precision some.
            sizes_bytes: of the buffers to read.
            threads: that read side by side; the products bring their own.
        """
        self._products = products
        self._threads = threads
        self._sizes = sorted(sizes_bytes)
        self._looks: list[dict[str | int, float]] = []

    def look(self) -> None:
        """Measure all rates: of each precision, and of each size."""
        found: dict[str | int, float] = {}
        for product in self._products:
            rate = product.multiply_adds / best_seconds(product.call)
            found[product.precision] = max(rate, found.get(product.precision, 0.0))
        for size in self._sizes:
            found[size] = read_bandwidth(size, self._threads)
        self._looks.append(found)

    def rates(self, size_bytes: int) -> Rates:
        """Return the rates for work of one of the sizes; a rate of a larger buffer counts too.

        Without that, noise would give models of nearly the same size different bandwidths.
        """
        precisions = {product.precision for product in self._products}
        return Rates(
            max(self._best(size) for size in self._sizes if size >= size_bytes),
            {precision: self._best(precision) for precision in precisions},
        )

    def spread(self) -> float:
        """Return by what share the best look was above the worst one, of the rate that varies most.

        The least times vary as much: a machine that was never quiet did not show its best.
        """
        names = self._looks[0]
        return max(self._best(name) / min(look[name] for look in self._looks) for name in names) - 1

    def _best(self, name: str | int) -> float:
        return max((look[name] for look in self._looks), default=0.0)


def read_bandwidth(size_bytes: int, threads: int = 1, seconds: float = LOOK_SECONDS) -> float:
    """Return the bytes a second at which a buffer is read again and again.

    So one that fits a cache is judged by the cache's bandwidth, as is a model that is called again
    and again, and a larger one by the memory's. Read is with NumPy's maximum of int32, the fastest
    of its reductions on an x86-64 CPU with AVX-512 from 0.5 MB to 200 MB.

    Args:
        size_bytes: of the buffer, at least 4.
        threads: which read a part each.
        seconds: to look for the best call in.
    """
    parts = [
        # Written to: fresh zeros of the system would all be the same page.
        np.ones(max(1, size_bytes // (threads * np.int32().itemsize)), np.int32)
        for _ in range(threads)
    ]
    buffer_bytes = sum(part.nbytes for part in parts)
    repeats = -(-READ_AT_LEAST_BYTES // buffer_bytes)
    # Views of the same memory, one above the other, so that one call of NumPy reads it often.
    views = [np.broadcast_to(part, (repeats, len(part))) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        best = best_seconds(lambda: list(pool.map(lambda view: view.max(axis=1), views)), seconds)
    return repeats * buffer_bytes / best


def best_seconds(call: Callable[[], Any], seconds: float = LOOK_SECONDS) -> float:
    """Return the shortest time of a call, from calls over a time and at least LEAST_CALLS.

    The shortest is right here: it shows what is possible.
    """
    call()
    best_ns, calls = 0, 0
    with collection_off():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or calls < LEAST_CALLS:
            start = time.perf_counter_ns()
            call()
            taken = time.perf_counter_ns() - start
            best_ns = min(best_ns, taken) if calls else taken
            calls += 1
    return best_ns / 1e9
