"""Runs that choose by measuring: figures that need no timing first, then a race."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

from ssept.data.dataset import data_hash
from ssept.decide.choose.candidates import SPEED_GOALS, Candidate, Goal, Promises
from ssept.decide.choose.figures import (
    Progress,
    built_arms,
    ndcg_changes,
    peak_memory,
    per_user_ndcg,
)
from ssept.decide.choose.kept import Kept
from ssept.decide.choose.race import Timing
from ssept.decide.choose.ranking import Recommendation, choose, leading
from ssept.decide.choose.timing import Arm
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.results.cells import Combination
from ssept.variants import BASELINE

BASELINE_PROVIDER = "cpu"
BASELINE_CELL = Combination(BASELINE, BASELINE_PROVIDER)
SECONDS_PER_MINUTE = 60
ACCURACY, ACCURACY_OF_ALL, MEMORY = "accuracy", "accuracy of all users", "memory"


@dataclass(frozen=True, kw_only=True)
class ChoicePlan:
    """What is asked, and of which cells.

    Attributes:
        goal, promises: what is best, and what must be kept.
        checkpoint, data: the model, and the prepared data that it was trained on.
        variants, providers, threads, batches: the cells, all combinations that make sense.
        users: for how many to rank, None for all; for all where that many do not show whether the
            chosen cell keeps its promise.
        minutes: after which the race is stopped.
        journal: the file that keeps what is measured.
    """

    goal: Goal
    promises: Promises
    checkpoint: Path
    data: Path
    variants: Sequence[str]
    providers: Sequence[str]
    threads: Sequence[int]
    batches: Sequence[int]
    users: int | None
    minutes: float
    journal: Path


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recommendation by measuring.

    Attributes:
        recommendation: of all candidates that were looked at.
        left_out: why others were not, by the variant, the provider or the cell.
        passes: of the race.
        seconds: that all of it took, without what was kept from earlier.
    """

    recommendation: Recommendation
    left_out: Mapping[str, str]
    passes: int
    seconds: float


def run_choice(plan: ChoicePlan, progress: Progress) -> Choice:
    """Choose, measuring what the journal does not have yet.

    Args:
        plan: what to choose.
        progress: called with what is done, how far it is and how far it goes.

    Raises:
        SseptError: the baseline cannot be measured, or the journal is damaged.
    """
    arms, left_out = built_arms(
        plan.checkpoint,
        plan.data,
        [*dict.fromkeys([BASELINE, *plan.variants])],
        [*dict.fromkeys([BASELINE_PROVIDER, *plan.providers])],
        [(threads, batch) for threads in plan.threads for batch in plan.batches],
        progress,
    )
    start = time.monotonic()
    chooser = _Chooser(plan, arms, _baseline(arms, left_out), progress)
    recommendation = chooser.choose()
    return Choice(
        recommendation=recommendation,
        left_out=left_out,
        passes=chooser.passes,
        seconds=time.monotonic() - start,
    )


def _baseline(arms: Sequence[Arm], left_out: Mapping[str, str]) -> Arm:
    """Return the baseline with the fewest threads; of several batch sizes, at the largest."""
    found = [arm for arm in arms if arm.cell == BASELINE_CELL]
    if found:
        return min(found, key=lambda arm: (arm.threads, -arm.batch))
    why = left_out.get(BASELINE) or left_out.get(BASELINE_PROVIDER)
    raise SseptError(f"the baseline, {BASELINE_CELL}, cannot be measured: {why}")


class _Chooser:
    """The candidates of a plan, which get their figures step by step."""

    def __init__(
        self, plan: ChoicePlan, arms: Sequence[Arm], baseline: Arm, progress: Progress
    ) -> None:
        self._plan, self._progress = plan, progress
        self._arms = {arm.name: arm for arm in arms}
        self._baseline = baseline
        self._candidates = {
            arm.name: Candidate(
                cell=arm.cell,
                threads=arm.threads,
                batch=arm.batch,
                size_bytes=arm.artifact.size_bytes,
            )
            for arm in arms
        }
        files = {str(arm.cell): arm.artifact.sha256 for arm in arms}
        about = {"files": files, "data_hash": data_hash(plan.data), "users": plan.users}
        self._kept = Kept(plan.journal, about)
        asked = {"goal": plan.goal.value, "promises": asdict(plan.promises)}
        self._timing = Timing(
            arms,
            baseline,
            Kept(plan.journal, about | asked | {"arms": [*self._arms]}),
            plan.minutes * SECONDS_PER_MINUTE,
            progress,
        )
        self._survivors: list[str] | None = None
        self.passes = 0

    def choose(self) -> Recommendation:
        """Take out what breaks a promise, race the rest, and confirm the best."""
        goal, promises = self._plan.goal, self._plan.promises
        self._add_accuracy()
        if goal is Goal.MEMORY or promises.max_memory_mb is not None:
            self._add_memory(self._able())
        while True:
            before = self._able()
            found = self._raced()
            if not found.chosen:
                if len(self._able()) in (0, len(before)):
                    return found
                continue  # all that the race left break a promise: race the others
            self._add_memory(found.ranked[: found.tied])
            found = self._ranked(found.settled)
            assert found.chosen
            if not self._accurate(found.chosen):
                continue
            chosen = self._candidates[found.chosen.name]
            confirmed = self._timing.confirm(chosen, promises.p99_ms is not None)
            self._candidates[confirmed.name] = confirmed
            if not confirmed.problem and not promises.broken_by(confirmed):
                return self._ranked(found.settled)
            if self._timing.over:  # the next best was never confirmed
                return self._ranked(settled=False)

    def _able(self) -> list[Candidate]:
        """Return the candidates that break no promise, as far as is known."""
        return [
            each
            for each in self._candidates.values()
            if not each.problem and not self._plan.promises.broken_by(each)
        ]

    def _raced(self) -> Recommendation:
        goal = self._plan.goal
        able = self._able()
        racing = able if goal in SPEED_GOALS else leading(able, goal)
        if not racing:
            return choose([*self._candidates.values()], goal, self._plan.promises)
        per_core = goal is Goal.COST
        race, failed = self._timing.race([each.name for each in racing], per_core)
        self.passes = race.passes
        self._survivors = race.alive
        for name, why in failed.items():
            self._set(name, problem=why)
        for each in racing:
            if each.rate is None and (speed := race.speed(each.name)):
                cores = each.threads if per_core else 1
                rate = speed.map(partial(mul, cores))
                self._set(each.name, rate=rate, p50_ms=self._timing.p50_ms(each.name))
        return self._ranked(race.settled)

    def _ranked(self, settled: bool) -> Recommendation:
        return choose(
            [*self._candidates.values()],
            self._plan.goal,
            self._plan.promises,
            survivors=self._survivors,
            settled=settled,
        )

    def _add_accuracy(self) -> None:
        kept = {record["cell"]: record for record in self._kept.all(ACCURACY)}
        if not kept:
            plan = self._plan
            found = per_user_ndcg([*self._arms.values()], plan.data, plan.users, self._progress)
            changes = ndcg_changes(found, self._baseline.cell)
            for cell, values in found.items():
                if isinstance(values, SseptError):
                    self._kept.add(ACCURACY, cell=str(cell), problem=str(values))
                    continue
                self._kept.add(
                    ACCURACY,
                    cell=str(cell),
                    ndcg=float(values.mean()),
                    users=len(values),
                    change=asdict(changes[cell]),
                )
            kept = {record["cell"]: record for record in self._kept.all(ACCURACY)}
        for name, candidate in self._candidates.items():
            record = kept[str(candidate.cell)]
            if "problem" in record:
                self._set(name, problem=record["problem"])
            else:
                self._set(name, ndcg_change=Estimate(**record["change"]))

    def _accurate(self, chosen: Candidate) -> bool:
        """Return whether one keeps the promised accuracy, for all users if fewer do not show it."""
        promise = Promises(max_accuracy_loss=self._plan.promises.max_accuracy_loss)
        if self._plan.users is None or not promise.unshown_by(chosen):
            return True
        kept = {record["cell"]: record["change"] for record in self._kept.all(ACCURACY_OF_ALL)}
        cell = str(chosen.cell)
        if cell not in kept:
            arms = [self._baseline, self._arms[chosen.name]]
            found = per_user_ndcg(arms, self._plan.data, None, self._progress)
            if isinstance(why := found[chosen.cell], SseptError):
                self._set(chosen.name, problem=str(why))
                return False
            kept[cell] = asdict(ndcg_changes(found, self._baseline.cell)[chosen.cell])
            self._kept.add(ACCURACY_OF_ALL, cell=cell, change=kept[cell])
        self._set(chosen.name, ndcg_change=Estimate(**kept[cell]))
        return not promise.broken_by(self._candidates[chosen.name])

    def _add_memory(self, candidates: Sequence[Candidate]) -> None:
        kept = {record["cell"]: record["bytes"] for record in self._kept.all(MEMORY)}
        missing = [
            self._arms[each.name]
            for each in candidates
            if each.memory_bytes is None and each.name not in kept
        ]
        for name, found in peak_memory(missing, self._progress).items():
            if isinstance(found, SseptError):
                self._set(name, problem=str(found))
            else:
                self._kept.add(MEMORY, cell=name, bytes=found)
                kept[name] = found
        for each in candidates:
            if each.name in kept:
                self._set(each.name, memory_bytes=kept[each.name])

    def _set(self, name: str, **figures: Any) -> None:
        self._candidates[name] = replace(self._candidates[name], **figures)
