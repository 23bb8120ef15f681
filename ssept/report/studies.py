"""Reports of the self-test's studies, for the terminal and as Markdown."""

from collections.abc import Sequence

from tabulate import tabulate

from ssept.decide.self_test.run import StudyResult, machines
from ssept.percent import percent
from ssept.report.text import NOTHING, filled

HEADER = ("study", "errors", "allowed", "", "95 %", "±", "one session", "verdicts")
ALIGNMENT = ("left", "right", "right", "left", "right", "right", "right", "left")
EXPLAINED = (
    "errors: wrong among all trials, where the truth is known; allowed: as many as the promised "
    "level explains (more come up by chance in 1 of 40 self-tests); 95 %: of the share of errors, "
    "Clopper-Pearson, in percent; ±: median half width of the intervals; one session: errors and "
    "half width of intervals over the calls of one pair of sessions, on the same cells."
)


def studies_text(found: Sequence[StudyResult]) -> str:
    """Return all tables for the terminal."""
    return _report(found, "simple")


def studies_markdown(found: Sequence[StudyResult]) -> str:
    """Return all tables as Markdown."""
    return _report(found, "github") + "\n"


def _report(found: Sequence[StudyResult], style: str) -> str:
    parts = []
    for machine, here in machines(found):
        table = tabulate(
            map(_row, here), HEADER, tablefmt=style, disable_numparse=True, colalign=ALIGNMENT
        )
        parts += [machine, table]
    if found:
        studies: dict[str, dict[str, None]] = {}  # by what is tried, in their order, each once
        for each in found:
            studies.setdefault(each.what, {})[each.study] = None
        parts += [filled(f"{', '.join(names)}: {what}.") for what, names in studies.items()]
        parts.append(filled(EXPLAINED))
    return "\n\n".join(parts)


def _row(result: StudyResult) -> list[str]:
    share = result.errors.estimate()
    one_session = NOTHING
    if result.one_session:
        errors, width = result.one_session
        one_session = f"{errors.hits} of {errors.of}, {percent(width, '.2f')}"
    return [
        result.study,
        f"{result.errors.hits} of {result.errors.of}",
        str(result.allowed),
        "" if result.holds else "TOO MANY",
        f"{100 * share.low:.1f} to {100 * share.high:.1f}",
        NOTHING if result.half_width is None else percent(result.half_width, ".2f"),
        one_session,
        ", ".join(f"{name} {count}" for name, count in sorted(result.verdicts.items())),
    ]
