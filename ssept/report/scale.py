"""Reports of a scale run, for the terminal and as Markdown."""

import itertools
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from ssept.decide.journal import Record
from ssept.decide.scale.measured_points import by_point
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.text import NOTHING, UNTOLD, WIDTH, mark

Facts = dict[str, Any]
SIZES = ("items", "length", "batch")
HEADER = ("cell", "×", "99 %", "ms", "least ms", "× least", "bound by")
ALIGNMENT = ("left", *("right",) * 5, "left")
TITLE = "Cost as the work grows"
LEGEND = (
    "×: times as fast as onnx-cpu at the same point, from pairs in one loop, with its 99 % "
    f"interval; {UNTOLD}: may be 1.",
    "ms: median of recommend(k=10). least ms: the larger of bytes / bandwidth (memory) and "
    "multiply-adds / peak (arithmetic), of the cell's own graph at the rates measured here.",
)


def scale_table(records: Sequence[Record]) -> str:
    """Return the table for a terminal and its legend; a line of sizes precedes their cells."""
    measured = by_point(records)
    rows = [_row(name, facts) for cells in measured.values() for name, facts in cells.items()]
    table = tabulate(rows, HEADER, disable_numparse=True, colalign=ALIGNMENT)
    header, rule, *lines = table.splitlines()
    found, rest = [f"  {header}", f"  {rule}"], iter(lines)
    for point, cells in measured.items():
        found.append(f"{point.items:,} items, length {point.length}, batch {point.batch}")
        found += [f"  {line}" for line in itertools.islice(rest, len(cells))]
    for text in (*LEGEND, *_notes(records)):
        found += textwrap.wrap(text, WIDTH)
    return "\n".join(found)


def scale_markdown(records: Sequence[Record], image: str | None) -> str:
    """Return the table as Markdown.

    Args:
        records: of the same settings and machine, one at least.
        image: the plot, as a path from the Markdown file; None where there is none.
    """
    parts = [f"# {TITLE}", about(records)]
    if image:
        parts.append(f"![{TITLE}: the figures of the table below as curves]({image})")
    rows = [
        (f"{point.items:,}", str(point.length), str(point.batch), *_row(name, facts))
        for point, cells in by_point(records).items()
        for name, facts in cells.items()
    ]
    table = tabulate(
        rows,
        (*SIZES, *HEADER),
        tablefmt="github",
        disable_numparse=True,
        colalign=("right", "right", "right", *ALIGNMENT),
    )
    return "\n\n".join([*parts, table, *LEGEND, *_notes(records)]) + "\n"


def about(records: Sequence[Record]) -> str:
    """Return a line on where and when the records were measured."""
    first, last = records[0], records[-1]
    machine, threads = first["machine"], first["settings"]["threads"]
    commits = {str(record["commit"])[:12] for record in records if record["commit"]}
    told = [
        f"{machine['cpu']}, CPUs: {machine['cpus_allowed']}",
        f"{threads} thread{'s' if threads > 1 else ''} a call",
        ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        f"commit {', '.join(sorted(commits))}" if commits else "",
        f"{first['utc'][:10]} to {last['utc'][:10]}",
    ]
    return "; ".join(part for part in told if part)


def _row(name: str, facts: Facts) -> tuple[str, ...]:
    median, least = facts["median_ms"], facts["least"]
    speedup = Estimate(**facts["speedup"])
    measured = (
        name,
        f"{speedup.value:.2f}{mark(speedup)}",
        f"{speedup.low:.2f}–{speedup.high:.2f}",
        f"{median:,.3f}",
    )
    if "unknown" in least:
        return (*measured, NOTHING, NOTHING, NOTHING)
    return (*measured, f"{least['ms']:,.3f}", f"{median / least['ms']:.1f}", least["bound_by"])


def _notes(records: Sequence[Record]) -> list[str]:
    """Say how sure the least times are, and why those of some cells are not known."""
    cells: dict[str, list[str]] = defaultdict(list)
    spreads = []
    for measured in by_point(records).values():
        for name, facts in measured.items():
            reason = facts["least"].get("unknown")
            if reason and name not in cells[reason]:
                cells[reason].append(name)
            spreads.append(facts["least"].get("look_spread", 0.0))
    notes = [
        f"{NOTHING}: {', '.join(names)}: {reason}." for reason, names in cells.items() if names
    ]
    if largest := max(spreads, default=0.0):
        notes.insert(
            0, f"Two measurements of the same peak differed by up to {percent(largest, '.0f')}."
        )
    return notes
