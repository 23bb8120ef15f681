"""Two servers under the same load in turn, for a ratio of their speeds."""

import math
from collections.abc import Callable

STARTS = 3  # of the servers of a ratio: how fast one is, is also a matter of where its memory lies
PAIRS = 4  # of loads in each
UNIT = f"pair of loads, on servers started {STARTS} times"
Rate = Callable[[str], float]


def log_ratios(rate: Rate, first: str, second: str) -> list[float]:
    """Measure both servers of one start in `PAIRS` pairs, in swapped order each time.

    Args:
        rate: measures the answers per second of a server, by its name.
        first, second: their names.

    Returns:
        log(first / second) of each pair.
    """
    found = []
    for number in range(PAIRS):
        names = (first, second) if number % 2 else (second, first)
        rates = {name: rate(name) for name in names}
        found.append(math.log(rates[first] / rates[second]))
    return found
