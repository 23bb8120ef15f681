"""The rule of a race: which arms are surely slower than the leader, and when it is over.

A paired t race with an indifference zone, in the manner of F-race (Birattari and others, "A racing
algorithm for configuring metaheuristics", GECCO 2002). Nothing here measures.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from ssept.estimate import Estimate
from ssept.measure.statistics import neighbours_factor
from ssept.metrics import FloatArray

# Passes after which the arms are judged, each half as many again as the last.
LOOKS = (4, 6, 9, 14, 21, 32, 48, 72, 108, 112)
INDIFFERENCE = 0.02  # arms closer than this are equal
ERROR = 0.05  # the chance that the best arm is dropped, over all arms and looks


class Race:
    """Arms, each with a log speed in each pass that it took part in.

    At a look the leader is the arm with the largest mean. Another one is out if the interval of
    the leader's advantage over it, of the passes of both, lies above 0. The error is shared over
    looks and arms (Bonferroni). The race is over if one is left, or if all that are left are
    equal to the leader.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Start with all arms."""
        self._log_speeds: dict[str, dict[int, float]] = {name: {} for name in names}
        self._arms = len(self._log_speeds)
        self.alive = [*self._log_speeds]
        self.passes = 0
        self.equal = False

    @property
    def over(self) -> bool:
        """Whether the rest is equal, alone, or out of looks."""
        return self.equal or len(self.alive) <= 1 or self.passes >= LOOKS[-1]

    @property
    def settled(self) -> bool:
        """Whether all others are known to be slower or equal."""
        return self.equal or len(self.alive) <= 1

    @property
    def leader(self) -> str:
        """The fastest of those that are left."""
        return max(self.alive, key=lambda name: float(np.mean(self._values(name))))

    def fail(self, name: str) -> None:
        """Take out an arm that cannot be measured."""
        self.alive.remove(name)

    def after_pass(self, log_speeds: Mapping[str, float]) -> None:
        """Take a pass's log speeds, and judge the arms if it is the time of a look.

        Args:
            log_speeds: of the living arms, natural logarithms.
        """
        for name, value in log_speeds.items():
            self._log_speeds[name][self.passes] = value
        self.passes += 1
        if self.passes in LOOKS:
            self._look()

    def advantage(self, name: str) -> Estimate:
        """Return the leader's log speed less an arm's, with the interval of one look.

        It is infinite where they were in fewer than two passes together.
        """
        return self._ahead(self.leader, name)

    def _ahead(self, of: str, name: str) -> Estimate:
        leader, other = self._log_speeds[of], self._log_speeds[name]
        common = sorted(leader.keys() & other.keys())
        differences = np.array([leader[each] - other[each] for each in common])
        tail = ERROR / len(LOOKS) / max(1, self._arms - 1)
        return mean_of(differences, 1 - 2 * tail)

    def speed(self, name: str) -> Estimate | None:
        """Return an arm's speed with its 99 % interval; None if it was in no two passes."""
        found = mean_of(np.array(self._values(name)), 0.99)
        return found.map(math.exp) if math.isfinite(found.high) else None

    def _values(self, name: str) -> Sequence[float]:
        return [*self._log_speeds[name].values()] or [-math.inf]

    def _look(self) -> None:
        leader = self.leader
        others = {name: self._ahead(leader, name) for name in self.alive if name != leader}
        self.alive = [name for name in self.alive if name == leader or others[name].low <= 0]
        # An equal one may be up to the indifference zone slower.
        limit = math.log1p(INDIFFERENCE)
        self.equal = all(others[name].high <= limit for name in self.alive if name != leader)


def mean_of(values: FloatArray, confidence: float) -> Estimate:
    """Return the mean with its t interval, wider where neighbours are alike.

    Args:
        values: float64[n], in the order of measuring.
        confidence: of the two-sided interval.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return Estimate(float(np.mean(values)) if len(values) else 0.0, -math.inf, math.inf)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = _t_quantile((1 - confidence) / 2, len(values) - 1) * spread / math.sqrt(len(values))
    half *= math.sqrt(float(neighbours_factor(values)))
    return Estimate(mean, mean - half, mean + half)


@functools.cache  # it takes longer than all the rest of an interval
def _t_quantile(tail: float, degrees: int) -> float:
    return float(stats.t.isf(tail, degrees))
