"""The plan of a gate, declared before anything is timed: its length and its error rates."""

import math
from dataclasses import dataclass

# Passes at the first look beyond the fewest that could reject at all: so that one stretch which a
# burst spoilt does not decide.
SLACK_PASSES = 2


@dataclass(frozen=True, kw_only=True)
class GatePlan:
    """How long is measured, and how sure a verdict must be.

    A *pass* starts a fresh pair of worker processes and gives each open cell one *stretch*: rounds
    in which base and head take turns, in swapped order every round. A stretch becomes one number,
    the median of its rounds' log ratios, so that a number represents one pair of processes:
    identical code differs between two processes by where its memory lies, and more calls in the
    same pair would narrow the interval around that difference, not around the code's (Kalibera
    and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013).

    At each *look* the passes so far are judged at `alpha / looks`. By Bonferroni, all looks
    together err with at most `alpha`, whenever the measuring stops.

    Attributes:
        alpha: the probability of a false alarm in the whole suite, and that a cell which is slower
            than its tolerance is called fine.
        looks: how many looks there are.
        growth: passes at a look, as a multiple of those at the one before.
        seconds: of timing, for each cell of the suite; the first look is always reached. Cells
            that are decided leave their time to the others.
        stretch_seconds: the length of a stretch; more where starting the processes takes longer
            than that for each cell, and less, but not below a quarter, where the first look would
            otherwise come too late.
        least_rounds: in a stretch, however long they take; even, so that both orders count alike.
        calls: the most timed calls of a side in a round, of which the fastest counts.
        turn_seconds: fewer calls where they would take longer: then turns change faster than what
            else the machine does.
        confirmation: further passes that must agree before a regression is called.
        prepare_limit_s, start_limit_s, call_limit_s: the longest waits for building and loading a
            model, for starting a worker or loading what is built, and for a turn.
    """

    alpha: float = 0.01
    looks: int = 5
    growth: float = 1.6
    seconds: float = 60.0
    stretch_seconds: float = 0.4
    least_rounds: int = 4
    calls: int = 3
    turn_seconds: float = 0.01
    confirmation: int = 6
    prepare_limit_s: float = 1800.0
    start_limit_s: float = 120.0
    call_limit_s: float = 60.0

    @property
    def level(self) -> float:
        """The probability of an error that one look may spend."""
        return self.alpha / self.looks

    def passes(self, cells: int) -> tuple[int, ...]:
        """Return the number of passes at each look, for a number of cells.

        n stretches that all lie on one side have a one-sided signed-rank p-value of 2^-n. At the
        first look that must be small enough for Holm's first step, `level / cells`, and for half
        the level of a two-sided interval.
        """
        first = math.ceil(math.log2(max(2, cells) / self.level)) + SLACK_PASSES
        return tuple(math.ceil(first * self.growth**look) for look in range(self.looks))

    def calls_of(self, call_ns: float) -> int:
        """Return the number of timed calls in a turn, for calls of this length."""
        return max(1, min(self.calls, int(self.turn_seconds * 1e9 / call_ns)))

    def stretch_s(self, cells: int, start_s: float, pass_s: float = math.inf) -> float:
        """Return the length of a stretch, in seconds.

        Args:
            cells: in this pass.
            start_s: what starting its pair and loading all cells took.
            pass_s: how long it may take in all.
        """
        worth_its_start = max(self.stretch_seconds, start_s / cells)
        in_time = (pass_s - start_s) / cells
        return max(self.stretch_seconds / 4, min(worth_its_start, in_time))
