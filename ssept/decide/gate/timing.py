"""Times a suite of cells in passes of fresh worker processes, until each has its verdict."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sequential_test import Trials
from ssept.decide.gate.workers.handle import WorkerError, WorkerPair
from ssept.decide.gate.workers.prepare import BASE, HEAD, ROLES, Prepared


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The rounds of a cell in one pass.

    Attributes:
        log_ratio: their median of log(head / base).
        rounds: how many.
        base_ns, head_ns: the medians of each side's fastest call.
        units: of extra work in each of the head's calls.
        calls_ns: all timed calls, int64[n] by role, in the order that they were taken.
    """

    log_ratio: float
    rounds: int
    base_ns: float
    head_ns: float
    units: int
    calls_ns: Mapping[str, NDArray[np.int64]] = field(repr=False, compare=False)


class Timing:
    """The timing of a suite; `run` goes on until all cells are decided or the time is over.

    What was found so far is in `trials` and `stretches` also when `run` is interrupted.
    """

    def __init__(
        self,
        prepared: Prepared,
        cells: Sequence[GateCell],
        tolerances: Mapping[str, float],
        plan: GatePlan,
        extra_work: Mapping[str, float] | None = None,
    ) -> None:
        """Declare what will be done.

        Args:
            prepared: with the models of all the cells' variants and providers.
            cells: the suite; a cell whose model could not be prepared is not measured.
            tolerances: how much slower a cell may be, as a share, by id.
            plan: how long, and how sure.
            extra_work: makes the head of a cell slower, by id: real work after each timed call,
                as a share of its time. For tests of the gate itself.
        """
        self.prepared, self.plan = prepared, plan
        self.cells = [cell for cell in cells if (cell.variant, cell.provider) in prepared.models]
        self.trials = Trials(plan, {cell.id: tolerances[cell.id] for cell in self.cells})
        self.stretches: dict[str, list[Stretch]] = {cell.id: [] for cell in self.cells}
        self.passes = 0
        self._calls: dict[str, int] = {}
        self._extra_work = extra_work or {}

    def run(self, after_pass: Callable[["Timing"], None] | None = None) -> None:
        """Measure all passes.

        Args:
            after_pass: called after each pass, to show how far it is.
        """
        start = time.monotonic()
        budget_s = self.plan.seconds * len(self.cells)
        first_look = self.trials.looks_at[0]
        while self.trials.open:
            pass_start = time.monotonic()
            before_look = first_look - self.passes
            left_s = budget_s - (pass_start - start)
            log_ratios = self._pass(left_s / before_look if before_look > 0 else math.inf)
            self.passes += 1
            now = time.monotonic()
            over = now - start + (now - pass_start) > budget_s
            self.trials.after_pass(log_ratios, over and self.passes >= first_look)
            if after_pass:
                after_pass(self)

    def _pass(self, pass_s: float) -> dict[str, float]:
        """Measure a stretch of each open cell in fresh processes; returns log ratios by id.

        A cell at which a worker fails is not measured; the others go on in another pair.

        Args:
            pass_s: how long it should take at most.
        """
        end = time.monotonic() + pass_s
        measured: dict[str, float] = {}
        roles = ROLES if self.passes % 2 == 0 else ROLES[::-1]
        while todo := [
            cell for cell in self.cells if cell.id in self.trials.open and cell.id not in measured
        ]:
            start = time.monotonic()
            with WorkerPair({role: self.prepared.sides[role] for role in roles}) as pair:
                current = todo[0]
                try:
                    units = {}
                    for current in todo:
                        units[current.id] = self._load(pair, current)
                    self._share_cpus(pair)
                    start_s = time.monotonic() - start
                    stretch_s = self.plan.stretch_s(len(todo), start_s, end - start)
                    for current in todo:
                        stretch = self._stretch(pair, current, stretch_s, units[current.id])
                        self.stretches[current.id].append(stretch)
                        measured[current.id] = stretch.log_ratio
                except WorkerError as error:
                    self.trials.fail(current.id, str(error))
        return measured

    def _load(self, pair: WorkerPair, cell: GateCell) -> int:
        """Make a cell ready on both sides; how many units of extra work the head's calls have."""
        shares = {BASE: 0.0, HEAD: self._extra_work.get(cell.id, 0.0)}
        requests = {
            role: self.prepared.request(role, cell.variant, cell.provider)
            | {"cell": cell.id, "batch": cell.batch, "extra_work": shares[role]}
            for role in pair.workers
        }
        answers = {}
        for role, answer in pair.ask_both("load", self.plan.start_limit_s, requests).items():
            if isinstance(answer, WorkerError):
                raise answer
            answers[role] = answer
        slowest_ns = max(answer["call_ns"] for answer in answers.values())
        self._calls.setdefault(cell.id, self.plan.calls_of(slowest_ns))
        return int(answers[HEAD]["units"])

    def _share_cpus(self, pair: WorkerPair) -> None:
        """Pin both workers to the same CPUs, others in each pass.

        On CPUs of their own, one would meet other work that the other does not: on a 2-CPU virtual
        machine with other work, stretches of identical code had a standard deviation of 10 % (200
        µs calls), and 0.7 % on the same CPU.
        """
        cpus = sorted(os.sched_getaffinity(0))
        threads = self.prepared.threads
        if threads < len(cpus):
            first = self.passes // 2 * threads  # of both start orders, each meets all CPUs
            shared = {cpus[(first + number) % len(cpus)] for number in range(threads)}
            for worker in pair.workers.values():
                worker.pin(shared)

    def _stretch(self, pair: WorkerPair, cell: GateCell, seconds: float, units: int) -> Stretch:
        """Measure rounds of base and head, in swapped order every round."""
        order = list(pair.workers)
        turns: dict[str, list[list[int]]] = {role: [] for role in order}
        end = time.monotonic() + seconds
        rounds = 0
        # An even number: each order as often as the other.
        while rounds < self.plan.least_rounds or rounds % 2 or time.monotonic() < end:
            for role in order:
                answer = pair.workers[role].ask(
                    "time", self.plan.call_limit_s, cell=cell.id, calls=self._calls[cell.id]
                )
                turns[role].append(answer["ns"])
            order.reverse()
            rounds += 1
        calls_ns = {role: np.array(turns[role], dtype=np.int64) for role in ROLES}
        base, head = (calls_ns[role].min(axis=1) for role in ROLES)
        return Stretch(
            log_ratio=float(np.median(np.log(head / base))),
            rounds=rounds,
            base_ns=float(np.median(base)),
            head_ns=float(np.median(head)),
            units=units,
            calls_ns={role: calls.ravel() for role, calls in calls_ns.items()},
        )
