"""Section 8: what was skipped, failed or does not apply, with the reasons."""

from ssept.report.page.content import Figure, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material

MEASURED = "measured"
WHY_NOT = "the provider cannot run this kind of file"


def unmeasured(material: Material) -> Section:
    """Return what each run did not measure."""
    return Section(
        key="unmeasured",
        title="Skipped, failed or not applicable",
        about="What the figures above leave out, and why.",
        parts=[_part(material, run) for run in material.runs],
    )


def _part(material: Material, run: LabelledRun) -> Part:
    rows = _rows(run)
    counts = [entry.outcome for entry in run.run.content.ssept.outcomes]
    words = [f"{counts.count(each)} tests {each}" for each in (MEASURED, "skipped", "failed")]
    figure = Figure(
        title="Not measured",
        columns=("what", "outcome", "reason"),
        rows=rows,
    )
    return Part(
        heading=material.heading(run),
        sentences=[f"{', '.join(words)}."],
        figures=[figure] if rows else [],
    )


def _rows(run: LabelledRun) -> list[Row]:
    """Return a row for each reason of a cell: its tests mostly share one."""
    about = run.run.content.ssept
    tests: dict[tuple[str, str, str, str], list[str]] = {}
    for entry in sorted(about.outcomes, key=lambda each: each.outcome):  # failed first
        if entry.outcome != MEASURED:
            key = (entry.variant, entry.provider, entry.outcome, entry.reason)
            tests.setdefault(key, []).append(entry.test)
    rows = [
        Row(
            cells=(_what(variant, provider, names), outcome, reason),
            variant=variant,
            provider=provider,
        )
        for (variant, provider, outcome, reason), names in tests.items()
    ]
    if about.not_applicable:
        rows.append(Row(cells=(", ".join(about.not_applicable), "not applicable", WHY_NOT)))
    return rows


def _what(variant: str, provider: str, tests: list[str]) -> str:
    """Name the one test, or the cell and how many."""
    return tests[0] if len(tests) == 1 else f"{variant}-{provider} ({len(tests)} tests)"
