"""The 99th percentile of latencies that depend on their neighbours, with its interval.

Nothing here measures: the latencies may come from anywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ssept.decide.promise.plan import P99, certainty
from ssept.estimate import Estimate
from ssept.measure.statistics import neighbours_factor
from ssept.metrics import FloatArray

# Each of the slowest requests may be an end of the interval; of faster ones every 50th part.
SLOWEST, STEP = 200, 1.02


@dataclass(frozen=True)
class Tail:
    """The 99th percentile of requests.

    Attributes:
        p99_ms: with its interval; an end is infinite where there are too few requests for it.
        requests: how many there are.
        worth: how many independent requests would say as much of it.
    """

    p99_ms: Estimate
    requests: int
    worth: int


def tail_of(blocks: Sequence[FloatArray], tail: float) -> Tail:
    """Estimate the 99th percentile of all requests.

    The interval is distribution-free, as that of order statistics is. It holds the times of which
    a test of proportions does not reject that 1 % of requests take longer (Clopper and Pearson,
    Biometrika 26, 1934). But slow requests come together, in a burst of other work or behind a full
    queue: the share of slow ones varies more from block to block than that of independent ones
    would. The factor is the design effect (Kish, Survey Sampling, 1965). The test takes the number
    of requests divided by it, the number of independent requests that would be as exact (Korn and
    Graubard, Survey Methodology 24, 1998).

    Args:
        blocks: the latencies of each block in ms, in the order of measuring; a request that failed
            is infinitely slow.
        tail: the probability that the percentile lies beyond an end of the interval.
    """
    pooled = np.sort(np.concatenate([np.empty(0), *blocks]))[::-1]  # the slowest first
    number = len(pooled)
    if not number:
        return Tail(Estimate(math.nan, -math.inf, math.inf), 0, 0)
    value = float(pooled[number - math.ceil(P99 * number)])
    times = pooled[_places(number)]
    ordered = [np.sort(block) for block in blocks]
    slow, others = _slow(ordered, times, tail, "right")  # that take longer
    is_above = stats.beta.sf(1 - P99, slow + 1, others) <= tail
    slow, others = _slow(ordered, times, tail, "left")  # that take as long, or longer
    is_below = stats.beta.cdf(1 - P99, slow, others + 1) <= tail
    # From either side, up to the first time that is not rejected.
    high = float(times[_leading(is_above) - 1]) if is_above[0] else math.inf
    low = float(times[-_leading(is_below[::-1])]) if is_below[-1] else -math.inf
    (slow,), (others,) = _slow(ordered, np.array([value]), tail, "right")
    return Tail(Estimate(value, min(low, value), max(high, value)), number, int(slow + others))


def _places(number: int) -> NDArray[np.int64]:
    """Return the places, from the slowest to the median, of times that may end the interval."""
    last = max(SLOWEST, number)
    faster = np.geomspace(SLOWEST, last, 1 + int(math.log(last, STEP)))
    places = np.unique(np.append(np.arange(SLOWEST), faster.astype(np.int64)))
    return places[places <= number // 2]


def _slow(
    ordered: Sequence[FloatArray], times: FloatArray, tail: float, side: Literal["left", "right"]
) -> tuple[FloatArray, FloatArray]:
    """Return how many independent requests that are slow, and how many others, say as much.

    Args:
        ordered: the latencies of each block, in their order.
        times: float64[n]; from each of them on a request is slow.
        tail: of the test.
        side: whether one of just that time is slow, as NumPy's searchsorted has it.
    """
    sizes = np.array([len(block) for block in ordered], np.float64)
    slow = np.stack([len(one) - np.searchsorted(one, times, side) for one in ordered], 1)
    number, count = sizes.sum(), len(ordered)
    share = slow.sum(axis=1) / number
    if count < 2:
        return np.zeros_like(share), np.zeros_like(share)
    unexpected = slow - share[:, None] * sizes
    independent = np.maximum(number * share * (1 - share), np.finfo(float).tiny)
    varies = count / (count - 1) * np.square(unexpected).sum(axis=1) / independent
    effect = np.maximum(1.0, varies * neighbours_factor(unexpected))
    worth = number / effect * certainty(count, tail)
    return share * worth, (1 - share) * worth


def _leading(true: NDArray[np.bool_]) -> int:
    """Return how many are true before the first that is not."""
    return len(true) if true.all() else int(np.argmin(true))
