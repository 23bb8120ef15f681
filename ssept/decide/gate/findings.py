"""Findings of a gate, measure by measure, and the verdict that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sides.side import Side
from ssept.estimate import Estimate

SCHEMA = 1


class Verdict(str, Enum):
    """What a gate says of one measure of one cell."""

    REGRESSED = "regressed"
    FINE = "fine"
    INCONCLUSIVE = "inconclusive"
    UNMEASURED = "not measured"


class Measure(str, Enum):
    """What is compared, under the name that a file of budgets has for it."""

    LATENCY = "latency"
    NDCG = "ndcg"
    SIZE = "size"


# Worst first: the first of these among the findings decides.
EXIT_CODES = {
    Verdict.REGRESSED: 1,
    Verdict.UNMEASURED: 3,
    Verdict.INCONCLUSIVE: 2,
    Verdict.FINE: 0,
}


@dataclass(frozen=True)
class Finding:
    """One measure of one cell.

    Attributes:
        cell: its id; of accuracy and size, which do not depend on the batch size, without that.
        measure: what was compared.
        verdict: what came of it.
        tolerance: the share that it may get worse by.
        change: of the head from the base as a share, +0.03 for 3 % more, with its interval.
        why: more in words; empty where nothing is to add.
        details: what the verdict rests on, as plain JSON values.
    """

    cell: str
    measure: Measure
    verdict: Verdict
    tolerance: float
    change: Estimate | None = None
    why: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class GateResult:
    """A gate's findings, and what they were found with.

    Attributes:
        sides: by role, "base" and "head".
        plan: as declared beforehand.
        machine: the fingerprint of ssept.measure.machine.
        findings: in the order of measuring.
        left_out: why a variant on a provider was not looked at, by `variant-provider`.
        interrupted: whether the user ended it.
    """

    sides: Mapping[str, Side]
    plan: GatePlan
    machine: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        """The worst of all; not measured where there is nothing, or it was interrupted."""
        if self.interrupted or not self.findings:
            return Verdict.UNMEASURED
        return next(iter(counted(self.findings)))

    @property
    def exit_code(self) -> int:
        """0 fine, 1 regressed, 2 inconclusive, 3 something could not be measured."""
        return EXIT_CODES[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite end of an interval is null."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "interrupted": self.interrupted,
            "plan": asdict(self.plan),
            "sides": {role: _side(side) for role, side in self.sides.items()},
            "machine": self.machine,
            "findings": [_finding(finding) for finding in self.findings],
            "left_out": self.left_out,
        }


def interval(estimate: Estimate | None) -> dict[str, float | None] | None:
    """Return an estimate as plain JSON values."""
    return estimate.as_json() if estimate else None


def _finding(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {
        "measure": finding.measure.value,
        "verdict": finding.verdict.value,
        "change": interval(finding.change),
    }


def _side(side: Side) -> dict[str, Any]:
    values = asdict(side)
    paths = {name: values[name] and str(values[name]) for name in ("python", "tree", "model")}
    return values | paths


def counted(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """Count the findings of each verdict, worst first, without verdicts that have none."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in EXIT_CODES}
    return {verdict: count for verdict, count in counts.items() if count}
