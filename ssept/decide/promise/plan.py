"""The plan of a promise's check, declared before a request is sent: its length and its errors."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from ssept.errors import LoadError

P99 = 0.99
MOST_SEARCHED = 100_000  # requests that the first look may need, whatever the level
MOST_REQUESTS = 100_000_000  # of a check: their times are kept


@dataclass(frozen=True, kw_only=True)
class PromisePlan:
    """What is promised, how long is measured, and how sure a verdict must be.

    The measured time is cut into *blocks*, long enough that a burst of other work is in one or two.
    At each *look* the requests so far are judged at `alpha / looks`. By Bonferroni, all looks
    together err with at most `alpha`, half of it on either side, whenever the measuring stops.

    Attributes:
        p99_ms: the promise: the 99th percentile of the latency is at most this.
        rate: requests a second at which it is made.
        seconds: the most that is measured, less each load's beginning, and the confirmation.
        max_failed: the share of requests that may fail.
        alpha: the probability of a wrong verdict: that a server which keeps its promise is called
            broken (half), and that one which breaks it is called kept (half).
        looks: the most that are taken.
        block_seconds: the length of a block.
        least_blocks: at the first look, and in the confirmation.
        warm_seconds: the beginning of each load that is not judged: its connections are new.
    """

    p99_ms: float
    rate: float
    seconds: float = 60.0
    max_failed: float = 0.0
    alpha: float = 0.01
    looks: int = 4
    block_seconds: float = 1.0
    least_blocks: int = 10
    warm_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a time in which no verdict can be reached.

        Raises:
            LoadError: it is too short, or far too many requests would be sent.
        """
        if self.rate * self.seconds > MOST_REQUESTS:
            raise LoadError(
                f"{self.seconds:g} s at {self.rate:g} requests a second are over "
                f"{MOST_REQUESTS:,} requests: reduce --seconds or --rate"
            )
        least = self.confirmation * self.block_seconds
        if self.seconds < least:
            raise LoadError(
                f"{self.seconds:g} s at {self.rate:g} requests a second are too short for a "
                f"verdict on p99, which needs {self.needed} requests or more, in "
                f"{self.least_blocks} blocks of {self.block_seconds:g} s or more: use "
                f"--seconds={math.ceil(least)} or more"
            )

    @property
    def tail(self) -> float:
        """The probability of an error to one side at one look."""
        return self.alpha / self.looks / 2

    @cached_property
    def needed(self) -> int:
        """The fewest requests that a look may have, so that one freak request does not decide.

        With this number even the second-slowest request is an upper bound of p99 at a look's
        confidence, if requests are independent: P(Binomial(n, 1 %) <= 1) <= tail.
        """
        numbers = np.arange(MOST_SEARCHED)
        return int(np.argmax(stats.binom.cdf(1, numbers, 1 - P99) <= self.tail))

    @cached_property
    def confirmation(self) -> int:
        """The number of fresh blocks that must agree before a promise is called broken.

        As many as the first look has: they hold the requests that are needed, and some for what
        the blocks do not show because they are few.
        """
        a_block = self.rate * self.block_seconds
        blocks = max(self.least_blocks, math.ceil(self.needed / a_block))
        while blocks * a_block * certainty(blocks, self.tail) < self.needed:
            blocks += 1
        return blocks

    @property
    def looks_at(self) -> tuple[int, ...]:
        """The number of blocks at each look: evenly spaced on a log scale up to `seconds`."""
        last = max(self.confirmation, int(self.seconds / self.block_seconds))
        steps = np.geomspace(self.confirmation, last, self.looks)
        return tuple(dict.fromkeys(round(step) for step in steps))


def certainty(blocks: int, tail: float) -> float:
    """Return the share of requests that counts where a variance is estimated from few blocks.

    As in a t interval: the squared ratio of the normal's and Student's quantiles.
    """
    return float((stats.norm.isf(tail) / stats.t.isf(tail, blocks - 1)) ** 2)
