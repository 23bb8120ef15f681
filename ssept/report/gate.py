"""Reports of a gate's findings, for the terminal and as Markdown for a pull request."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from ssept.decide.gate.findings import Finding, GateResult, Measure, Verdict, counted
from ssept.percent import percent
from ssept.report.text import NOTHING, filled

TITLES = {Measure.LATENCY: "time", Measure.NDCG: "NDCG@10", Measure.SIZE: "size"}
HEADER = ("cell", "", "head against base", "allowed", "verdict", "why")
COLUMN_WIDTHS = (24, None, None, None, None, 22)


def gate_table(result: GateResult) -> str:
    """Return a table with a row for each measure of a cell, at most 100 columns wide."""
    parts = [filled(line) for line in _summary(result)]
    if result.findings:
        rows = [_row(finding) for finding in result.findings]
        table = tabulate(rows, HEADER, maxcolwidths=COLUMN_WIDTHS, disable_numparse=True)
        parts = [table, "", *parts]
    return "\n".join(parts)


def gate_markdown(result: GateResult) -> str:
    """Return the report for a pull request: first what is not fine, the rest folded away."""
    wrong = [finding for finding in result.findings if finding.verdict != Verdict.FINE]
    fine = [finding for finding in result.findings if finding.verdict == Verdict.FINE]
    parts = [f"### ssept gate: {result.verdict.value}"]
    if wrong:
        parts.append(_markdown_table(wrong))
    if fine:
        title = f"<details><summary>{len(fine)} fine</summary>"
        parts += [title, _markdown_table(fine), "</details>"]
    return "\n\n".join([*parts, "\n".join(_summary(result))]) + "\n"


def change_text(finding: Finding) -> str:
    """Write the change with its interval: "+0.4 % [-0.6, +1.2]"."""
    change = finding.change
    if change is None:
        return NOTHING
    value = percent(change.value, "+.1f")
    if change.low == change.high:
        return value
    if not (math.isfinite(change.low) and math.isfinite(change.high)):
        return f"{value} [?]"
    return f"{value} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _row(finding: Finding) -> list[str]:
    sign = "-" if finding.measure == Measure.NDCG else "+"
    return [
        finding.cell,
        TITLES[finding.measure],
        change_text(finding),
        sign + percent(finding.tolerance),
        finding.verdict.value,
        finding.why,
    ]


def _markdown_table(findings: Sequence[Finding]) -> str:
    rows = [[text.replace("|", "\\|") for text in _row(finding)] for finding in findings]
    return tabulate(rows, HEADER, tablefmt="github", disable_numparse=True)


def _summary(result: GateResult) -> list[str]:
    plan, counts = result.plan, counted(result.findings)
    found = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())
    lines = [f"{role}: {side.name}" for role, side in result.sides.items()]
    lines += [f"left out: {name}: {why}" for name, why in result.left_out.items()]
    lines.append(
        f"time: median over pairs of fresh processes, with its {percent(1 - plan.level, '.4g')} "
        f"interval; planned for false alarms in at most {percent(plan.alpha)} of runs. NDCG@10: "
        "over users, 98 %."
    )
    if result.interrupted:
        lines.append("interrupted: the findings so far")
    return [*lines, f"{result.verdict.value}: {found or 'nothing was found'}"]
