"""What a report is made of: labelled runs, the question that was asked, measurements of scale."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ssept.decide.choose import Goal, Promises
from ssept.decide.compare.comparison import LABELS
from ssept.decide.journal import Record
from ssept.errors import SseptError, shortened
from ssept.estimate import Estimate
from ssept.report.text import NOTHING
from ssept.results.cells import Combination, MatrixRun, options_text
from ssept.results.machines import machine
from ssept.results.schema import LATENCY, Benchmark, Facts, Timed

Kind = TypeVar("Kind", bound=Facts)
WHOLE_FROM = 100  # numbers are written without a fraction


@dataclass(frozen=True)
class LabelledRun:
    """A run, its letter and the number of its machine in this report."""

    label: str
    machine: int
    run: MatrixRun

    def measured(self, kind: type[Kind], *measures: str) -> list[tuple[Benchmark, Kind]]:
        """Return the benchmarks with facts of a kind, only those of some measures if any is named.

        They are in the order of the run.
        """
        return [
            (each, each.extra_info)
            for each in self.run.benchmarks
            if isinstance(each.extra_info, kind)
            and (not measures or each.extra_info.measure in measures)
        ]

    @property
    def batches(self) -> list[int]:
        """The batch sizes whose latency was measured, smallest first."""
        return sorted({facts.batch for _, facts in self.measured(Timed, LATENCY)})


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report is made of.

    Attributes:
        runs: one at least.
        goal, promises, batch: the question that the recommendation answers.
        scale: records of `ssept scale`, of one machine and the same settings.
    """

    runs: Sequence[LabelledRun]
    goal: Goal = Goal.LATENCY
    promises: Promises = field(default_factory=Promises)
    batch: int = 1
    scale: Sequence[Record] = ()

    def heading(self, run: LabelledRun) -> str:
        """Return the heading of what is said of a run; empty where it is the only one."""
        if len(self.runs) == 1:
            return ""
        machine = f", machine {run.machine}" if self.several_machines else ""
        return f"Run {run.label}{machine}: {shortened(run.run.path.stem)}"

    @property
    def several_machines(self) -> bool:
        """Whether not all runs are of one machine."""
        return len({each.machine for each in self.runs}) > 1


def labelled(runs: Sequence[MatrixRun]) -> list[LabelledRun]:
    """Give each run a letter, and the same number to runs of the same machine.

    Raises:
        SseptError: there are more runs than letters.
    """
    if len(runs) > len(LABELS):
        raise SseptError(f"{len(runs)} runs: expected at most {len(LABELS)} in one report")
    machines: list[dict[str, str]] = []
    found = []
    for label, run in zip(LABELS, runs, strict=False):
        its = machine(run)
        # Of two that say nothing of their machines nobody knows whether they are the same.
        if not its or its not in machines:
            machines.append(its)
        number = len(machines) if not its else machines.index(its) + 1
        found.append(LabelledRun(label, number, run))
    return found


def cell_name(facts: Facts) -> str:
    """Name a cell as the tables do: "fused-cpu", and settings that are not the default."""
    return ", ".join([str(Combination(facts.variant, facts.provider)), *_settings(facts)])


def cell_label(facts: Facts) -> str:
    """Name a cell on two lines, as the plots do."""
    return f"{facts.variant}|{', '.join([facts.provider, *_settings(facts)])}"


def _settings(facts: Facts) -> list[str]:
    threads = f"threads {facts.threads}" if facts.threads != 1 else ""
    return [text for text in (threads, options_text(facts.options)) if text]


def number(value: float | None) -> str:
    """Write a number with three significant digits, or more before the point."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.3g}"


def interval(found: Estimate | None) -> str:
    """Write an estimate with both ends."""
    if found is None:
        return NOTHING
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
