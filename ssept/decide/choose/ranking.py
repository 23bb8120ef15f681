"""The choice among candidates: what breaks a promise goes, what cannot be told apart is a tie."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ssept.decide.choose.candidates import SPEED_GOALS, TIE_BREAKS, Candidate, Goal, Promises
from ssept.providers import PROVIDERS
from ssept.variants import VARIANTS

# Exact figures that differ by no more than this are alike: a peak of memory varies by as much.
EQUAL = 0.02
Best = Callable[[Sequence[Candidate], Goal], list[Candidate]]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A choice, with what it rests on.

    Attributes:
        goal, promises: what was asked.
        ranked: the chosen one first, then those that tie with it, then the rest by the goal; last
            those that break a promise or could not be measured.
        tied: how many tie for the goal, the chosen one included, or are still in an unsettled race;
            0 if nothing keeps the promises.
        decided_by: what broke the tie; None without one, or if only the order of names did.
        settled: whether all others are known to be slower or equal; not so if the time was over.
        broken: the promises that a candidate surely breaks, by its name.
    """

    goal: Goal
    promises: Promises
    ranked: Sequence[Candidate]
    tied: int
    decided_by: Goal | None = None
    settled: bool = True
    broken: dict[str, list[str]] = field(default_factory=dict)

    @property
    def chosen(self) -> Candidate | None:
        """The one to deploy; None if nothing keeps the promises."""
        return self.ranked[0] if self.tied else None

    @property
    def nearest(self) -> Candidate | None:
        """Of what breaks a promise, the one that misses it by least; None if all were unmeasured.

        To be asked where nothing is chosen.
        """
        measured = [each for each in self.ranked if not each.problem]
        return min(measured, key=self.promises.excess, default=None)

    @property
    def unshown(self) -> list[str]:
        """The promises of the chosen one that the data do not show to be kept."""
        return self.promises.unshown_by(self.chosen) if self.chosen else []


def choose(
    candidates: Sequence[Candidate],
    goal: Goal,
    promises: Promises,
    *,
    survivors: Sequence[str] | None = None,
    settled: bool = True,
) -> Recommendation:
    """Choose among candidates whose figures are known.

    Args:
        candidates: with their figures; one without the goal's figure cannot be chosen.
        goal: what is best.
        promises: that must not be broken.
        survivors: names of those that a race for speed has left, which knows it better than the
            candidates' intervals do; None without a race.
        settled: see `Recommendation`; if not, the fastest of the survivors is first.
    """
    broken = {each.name: promises.broken_by(each) for each in candidates}
    raced = survivors or ()  # one that is alone in a race is not timed in it
    able = [
        each
        for each in candidates
        if not each.problem and not broken[each.name] and (each.merit(goal) or each.name in raced)
    ]

    def best(of: Sequence[Candidate], goal: Goal) -> list[Candidate]:
        if survivors is not None and goal in SPEED_GOALS:
            return [each for each in of if each.name in survivors]
        return leading(of, goal)

    order, decided_by = _ordered(best(able, goal), TIE_BREAKS[goal], best)
    if not settled:  # those that are left are not known to be equal: the fastest so far leads
        speed = next(each for each in (goal, *TIE_BREAKS[goal]) if each in SPEED_GOALS)
        order, decided_by = sorted(order, key=lambda each: -_value(each, speed)), None
    rest = sorted(
        (each for each in candidates if each not in order),
        key=lambda each: (each not in able, -_value(each, goal)),
    )
    return Recommendation(
        goal=goal,
        promises=promises,
        ranked=[*order, *rest],
        tied=len(order),
        decided_by=decided_by,
        settled=settled,
        broken={name: words for name, words in broken.items() if words},
    )


def leading(candidates: Sequence[Candidate], goal: Goal) -> list[Candidate]:
    """Return those that no other surely beats: their interval reaches the best one's.

    Intervals at 99 % that do not meet belong to one value in far fewer than 1 % of cases. Exact
    figures are alike within `EQUAL`.
    """
    merits = {each.name: each.merit(goal) for each in candidates}
    known = {name: merit for name, merit in merits.items() if merit}
    if not known:
        return [*candidates]
    best = max(known.values(), key=lambda merit: merit.value)
    reach = min(best.low, best.value / (1 + EQUAL)) if best.low == best.high else best.low
    return [each for each in candidates if (own := known.get(each.name)) and own.high >= reach]


def _ordered(
    tied: Sequence[Candidate], tie_breaks: Sequence[Goal], best: Best
) -> tuple[list[Candidate], Goal | None]:
    """Put the one that the next goals prefer first; with the goal that told it from the others."""
    left, decided_by = [*tied], None
    for goal in tie_breaks:
        if len(left) > 1 and all(each.merit(goal) for each in left):
            narrowed = best(left, goal)
            if len(narrowed) < len(left):
                left, decided_by = narrowed, goal
    left.sort(key=declared_place)
    first = left[:1]
    others = sorted((each for each in tied if each not in first), key=declared_place)
    return [*first, *others], decided_by if len(left) == 1 else None


def declared_place(candidate: Candidate) -> tuple[int, int, int, int, str]:
    """Return where a candidate stands in the order of variants and providers."""
    variant, provider = candidate.cell
    return (
        _place(variant, VARIANTS),
        _place(provider, PROVIDERS),
        candidate.threads,
        candidate.batch,
        candidate.server,
    )


def _place(name: str, names: Iterable[str]) -> int:
    """Return where a name stands; a run of another version may have one that is not there."""
    known = [*names]
    return known.index(name) if name in known else len(known)


def _value(candidate: Candidate, goal: Goal) -> float:
    merit = candidate.merit(goal)
    return merit.value if merit else 0.0
