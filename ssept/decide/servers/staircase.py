"""The rate at which a server keeps a promise: a weighted up-down staircase of short loads."""

from collections.abc import Callable

# After a load that kept the promise the rate rises by 2.5 %, after any other it falls by four
# such steps, so that it moves about the rate at which 4 of 5 loads keep it (Kaernbach, "Simple
# adaptive testing with the weighted up-down method", Perception & Psychophysics 49, 1991).
UP = 1.025
DOWN = UP**4
FIRST_UP = 1.05  # until a load has not kept it: the server may be faster than it was
COARSE = 2.0  # while nothing is known of a server
FINE = 1.1  # how near the search ends
LEAST_RATE = 50.0  # requests a second: p99 of less takes too long, and so counts as none

Kept = Callable[[float], bool]  # makes a load of this rate; whether it kept the promise


def bracket(kept: Kept, start: float) -> float:
    """Find about where a server that nothing is known of breaks the promise.

    Args:
        kept: makes a load.
        start: the rate of the first one, requests a second.

    Returns:
        A rate that was kept, next to one that was not; 0 if none was.
    """

    def holds(rate: float) -> bool:
        return kept(rate) or kept(rate)  # once may be a pause of the machine's

    rate = start
    if holds(rate):
        while holds(rate * COARSE):
            rate *= COARSE
    else:
        while True:
            rate /= COARSE
            if rate < LEAST_RATE:
                return 0.0
            if holds(rate):
                break
    factor = COARSE
    while factor > FINE:
        factor **= 0.5
        if holds(rate * factor):
            rate *= factor
    return rate


def staircase(kept: Kept, start: float, loads: int) -> list[float]:
    """Move the rate about the one at which 4 of 5 loads keep the promise.

    Args:
        kept: makes a load.
        start: the rate of the first one.
        loads: how many.

    Returns:
        The rate of each load, and the rate that a further one would have had; fewer where that is
        below the least.
    """
    rates, up = [start], FIRST_UP
    for _ in range(loads):
        if rates[-1] < LEAST_RATE:
            break
        if kept(rates[-1]):
            rates.append(rates[-1] * up)
        else:
            up = UP
            rates.append(rates[-1] / DOWN)
    return rates
