"""The choice over several machines: the best cell of each, and one cell that is good on all."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssept.decide.choose.candidates import Candidate, Goal, Promises
from ssept.decide.choose.ranking import Recommendation
from ssept.decide.choose.saved import recommend
from ssept.errors import SseptError
from ssept.files.toml import read_toml
from ssept.results.cells import MatrixRun
from ssept.results.machines import cpus, machine

SECONDS_PER_HOUR, MILLION = 3600, 1e6


@dataclass(frozen=True, kw_only=True)
class OnMachine:
    """A run, what it recommends, and what its machine costs an hour; None without a price."""

    run: MatrixRun
    found: Recommendation
    price: float | None = None

    @property
    def able(self) -> dict[str, Candidate]:
        """The candidates that keep the promises and have a figure for the goal, by their names."""
        return {
            each.name: each
            for each in self.found.ranked
            if not each.problem
            and each.name not in self.found.broken
            and each.merit(self.found.goal)
        }

    @property
    def name(self) -> str:
        """The machine, by its CPU."""
        known = machine(self.run)
        names = [known.get("host"), known.get("cpu", "unknown CPU")]
        count = known.get("cpus_allowed", "unknown")
        return f"{', '.join(filter(None, names))}, {count} {'CPU' if count == '1' else 'CPUs'}"

    def cost_per_million(self, candidate: Candidate) -> float | None:
        """Return what a million sequences cost, if all CPUs make such calls, each as fast as alone.

        None without a price, a speed or the number of CPUs.
        """
        count = cpus(self.run)
        if self.price is None or not candidate.fps or not count:
            return None
        calls = max(1.0, count / candidate.threads)
        return self.price / SECONDS_PER_HOUR * MILLION / (candidate.fps * calls)


@dataclass(frozen=True, kw_only=True)
class Everywhere:
    """A choice over machines.

    Attributes:
        machines: in the order of the runs.
        regrets: of each cell that keeps the promises on every machine, by its name: by which share
            the best of each machine is better; the cell with the smallest largest share first.
        lacking: of the other cells, the numbers from 1 of the machines where they were not measured
            or break a promise.
    """

    machines: Sequence[OnMachine]
    regrets: Mapping[str, Sequence[float]]
    lacking: Mapping[str, Sequence[int]]

    @property
    def chosen(self) -> str | None:
        """The cell with the smallest largest regret; None if none is on all machines."""
        return next(iter(self.regrets), None)


def everywhere(
    runs: Sequence[MatrixRun],
    goal: Goal,
    promises: Promises,
    batch: int = 1,
    prices: Mapping[str, float] | None = None,
) -> Everywhere:
    """Choose on each machine, and one cell by minimax regret (Savage, JASA 46, 1951).

    Regrets are of ratios inside one run each: machines are not compared with one another.

    Args:
        runs: of the matrix, one of each machine.
        goal, promises, batch: as for `recommend`.
        prices: of an hour, by shell patterns of a machine's CPU or host name; None for no prices.

    Raises:
        SseptError: the runs are of several models, two are of one machine, one has no latency at
            that batch size, or a machine has no price.
    """
    _check(runs)
    machines = [
        OnMachine(
            run=run,
            found=recommend(run, goal, promises, batch),
            price=None if prices is None else _price(run, prices),
        )
        for run in runs
    ]
    able = [each.able for each in machines]
    names = dict.fromkeys(name for each in machines for name in _names(each))
    best = [max((_merit(each, goal) for each in of.values()), default=0.0) for of in able]
    regrets = {
        name: [top / _merit(of[name], goal) - 1 for of, top in zip(able, best, strict=True)]
        for name in names
        if all(name in of for of in able)
    }
    return Everywhere(
        machines=machines,
        regrets=dict(sorted(regrets.items(), key=lambda item: (max(item[1]), sum(item[1])))),
        lacking={
            name: [number for number, of in enumerate(able, 1) if name not in of]
            for name in names
            if name not in regrets
        },
    )


def read_prices(path: Path) -> dict[str, float]:
    """Read prices of an hour: a TOML file with a line `"PATTERN" = PRICE` for each kind of host.

    Raises:
        SseptError: the file cannot be read, or a line is not as above.
    """
    found = read_toml(path)
    for pattern, price in found.items():
        number = isinstance(price, int | float) and not isinstance(price, bool)
        if not number or not 0 < price < math.inf:
            raise SseptError(f'{path}: "{pattern:.60}": expected a price above 0, such as 0.085')
    return found


def _check(runs: Sequence[MatrixRun]) -> None:
    first = runs[0]
    seen: list[dict[str, str]] = []
    for run in runs:
        if run.baseline.checkpoint_sha256 != first.baseline.checkpoint_sha256:
            raise SseptError(
                f"{run.path}: measures another model than {first.path}; expected runs of one "
                "checkpoint"
            )
        its = machine(run)
        if its and its in seen:
            raise SseptError(
                f"{run.path}: is the second run of the same machine; expected one of each machine"
            )
        seen.append(its)


def _price(run: MatrixRun, prices: Mapping[str, float]) -> float:
    info = run.content.machine_info
    names = [machine(run).get("host"), machine(run).get("cpu"), info and info.node]
    for pattern, price in prices.items():
        if any(name and fnmatch.fnmatchcase(name, pattern) for name in names):
            return price
    said = " or ".join(name for name in names if name) or "a machine that the run does not name"
    raise SseptError(f"{run.path}: no price for {said}: add a line that matches it")


def _names(each: OnMachine) -> list[str]:
    return [candidate.name for candidate in each.found.ranked]


def _merit(candidate: Candidate, goal: Goal) -> float:
    merit = candidate.merit(goal)
    return merit.value if merit else 0.0
