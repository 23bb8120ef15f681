"""Servers compared: rounds in which each has its turn, until their rates are known well enough."""

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from ssept.decide.servers.staircase import LEAST_RATE
from ssept.decide.servers.turn import Contender, Turn, take_turn
from ssept.estimate import Estimate
from ssept.measure.latency import CONFIDENCE
from ssept.measure.statistics import hodges_lehmann

LEAST_ROUNDS = 8  # below that an interval at 99 % has no ends
PRECISION = 1.05  # of the rates: the end of an interval over its middle
UNIT = "round of starts of the servers"


class Comparison:
    """Servers that have their turns round by round, in a new order each time.

    Attributes:
        turns: so far.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        limit_ms: float,
        seconds: float,
        seed: int = 0,
        take: Callable[[Contender, int, float, float | None], Turn] = take_turn,
    ) -> None:
        """Prepare it.

        Args:
            contenders: the servers.
            limit_ms: of the 99th percentile.
            seconds: for all rounds, counted from the first one.
            seed: of the orders.
            take: takes a turn, see `take_turn`.
        """
        self.turns: list[Turn] = []
        self._contenders = contenders
        self._limit_ms = limit_ms
        self._seconds = seconds
        self._random = np.random.default_rng(seed)
        self._take = take
        self._begun: float | None = None
        self._longest = 0.0  # round

    def of(self, server: str) -> list[Turn]:
        """Return the turns of a server."""
        return [turn for turn in self.turns if turn.server == server]

    def enough(self) -> str:
        """Return why there is to be no further round; empty if there is to be one."""
        if self._begun is None:
            return ""
        if not any(turn.rate for turn in self.turns):
            return "no server carries any rate"
        if time.monotonic() - self._begun + self._longest > self._seconds:
            return f"a further round would end after the {self._seconds / 60:g} minutes"
        rates = [rate for each in self._contenders if (rate := carried(self.of(each.name)))]
        if all(_is_known(rate) for rate in rates):
            return f"the interval of every rate is within {PRECISION - 1:.0%}"
        return ""

    def round(self) -> list[Turn]:
        """Give each server its next turn; one that failed in its first turn has no other."""
        start = time.monotonic()
        self._begun = self._begun or start
        number = max((turn.round for turn in self.turns), default=-1) + 1
        taken = []
        for at in self._random.permutation(len(self._contenders)):
            contender = self._contenders[at]
            rates = [turn.rate for turn in self.of(contender.name)]
            if rates and not any(rates):
                continue
            known = [rate for rate in rates if rate]
            before = median(known) if known else None
            taken.append(self._take(contender, number, self._limit_ms, before))
        self.turns += taken
        self._longest = max(self._longest, time.monotonic() - start)
        return taken


def carried(turns: Sequence[Turn]) -> Estimate | None:
    """Estimate the rate of one server, requests a second; None if it carried none."""
    return _estimated([*_log_rates(turns).values()])


def ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> Estimate | None:
    """Estimate how many times as much a server carries as another; None without a common round."""
    own, rates = _log_rates(turns), _log_rates(others)
    return _estimated([own[number] - rates[number] for number in own if number in rates])


def _log_rates(turns: Sequence[Turn]) -> dict[int, float]:
    """Return the logarithms of the rates by round; none if no turn carried any.

    A turn that carried none has at most the least rate.
    """
    rates = {turn.round: turn.rate for turn in turns if turn.rate is not None}
    least = {number: math.log(max(rate, LEAST_RATE)) for number, rate in rates.items()}
    return least if any(rates.values()) else {}


def _estimated(logs: Sequence[float]) -> Estimate | None:
    return hodges_lehmann(np.array(logs), CONFIDENCE).map(math.exp) if logs else None


def _is_known(rate: Estimate) -> bool:
    return rate.high <= PRECISION * rate.value <= PRECISION**2 * rate.low
