"""Servers compared: rounds in which each has its turn, until their rates are known well enough."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from ssept.decide.servers.threshold import LEAST_ROUNDS, Loads, rate_of, ratio_of
from ssept.decide.servers.turn import Contender, Turn, take_turn
from ssept.estimate import Estimate

PRECISION = 1.05  # of the rates: the end of an interval over its middle
UNIT = "round of starts of the servers"
TRIES = 2  # turns without a kept load, after which a server has no other


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
        control: str = "",
        take: Callable[[Contender, int, float, float | None], Turn] = take_turn,
    ) -> None:
        """Prepare it.

        Args:
            contenders: the servers.
            limit_ms: of the 99th percentile.
            seconds: for all rounds, counted from the first one.
            seed: of the orders.
            control: the name of a server without a model, which is never the fastest.
            take: takes a turn, see `take_turn`.
        """
        self.turns: list[Turn] = []
        self._contenders = contenders
        self._models = [each.name for each in contenders if each.name != control]
        self._limit_ms = limit_ms
        self._seconds = seconds
        self._random = np.random.default_rng(seed)
        self._take = take
        self._begun: float | None = None
        self._rounds_s: list[float] = []

    def go_on(self, rounds: Sequence[tuple[Sequence[Turn], float]]) -> None:
        """Take over what was measured before an interruption.

        Args:
            rounds: of each round its turns, and how many seconds it took.
        """
        for turns, seconds in rounds:
            self._random.permutation(len(self._contenders))  # whose order it had
            self.turns += turns
            self._rounds_s.append(seconds)
        if rounds:
            self._begun = time.monotonic() - sum(self._rounds_s)

    def of(self, server: str) -> list[Turn]:
        """Return the turns of a server."""
        return [turn for turn in self.turns if turn.server == server]

    def left_s(self) -> float:
        """Return how many of the seconds for all rounds are left."""
        begun = time.monotonic() if self._begun is None else self._begun
        return max(0.0, self._seconds - (time.monotonic() - begun))

    def fastest(self) -> str:
        """Return the name of the server that carries most so far; empty if none does any."""
        rates = {name: rate for name in self._models if (rate := carried(self.of(name)))}
        return max(rates, key=lambda name: rates[name].value, default="")

    def enough(self) -> str:
        """Return why there is to be no further round; empty if there is to be one."""
        if self._begun is None:
            return ""
        rates = [rate for name in self._models if (rate := carried(self.of(name)))]
        if not any(_has_another(self.of(name)) for name in self._models):
            return f"no server keeps p99 within {self._limit_ms:g} ms at any rate: raise --p99-ms"
        # The first round holds the searches too.
        longest = max(self._rounds_s[1:] or self._rounds_s)
        if time.monotonic() - self._begun + longest > self._seconds:
            why = f"a further round would end after the {self._seconds / 60:g} minutes"
            few = len(self._rounds_s) < LEAST_ROUNDS
            return f"{why}; intervals need {LEAST_ROUNDS} rounds" if few else why
        if rates and all(map(_is_known, rates)):
            return f"the interval of every rate is within {PRECISION - 1:.0%}"
        return ""

    def round(self) -> list[Turn]:
        """Give each server its next turn; one that failed at first or kept nothing has no other."""
        start = time.monotonic()
        self._begun = self._begun or start
        number = max((turn.round for turn in self.turns), default=-1) + 1
        taken = []
        for at in self._random.permutation(len(self._contenders)):
            contender = self._contenders[at]
            turns = self.of(contender.name)
            if not _has_another(turns):
                continue
            rate = carried(turns)
            before = rate.value if rate else None
            taken.append(self._take(contender, number, self._limit_ms, before))
        self.turns += taken
        self._rounds_s.append(time.monotonic() - start)
        return taken


def carried(turns: Sequence[Turn]) -> Estimate | None:
    """Estimate the rate of one server, requests a second; None if it carried none."""
    loads = _loads(turns)
    return rate_of([*loads.values()]) if loads else None


def ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> Estimate | None:
    """Estimate how many times as much a server carries as another; None without a common round."""
    own, other = _loads(turns), _loads(others)
    common = [number for number in own if number in other]
    if not common:
        return None
    return ratio_of([own[number] for number in common], [other[number] for number in common])


def _has_another(turns: Sequence[Turn]) -> bool:
    """Return whether a server is to have a further turn."""
    rates = [turn.rate for turn in turns]
    return any(rates) or (None not in rates and len(rates) < TRIES)


def _loads(turns: Sequence[Turn]) -> dict[int, Loads]:
    """Return the loads of each round without a fault; none if no load was kept."""
    good: dict[int, Loads] = {turn.round: turn.outcomes for turn in turns if turn.rate is not None}
    return good if any(turn.rate for turn in turns) else {}


def _is_known(rate: Estimate) -> bool:
    return rate.high <= PRECISION * rate.value <= PRECISION**2 * rate.low
