"""Reports of a comparison of saved runs, for the terminal and as Markdown."""

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable

from tabulate import tabulate

from ssept.decide.compare.comparison import About, Comparison
from ssept.decide.compare.rows import (
    BYTES,
    MEDIAN,
    MS,
    NDCG,
    RATIO,
    SEQUENTIAL,
    UNTOLD,
    Row,
    RunComparison,
)
from ssept.estimate import Estimate
from ssept.report.text import NOTHING, WIDTH
from ssept.report.text import UNTOLD as UNTOLD_MARK

UNITS = {NDCG: "", RATIO: "×", BYTES: "bytes"}
# For times from this number of milliseconds on: the unit, and its number in a millisecond.
TIME_UNITS = ((0.1, "ms", 1.0), (1e-4, "µs", 1e3), (0.0, "ns", 1e6))
SAID_OF = {
    RATIO: "×: times as fast as the baseline of the same run, from pairs in one loop.",
    NDCG: "NDCG@10: test split, whole catalog, 95 % intervals; its change is a difference.",
    MS: "ms: one run after the other, so the machine may have drifted; hence no verdict.",
}
CHANGE = (
    f"change: the later run / {{first}}; {UNTOLD_MARK}: {UNTOLD}, the interval includes no change."
)
INTERVALS = (
    "Intervals of 99 % include the noise inside a run, but not the differences between processes; "
    "by chance, one in a hundred unchanged cells gets a verdict."
)
QUARTILES = (
    "median: of plain results, quartiles in brackets; one run after the other, so the machine may "
    "have drifted; hence no interval and no verdict."
)
NO_BASELINE = (
    f"Plain pytest-benchmark results allow no verdict on speed: {SEQUENTIAL}, so a change of the "
    "machine looks like a change of the code. --absolute shows their medians and quartiles, if "
    "the machine is the same."
)


def comparison_table(comparison: Comparison) -> str:
    """Return the comparison for a terminal, at most 100 columns wide."""
    blocks = [[_run_line(about) for about in comparison.runs]]
    if differing := _differing(comparison):
        blocks.append(["not the same:", *_wrapped(differing, "  ")])
    for pair in comparison.pairs:
        blocks.append([f"{pair.other} against {pair.first}", *_pair_lines(pair)])
        blocks += [[title, *_wrapped(items, "  ")] for title, items in _lists(pair) if items]
        if pair.notes:
            blocks.append(_wrapped(pair.notes))
    blocks.append(_wrapped(_legend(comparison)))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown, with one table for each pair of runs."""
    runs = [
        f"{about.label}: `{about.file}`, {_when(about)}, {_counted(about)}"
        for about in comparison.runs
    ]
    parts = ["# Comparison of saved runs", _bullets(runs)]
    if differing := _differing(comparison):
        parts += ["Not the same:", _bullets(differing)]
    for pair in comparison.pairs:
        parts.append(f"## {pair.other} against {pair.first}")
        if rows := _shown(pair):
            header = ["cell", *_header(pair)]
            table = [[row.cell.replace("|", "\\|"), *_columns(row)] for row in rows]
            parts.append(tabulate(table, header, tablefmt="github", disable_numparse=True))
        for title, items in _lists(pair):
            if items:
                parts += [title.capitalize(), _bullets(items)]
        parts += pair.notes
    return "\n\n".join([*parts, *_legend(comparison)]) + "\n"


def _pair_lines(pair: RunComparison) -> list[str]:
    """Return the table of two runs; a line with the name of each cell precedes its rows."""
    rows = _shown(pair)
    if not rows:
        return []
    table = tabulate(
        [_columns(row) for row in rows], ["", *_header(pair)[1:]], disable_numparse=True
    )
    header, rule, *lines = table.splitlines()
    found = [f"  {header}", f"  {rule}"]
    above = ""
    for row, line in zip(rows, lines, strict=True):
        if row.cell != above:
            found += _wrapped([row.cell])
            above = row.cell
        found.append(f"  {line}".rstrip())
    return found


def _header(pair: RunComparison) -> list[str]:
    return ["measured", pair.first, pair.other, "change", ""]


def _shown(pair: RunComparison) -> list[Row]:
    """Return the rows with a figure on either side."""
    return [row for row in pair.rows if row.first or row.other]


def _columns(row: Row) -> list[str]:
    """Return the measure, the two figures, the change and the verdict."""
    change = NOTHING
    if row.change:
        change = _figure(row.change, row.unit if row.unit == NDCG else RATIO)
        change = f"+{change}" if row.unit == NDCG and row.change.value >= 0 else change
    verdict = UNTOLD_MARK if row.verdict == UNTOLD else row.verdict or ""
    label, scale = UNITS.get(row.unit, ""), 1.0
    if row.unit == MS:
        longest = max(each.value for each in (row.first, row.other) if each)
        label, scale = next((name, scale) for least, name, scale in TIME_UNITS if longest >= least)
    figures = [_figure(each, row.unit, scale) for each in (row.first, row.other)]
    return [f"{row.what} {label}".strip(), *figures, change, verdict]


def _figure(found: Estimate | None, unit: str, scale: float = 1) -> str:
    """Write a value with its interval, or alone if it is exact."""
    if found is None:
        return NOTHING
    value, low, high = (_number(x * scale, unit) for x in (found.value, found.low, found.high))
    return value if found.low == found.high else f"{value} [{low}, {high}]"


def _number(x: float, unit: str) -> str:
    """Write a number: four decimals of NDCG, three of ratios, three digits of times."""
    if unit == NDCG:
        return f"{x:.4f}".replace("0.", ".", 1)
    if unit == BYTES:
        return f"{x:,.0f}"
    whole = math.floor(math.log10(x)) + 1 if x > 0 else 1
    return f"{x:,.{min(4, max(0, 3 - whole)) if unit == MS else min(3, max(0, 4 - whole))}f}"


def _lists(pair: RunComparison) -> list[tuple[str, list[str]]]:
    """List the cells below the table: those without a change, and those of only one run."""
    present = {row.cell for row in pair.rows}
    of_matrix = {row.cell for row in pair.rows if row.unit == BYTES}
    unchanged = [
        (row.why_not, row.cell, row.what)
        for row in pair.rows
        if row.why_not and not any(row.why_not in note for note in pair.notes)
    ]
    lists = [("no change given:", _grouped(unchanged, of_matrix))]
    for run, other in ((pair.first, pair.other), (pair.other, pair.first)):
        mine = [(one.reason, one.cell, one.what) for one in pair.one_sided if one.run == run]
        several = {cell for _, cell, _ in mine if len({r for r, c, _ in mine if c == cell}) > 1}
        lists.append((f"only in {run}; in {other}:", _grouped(mine, present | several)))
    return lists


def _grouped(found: Iterable[tuple[str, str, str]], in_part: set[str]) -> list[str]:
    """ "reason: cells", with what was measured of the cells that this is true of in part.

    Args:
        found: reason, cell, and what was measured.
        in_part: cells of which something else is said elsewhere.
    """
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for reason, cell, what in found:
        reasons[reason][cell].append(what)
    return [
        f"{reason}: "
        + ", ".join(f"{c} ({', '.join(w)})" if c in in_part else c for c, w in cells.items())
        for reason, cells in reasons.items()
    ]


def _differing(comparison: Comparison) -> list[str]:
    """ "name: A C value; B value" of each condition that differs."""
    lines = []
    for name, values in comparison.differences.items():
        labels: dict[str, list[str]] = defaultdict(list)
        for label, value in values.items():
            labels[value].append(label)
        said = "; ".join(f"{' '.join(of)} {value}" for value, of in labels.items())
        lines.append(f"{name}: {said}")
    return lines


def _legend(comparison: Comparison) -> list[str]:
    rows = [row for pair in comparison.pairs for row in pair.rows]
    units = {row.unit for row in rows if (row.first or row.other) and row.what != MEDIAN}
    said = [text for unit, text in SAID_OF.items() if unit in units]
    if units:
        said += [CHANGE.format(first=comparison.runs[0].label), INTERVALS]
    if any(row.what == MEDIAN and row.change for row in rows):
        said.append(QUARTILES)
    if any(row.why_not == SEQUENTIAL for row in rows):
        said.append(NO_BASELINE)
    return said


def _run_line(about: About) -> str:
    rest = f"  {_when(about)}  {_counted(about)}"
    space = WIDTH - len(rest) - len(about.label) - 2
    file = about.file if len(about.file) <= space else "…" + about.file[1 - space :]
    return f"{about.label}  {file}{rest}"


def _when(about: About) -> str:
    return f"{about.datetime[:16].replace('T', ' ')}  {about.commit}".strip()


def _counted(about: About) -> str:
    return f"{about.benchmarks} {'results' if about.of_matrix else 'plain results'}"


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _wrapped(texts: Iterable[str], indent: str = "") -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}  " if indent else "",
            break_on_hyphens=False,
        )
    ]
