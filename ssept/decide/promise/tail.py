"""The 99th percentile of latencies that depend on their neighbours, with its interval.

Nothing here measures: the latencies may come from anywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssept.decide.promise.plan import P99
from ssept.estimate import Estimate
from ssept.measure.statistics import neighbours_factor
from ssept.metrics import FloatArray


@dataclass(frozen=True)
class Tail:
    """The 99th percentile of requests.

    Attributes:
        p99_ms: with its interval; an end is infinite where there are too few requests for it.
        requests: how many there are.
        worth: how many independent requests would say as much.
    """

    p99_ms: Estimate
    requests: int
    worth: int


def tail_of(blocks: Sequence[FloatArray], tail: float) -> Tail:
    """Estimate the 99th percentile of all requests.

    The interval is that of order statistics, distribution-free: the number of n independent
    requests below the percentile is Binomial(n, 99 %) (Conover, Practical Nonparametric
    Statistics, 3rd edition, section 3.2). But slow requests come together, in a burst of other work
    or behind a full queue, so n is not their number but how many independent ones they are worth:
    their number divided by the design effect, which is how much more the share of slow requests
    varies from block to block than that of independent ones would (Kish, Survey Sampling, 1965;
    for intervals of proportions Korn and Graubard, Survey Methodology 24, 1998).

    Args:
        blocks: the latencies of each block in ms, in the order of measuring; a request that failed
            is infinitely slow.
        tail: the probability that the percentile lies beyond an end of the interval.
    """
    pooled = np.sort(np.concatenate([np.empty(0), *blocks]))
    number = len(pooled)
    if not number:
        return Tail(Estimate(math.nan, -math.inf, math.inf), 0, 0)
    value = float(pooled[math.ceil(P99 * number) - 1])
    worth = _worth(blocks, value, tail)
    low = int(stats.binom.ppf(tail, worth, P99)) if worth else 0
    high = int(stats.binom.isf(tail, worth, P99)) + 1 if worth else 1
    # These are places among `worth` requests; there are more.
    return Tail(
        Estimate(
            value,
            float(pooled[low * number // worth - 1]) if low else -math.inf,
            float(pooled[math.ceil(high * number / worth) - 1]) if high <= worth else math.inf,
        ),
        number,
        worth,
    )


def _worth(blocks: Sequence[FloatArray], value: float, tail: float) -> int:
    """Return how many independent requests say as much of which share lies above a value.

    A variance that is estimated from few blocks is uncertain: as in a t interval, the number is
    lowered by the squared ratio of the normal's and Student's quantiles.
    """
    if len(blocks) < 2:
        return 0
    sizes = np.array([len(block) for block in blocks], np.float64)
    slow = np.array([np.count_nonzero(block > value) for block in blocks], np.float64)
    number, count = sizes.sum(), len(blocks)
    share = slow.sum() / number
    effect = 1.0
    if share:
        unexpected = slow - share * sizes
        independent = number * share * (1 - share)
        varies = count / (count - 1) * float(np.square(unexpected).sum()) / independent
        effect = max(1.0, varies * neighbours_factor(unexpected))
    few = (stats.norm.isf(tail) / stats.t.isf(tail, count - 1)) ** 2
    return int(number / effect * few)
