"""The whole gate: prepare both sides, compare sizes, accuracy and times, collect the findings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path

import numpy as np

from ssept.data.dataset import Dataset
from ssept.decide.gate.accuracy import compare_accuracy, compare_size, hold_level
from ssept.decide.gate.budgets import Budgets
from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.findings import Finding, GateResult, Measure, Verdict, interval
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sequential_test import Trial
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.timing import Timing
from ssept.decide.gate.workers.prepare import BASE, HEAD, Prepared, prepare
from ssept.decide.user_accuracy import chosen_cases
from ssept.errors import GateError
from ssept.measure.machine import fingerprint

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Suite:
    """The cells to compare, and how.

    Attributes:
        cells: whose times are compared; accuracy and size of their variants and providers.
        budgets: how much worse they may get.
        plan: how long is measured, and how sure a verdict must be.
        checkpoint: what variants are built from on a side without a model of its own.
        threads: that a call may use.
        dataset: for the accuracy; None leaves that out.
        users: how many to compare the accuracy for; None for all.
        optional: providers that may be missing on both sides.
    """

    cells: Sequence[GateCell]
    _: KW_ONLY
    budgets: Budgets = field(default_factory=Budgets)
    plan: GatePlan = field(default_factory=GatePlan)
    checkpoint: Path | None = None
    threads: int = 1
    dataset: Dataset | None = None
    users: int | None = None
    optional: Sequence[str] = ()


def run_suite(
    base: Side, head: Side, suite: Suite, after_pass: Callable[[Timing], None] | None = None
) -> GateResult:
    """Compare two sides. An interruption ends it with what was found so far.

    Args:
        base, head: what is compared.
        suite: in which cells, and how.
        after_pass: called after each pass of the timing.
    """
    result = GateResult({BASE: base, HEAD: head}, suite.plan, fingerprint())
    wanted = list(dict.fromkeys((cell.variant, cell.provider) for cell in suite.cells))
    try:
        prepared = prepare(
            base,
            head,
            wanted,
            checkpoint=suite.checkpoint,
            plan=suite.plan,
            threads=suite.threads,
            optional=suite.optional,
        )
        _compare(result, prepared, suite, after_pass)
    except GateError as error:  # a side's code does not even import
        result.findings = [_unmeasured(suite, cell, str(error)) for cell in suite.cells]
    except (KeyboardInterrupt, SystemExit):
        result.interrupted = True
    return result


def _compare(
    result: GateResult,
    prepared: Prepared,
    suite: Suite,
    after_pass: Callable[[Timing], None] | None,
) -> None:
    result.left_out = {"-".join(each): why for each, why in prepared.left_out.items()}
    for cell in suite.cells:
        if why := prepared.problems.get((cell.variant, cell.provider)):
            result.findings.append(_unmeasured(suite, cell, why))
    tolerance = suite.budgets.tolerance
    for each, models in prepared.models.items():
        allowed = tolerance(Measure.SIZE, "-".join(each))
        result.findings.append(compare_size(each, models, allowed))
    if suite.dataset:
        cases = chosen_cases(suite.dataset, suite.users)
        findings = [
            compare_accuracy(
                prepared,
                each,
                suite.dataset,
                cases,
                tolerance(Measure.NDCG, "-".join(each)),
                suite.plan,
            )
            for each in prepared.models
        ]
        result.findings += hold_level(findings)
    tolerances = {cell.id: tolerance(Measure.LATENCY, cell.id) for cell in suite.cells}
    timing = Timing(prepared, suite.cells, tolerances, suite.plan)
    try:
        timing.run(after_pass)
    finally:
        timing.trials.stop(INTERRUPTED)
        result.findings += latency_findings(timing)


def latency_findings(timing: Timing) -> list[Finding]:
    """Return the findings of a timing in which each cell has its verdict."""
    return [_latency(timing, name, trial) for name, trial in timing.trials.cells.items()]


def _latency(timing: Timing, name: str, trial: Trial) -> Finding:
    assert trial.verdict
    change = trial.looks[-1].log_ratio if trial.looks else None
    if change:
        change = change.map(math.expm1)
    stretches = timing.stretches[name]
    details = {
        "looks": [asdict(look) | {"log_ratio": interval(look.log_ratio)} for look in trial.looks],
        "log_ratios": trial.log_ratios,
        "rounds": [stretch.rounds for stretch in stretches],
    }
    if stretches:
        details[BASE] = float(np.median([stretch.base_ns for stretch in stretches]))
        details[HEAD] = float(np.median([stretch.head_ns for stretch in stretches]))
    return Finding(
        name, Measure.LATENCY, trial.verdict, trial.tolerance, change, trial.why, details
    )


def _unmeasured(suite: Suite, cell: GateCell, why: str) -> Finding:
    tolerance = suite.budgets.tolerance(Measure.LATENCY, cell.id)
    return Finding(cell.id, Measure.LATENCY, Verdict.UNMEASURED, tolerance, why=why)
