"""A sequential test on the log ratios of a suite of cells, one ratio per pass.

Nothing here measures: the log ratios may come from anywhere.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from ssept.decide.gate.findings import Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.estimate import Estimate
from ssept.measure.statistics import hodges_lehmann
from ssept.metrics import FloatArray


@dataclass(frozen=True)
class Look:
    """The result of one look at a cell.

    Attributes:
        passes: how many log ratios there were.
        log_ratio: log(head / base) of the time of a call, with its interval.
        p: of the one-sided signed-rank test that the head is slower by no more than the tolerance.
    """

    passes: int
    log_ratio: Estimate
    p: float


@dataclass
class Trial:
    """A cell under test.

    Attributes:
        tolerance: how much slower it may be, as a share: 0.03 for 3 %.
        log_ratios: one a pass, in their order.
        looks: those taken so far.
        candidate_at: how many log ratios there were at the look that found it slower, while that
            waits to be confirmed.
        verdict: None while it is open.
        why: the reason in words.
    """

    tolerance: float
    log_ratios: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    candidate_at: int | None = None
    verdict: Verdict | None = None
    why: str = ""

    def close(self, verdict: Verdict, why: str) -> None:
        """Set the verdict."""
        self.verdict, self.why = verdict, why


class Trials:
    """The cells of a suite, tested together; feed it pass by pass.

    A cell is *fine* at the first look whose interval lies below its tolerance. It is a candidate
    where the interval lies above, and Holm's step-down over all cells of the suite rejects too.
    A candidate is *regressed* if the passes of the confirmation, by themselves, estimate it slower
    than the tolerance: every pass is a fresh pair of processes, so the look itself rests on
    many, but a spell of trouble on one side, which neighbouring passes share, does not last. A
    confirmation can only take back an alarm, so it adds nothing to the error rate; half of the
    false alarms that are left end there.
    """

    def __init__(self, plan: GatePlan, tolerances: Mapping[str, float]) -> None:
        """Start with no log ratios; `tolerances` by the cells' ids.

        `looks_at` is then how many passes there are at each look.
        """
        self.plan = plan
        self.cells = {name: Trial(tolerance) for name, tolerance in tolerances.items()}
        self.looks_at = plan.passes(len(tolerances))
        self._passes = 0
        self._over = False

    @property
    def open(self) -> list[str]:
        """The cells that need another pass."""
        return [name for name, trial in self.cells.items() if trial.verdict is None]

    def fail(self, name: str, why: str) -> None:
        """Close a cell that cannot be measured."""
        self.cells[name].close(Verdict.UNMEASURED, why)

    def after_pass(self, log_ratios: Mapping[str, float], last: bool) -> None:
        """Take one pass's log ratios and judge what there is to judge.

        Args:
            log_ratios: log(head / base) of each open cell that was measured.
            last: there is no time for another pass, so this is the last look. Candidates get their
                confirmation all the same.
        """
        self._passes += 1
        for name, log_ratio in log_ratios.items():
            self.cells[name].log_ratios.append(log_ratio)
        self._confirm()
        last = last or self._passes >= self.looks_at[-1]
        if not self._over and (last or self._passes in self.looks_at):
            self._look(last)
        self._over = self._over or last

    def stop(self, why: str) -> None:
        """Close what is open, as inconclusive or, without a look, as not measured."""
        for name in self.open:
            trial = self.cells[name]
            trial.close(Verdict.INCONCLUSIVE if trial.looks else Verdict.UNMEASURED, why)

    def _look(self, last: bool) -> None:
        waiting = [self.cells[name] for name in self.open if self.cells[name].candidate_at is None]
        for trial in waiting:
            trial.looks.append(look_at(trial.log_ratios, trial.tolerance, self.plan.level))
        p = {name: trial.looks[-1].p for name, trial in self.cells.items() if trial.looks}
        slower = holm(p, self.plan.level)
        for name, trial in self.cells.items():
            if trial in waiting:
                self._judge(trial, name in slower, last)

    def _judge(self, trial: Trial, rejected: bool, last: bool) -> None:
        interval, limit = trial.looks[-1].log_ratio, math.log1p(trial.tolerance)
        if interval.high < limit:
            trial.close(Verdict.FINE, "faster" if interval.high < 0 else "")
        elif interval.low > limit and rejected:
            trial.candidate_at = len(trial.log_ratios)
        elif last:
            trial.close(Verdict.INCONCLUSIVE, _unclear(interval))

    def _confirm(self) -> None:
        for trial in (self.cells[name] for name in self.open):
            if trial.candidate_at is None:
                continue
            fresh = trial.log_ratios[trial.candidate_at :]
            if len(fresh) < self.plan.confirmation:
                continue
            again = hodges_lehmann(np.array(fresh)).value
            trial.candidate_at = None
            if again > math.log1p(trial.tolerance):
                trial.close(Verdict.REGRESSED, f"confirmed at {math.expm1(again):+.1%}")
            elif self._over:
                why = f"not confirmed: {math.expm1(again):+.1%} when measured again"
                trial.close(Verdict.INCONCLUSIVE, why)


def look_at(log_ratios: Iterable[float], tolerance: float, level: float) -> Look:
    """Judge the log ratios of one cell.

    Args:
        log_ratios: log(head / base), independent of each other.
        tolerance: how much slower the head may be, as a share.
        level: 1 minus the confidence of the two-sided interval.
    """
    x = np.array(list(log_ratios))
    return Look(len(x), hodges_lehmann(x, 1 - level), _p_slower(x - math.log1p(tolerance)))


def holm(p: Mapping[str, float], alpha: float) -> set[str]:
    """Return the hypotheses that are rejected with a family-wise error of at most alpha.

    Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979).
    """
    rejected: set[str] = set()
    for name in sorted(p, key=lambda name: p[name]):
        if p[name] > alpha / (len(p) - len(rejected)):
            break
        rejected.add(name)
    return rejected


def _p_slower(beyond: FloatArray) -> float:
    """Return the p-value of "symmetric around 0 or less" for values relative to the tolerance."""
    if not beyond.any():
        return 1.0
    return float(stats.wilcoxon(beyond, alternative="greater").pvalue)


def _unclear(interval: Estimate) -> str:
    half = (interval.high - interval.low) / 2
    return f"only a change of ±{math.expm1(half):.1%} or more could be seen; increase --seconds"
