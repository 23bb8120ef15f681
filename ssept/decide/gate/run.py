"""Times a suite of cells in passes of fresh worker processes, until each has its verdict."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssept.decide.gate.cells import Cell
from ssept.decide.gate.plan import Plan
from ssept.decide.gate.prepare import BASE, HEAD, ROLES, Prepared
from ssept.decide.gate.process import Pair, WorkerError
from ssept.decide.gate.verdict import Trials


@dataclass(frozen=True)
class Stretch:
    """The rounds of a cell in one pass.

    Attributes:
        log_ratio: their median of log(head / base).
        rounds: how many.
        base_ns, head_ns: the medians of each side's fastest call.
    """

    log_ratio: float
    rounds: int
    base_ns: float
    head_ns: float


class Timing:
    """The timing of a suite; `run` goes on until all cells are decided or the time is over.

    What was found so far is in `trials` and `stretches` also when `run` is interrupted.
    """

    def __init__(
        self,
        prepared: Prepared,
        cells: Sequence[Cell],
        tolerances: Mapping[str, float],
        plan: Plan,
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
        self.stretch_s: float | None = None
        self._calls: dict[str, int] = {}
        self._extra_work = extra_work or {}

    def run(self, after_pass: Callable[["Timing"], None] | None = None) -> None:
        """Measure.

        Args:
            after_pass: called after each pass, to show how far it is.
        """
        start = time.monotonic()
        budget_s = self.plan.seconds * len(self.cells)
        while self.trials.open:
            pass_start = time.monotonic()
            log_ratios = self._pass()
            self.passes += 1
            now = time.monotonic()
            over = now - start + (now - pass_start) > budget_s
            self.trials.after_pass(log_ratios, over and self.passes >= self.trials.looks_at[0])
            if after_pass:
                after_pass(self)

    def _pass(self) -> dict[str, float]:
        """A stretch of each open cell in fresh processes; its log ratio, by id.

        A cell at which a worker fails is not measured; the others go on in another pair.
        """
        measured: dict[str, float] = {}
        roles = ROLES if self.passes % 2 == 0 else ROLES[::-1]
        while todo := [
            cell for cell in self.cells if cell.id in self.trials.open and cell.id not in measured
        ]:
            with Pair({role: self.prepared.sides[role] for role in roles}) as pair:
                current = todo[0]
                try:
                    start = time.monotonic()
                    for current in todo:
                        self._load(pair, current)
                    if self.stretch_s is None:
                        loading_s = time.monotonic() - start
                        self.stretch_s = self.plan.stretch_s(len(self.cells), loading_s)
                    self._share_cpus(pair)
                    for current in todo:
                        stretch = self._stretch(pair, current, self.stretch_s)
                        self.stretches[current.id].append(stretch)
                        measured[current.id] = stretch.log_ratio
                except WorkerError as error:
                    self.trials.fail(current.id, str(error))
        return measured

    def _load(self, pair: Pair, cell: Cell) -> None:
        shares = {BASE: 0.0, HEAD: self._extra_work.get(cell.id, 0.0)}
        requests = {
            role: self.prepared.request(role, cell.variant, cell.provider)
            | {"cell": cell.id, "batch": cell.batch, "extra_work": shares[role]}
            for role in pair.workers
        }
        call_ns = 0.0
        for answer in pair.ask_both("load", self.plan.start_limit_s, requests).values():
            if isinstance(answer, WorkerError):
                raise answer
            call_ns = max(call_ns, answer["call_ns"])
        self._calls.setdefault(cell.id, self.plan.calls_of(call_ns))

    def _share_cpus(self, pair: Pair) -> None:
        """Pin both workers to the same CPUs, others in each pass.

        On CPUs of their own, one would meet other work that the other does not: on a 2-CPU virtual
        machine with other work, stretches of identical code had a standard deviation of 10 % (200
        µs calls), and 0.7 % on the same CPU.
        """
        cpus = sorted(os.sched_getaffinity(0))
        threads = self.prepared.threads
        if threads < len(cpus):
            first = self.passes * threads
            shared = {cpus[(first + number) % len(cpus)] for number in range(threads)}
            for worker in pair.workers.values():
                worker.pin(shared)

    def _stretch(self, pair: Pair, cell: Cell, seconds: float) -> Stretch:
        """Rounds of base and head by turns, in swapped order every round."""
        order = list(pair.workers)
        fastest: dict[str, list[int]] = {role: [] for role in order}
        end = time.monotonic() + seconds
        rounds = 0
        # An even number: each order as often as the other.
        while rounds < self.plan.least_rounds or rounds % 2 or time.monotonic() < end:
            for role in order:
                answer = pair.workers[role].ask(
                    "time", self.plan.call_limit_s, cell=cell.id, calls=self._calls[cell.id]
                )
                fastest[role].append(min(answer["ns"]))
            order.reverse()
            rounds += 1
        base, head = (np.array(fastest[role], dtype=np.float64) for role in ROLES)
        return Stretch(
            float(np.median(np.log(head / base))),
            rounds,
            float(np.median(base)),
            float(np.median(head)),
        )
