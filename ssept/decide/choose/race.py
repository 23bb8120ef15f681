"""The timing of a race: passes over the arms that are left, each in a fresh process."""

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssept.decide.choose.candidates import Candidate
from ssept.decide.choose.figures import Progress
from ssept.decide.choose.kept import Kept
from ssept.decide.choose.process import FreshProcess
from ssept.decide.choose.rule import LOOKS, Race
from ssept.decide.choose.timing import LEAST_CALLS, Arm, Timed, timed
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.measure.statistics import MINIMUM_SAMPLES, hodges_lehmann, percentile

GROUP = 4  # arms that are timed in turn, so that all that are left in the end are
ARM_SECONDS = 0.15  # of an arm's calls in a pass, at least
PASS_SECONDS = 0.6  # of all calls of a pass, at least: to start its process takes as long
CONFIRMATION_PASSES = 14
CONFIRMATION_SHARE = 0.15  # of the time, for the confirmation
MS_PER_S = 1e3
PASS, CONFIRMED = "pass", "confirmed"


@dataclass(frozen=True)
class Outcome:
    """What a pass showed: log speeds, calls with their median, and errors, by the arms' names."""

    log_speeds: Mapping[str, float]
    p50_ms: Mapping[str, float]
    calls_ms: Mapping[str, list[float]]
    failed: Mapping[str, str]


class Timing:
    """Races of arms, within a time for all of them together."""

    def __init__(
        self, arms: Sequence[Arm], baseline: Arm, kept: Kept, seconds: float, progress: Progress
    ) -> None:
        """Begin the time.

        Args:
            arms: all that may race.
            baseline: what speeds are relative to.
            kept: what is known of earlier runs; gets what is measured.
            seconds: in all.
            progress: as `run_choice` takes it.
        """
        self._arms = {arm.name: arm for arm in arms}
        self._baseline, self._kept = baseline, kept
        self._seconds, self._progress = seconds, progress
        self._start = time.monotonic()

    def race(self, names: Sequence[str], per_core: bool = False) -> tuple[Race, dict[str, str]]:
        """Race arms until the rule is done or the time is over.

        Args:
            names: of the arms.
            per_core: whether the speed for each thread counts.

        Returns:
            The race, and why arms could not be timed, by name.
        """
        race, failed = Race(names), dict[str, str]()
        for record in self._kept.all(PASS):
            kept = Outcome(record["log_speeds"], record["p50_ms"], {}, record["failed"])
            self._take(race, kept, failed, per_core)
        limit = self._seconds * (1 - CONFIRMATION_SHARE)
        while not race.over and (self._elapsed() < limit or race.passes < LOOKS[0]):
            self._tell(f"pass {race.passes + 1}: {len(race.alive)} of {len(names)} cells left")
            found = self.one_pass([self._arms[name] for name in race.alive], LEAST_CALLS)
            self._kept.add(
                PASS,
                log_speeds=dict(found.log_speeds),
                p50_ms=dict(found.p50_ms),
                failed=dict(found.failed),
            )
            self._take(race, found, failed, per_core)
        return race, failed

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._elapsed() > self._seconds

    def p50_ms(self, name: str) -> Estimate | None:
        """Return the median call of an arm, between the medians of its fastest and slowest pass."""
        kept = [record["p50_ms"] for record in self._kept.all(PASS)]
        medians = [one[name] for one in kept if name in one]
        if not medians:
            return None
        return Estimate(float(np.median(medians)), min(medians), max(medians))

    def confirm(self, candidate: Candidate, with_p99: bool) -> Candidate:
        """Time one alone in fresh passes; return it with the figures of these only.

        Args:
            candidate: a cell.
            with_p99: whether to time as many calls as a p99 needs.
        """
        name = candidate.name
        calls = math.ceil(MINIMUM_SAMPLES[99] / CONFIRMATION_PASSES) if with_p99 else LEAST_CALLS
        kept = [
            record
            for record in self._kept.all(CONFIRMED)
            if record["cell"] == name and (record["least_calls"] >= calls)
        ]
        for number in range(len(kept), CONFIRMATION_PASSES):
            self._tell(f"confirming {name}: {number + 1} of {CONFIRMATION_PASSES}")
            found = self.one_pass([self._arms[name]], calls)
            if name in found.failed:
                return replace(candidate, problem=found.failed[name])
            record = {
                "cell": name,
                "least_calls": calls,
                "log_speed": found.log_speeds[name],
                "calls_ms": [float(f"{ms:.6g}") for ms in found.calls_ms[name]],
            }
            self._kept.add(CONFIRMED, **record)
            kept.append(record)
        calls_ms = [np.array(record["calls_ms"]) for record in kept]
        medians = np.array([np.median(each) for each in calls_ms])
        p50 = hodges_lehmann(medians)
        return replace(
            candidate,
            rate=hodges_lehmann(np.array([record["log_speed"] for record in kept])).map(math.exp),
            p50_ms=p50,
            p99_ms=percentile(np.concatenate(calls_ms), 99),
            fps=candidate.batch * MS_PER_S / p50.value,
        )

    def _take(self, race: Race, found: Outcome, failed: dict[str, str], per_core: bool) -> None:
        """Hand a pass to the rule; those that are out already do not count."""
        for name, why in found.failed.items():
            if name in race.alive:
                race.fail(name)
                failed[name] = why
        race.after_pass(
            {
                name: value - (math.log(self._arms[name].threads) if per_core else 0.0)
                for name, value in found.log_speeds.items()
                if name in race.alive
            }
        )

    def one_pass(self, arms: Sequence[Arm], least_calls: int) -> Outcome:
        """Time arms in groups, in a fresh process; in another one after it has died."""
        order = random.sample(arms, len(arms))
        seconds = max(ARM_SECONDS, PASS_SECONDS / len(arms))
        waiting = [order[at : at + GROUP] for at in range(0, len(order), GROUP)]
        times: dict[str, Timed] = {}
        failed: dict[str, str] = {}
        while waiting:
            with FreshProcess() as process:
                while waiting:
                    group = waiting.pop(0)
                    try:
                        found = process.ask(
                            timed, group, self._baseline, seconds * len(group), least_calls
                        )
                    except SseptError as error:
                        if len(group) == 1:
                            failed[group[0].name] = str(error)
                        waiting += [[arm] for arm in group if len(group) > 1]
                        break
                    for name, one in found.items():
                        if isinstance(one, SseptError):
                            failed[name] = str(one)
                        else:
                            times[name] = one
        return Outcome(
            {name: one.log_speed for name, one in times.items()},
            {name: float(np.median(one.calls_ms)) for name, one in times.items()},
            {name: one.calls_ms for name, one in times.items()},
            failed,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _tell(self, what: str) -> None:
        whole = round(self._seconds)
        self._progress(what, min(round(self._elapsed()), whole), whole)
