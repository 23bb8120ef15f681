"""The report of a history, for the terminal, as Markdown and as JSON values."""

from typing import Any

from tabulate import tabulate

from ssept.decide.history.changes import LEAST_AFTER, LEAST_RUNS
from ssept.decide.history.run import LEVEL, Change, History
from ssept.decide.history.series import NDCG
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.text import filled
from ssept.results.cells import SHORT

COLUMNS = ("commits", "cell", "what", "before", "after", "change")
SCHEMA = 1
MOST_CONDITIONS = 5


def history_table(found: History) -> str:
    """Return the changes for a terminal."""
    blocks = [filled(about(found))]
    for place in range(len(machines(found))):
        changes = [change for change in found.changes if _machine(found, change) == place]
        if not changes:
            continue
        blocks.append(f"machine {place + 1}: {machine_name(found, place)}")
        rows = [[*columns(change), "ALARM" if change.alarm else ""] for change in changes]
        blocks.append(tabulate(rows, [*COLUMNS, ""], disable_numparse=True))
        said = dict.fromkeys(text for change in changes if (text := conditions_text(change)))
        blocks += [filled(text) for text in said]
    return "\n\n".join([*blocks, filled(how(found))])


def history_markdown(found: History) -> str:
    """Return the changes as Markdown."""
    parts = ["# What changed, and when", about(found)]
    if found.changes:
        rows = [
            [
                str(_machine(found, change) + 1),
                *columns(change),
                "**alarm**" if change.alarm else "",
            ]
            for change in found.changes
        ]
        header = ["machine", *COLUMNS, ""]
        parts.append(tabulate(rows, header, tablefmt="github", disable_numparse=True))
        parts += dict.fromkeys(text for each in found.changes if (text := conditions_text(each)))
    parts += [f"Machine {at + 1}: {machine_name(found, at)}" for at in range(len(machines(found)))]
    return "\n\n".join([*parts, how(found)]) + "\n"


def history_json(found: History) -> dict[str, Any]:
    """Return everything as plain JSON values."""
    return {
        "schema": SCHEMA,
        "commits": [point.commit for point in found.points],
        "left_out": found.left_out,
        "machines": [dict(names) for names in machines(found)],
        "series": [
            {
                "machine": machines(found).index(series.machine),
                "cell": series.cell,
                "what": series.what,
                "unit": series.unit,
                "commits": [point.commit for point in series.points],
                "values": series.values.tolist(),
            }
            for series in found.series
        ],
        "changes": [
            {
                "machine": _machine(found, change),
                "cell": change.series.cell,
                "what": change.series.what,
                "last_before": change.last_before,
                "first_after": change.first_after,
                "before": change.before,
                "after": change.after,
                "change": change.change.as_json(),
                "p_value": change.p_value,
                "conditions": change.conditions,
                "alarm": change.alarm,
            }
            for change in found.changes
        ],
    }


def about(found: History) -> str:
    """Say in a sentence or two what was looked at."""
    first, last = found.points[0].commit[:SHORT], found.points[-1].commit[:SHORT]
    alarms = sum(change.alarm for change in found.changes)
    said = (
        f"{len(found.points)} commits, {first} to {last}. Machines: {len(machines(found))}. "
        f"Figures of cells: {len(found.series)}. Changes: {len(found.changes)}. Alarms: {alarms}."
    )
    if found.left_out:
        said += f" Left out: {found.left_out} runs of uncommitted changes or of no repository."
    if found.too_short:
        said += (
            f" In {found.too_short} of the figures no change can be found: they need "
            f"{LEAST_RUNS} measured commits."
        )
    return said


def how(found: History) -> str:
    """Say how changes were found."""
    return (
        "A ratio says how many times as fast as the baseline of its own run a cell is: a slow day "
        "of the machine is no change, and a change of the baseline shows in all cells. A change "
        f"needs {LEAST_AFTER} measured commits on either side. If nothing changed, a history of "
        f"these {len(found.series)} figures shows a change in {percent(LEVEL)} of all cases. "
        "Brackets: 99 % intervals. An alarm is a recent change for the worse."
    )


def columns(change: Change) -> list[str]:
    """Return the commits, the cell, its figure and its change."""
    form = ".4f" if change.series.unit == NDCG else ".2f"
    return [
        commits(change),
        change.series.cell,
        change.series.what,
        f"{change.before:{form}}",
        f"{change.after:{form}}",
        _percents(change.change),
    ]


def commits(change: Change) -> str:
    """Return the range in which the figure changed, as git has it."""
    return f"{change.last_before[:SHORT]}..{change.first_after[:SHORT]}"


def conditions_text(change: Change) -> str:
    """Say what else differed between the two commits' runs; empty for nothing."""
    listed = [f"{name} {a} → {b}" for name, (a, b) in change.conditions.items()]
    if not listed:
        return ""
    more = len(listed) - MOST_CONDITIONS
    shown = "; ".join(listed[:MOST_CONDITIONS]) + (f"; and {more} more" if more > 0 else "")
    return f"{commits(change)} also differ in: {shown}."


def machines(found: History) -> list[tuple[tuple[str, str], ...]]:
    """Return the machines, each by its names and values, in the order of their first series."""
    return [*dict.fromkeys(series.machine for series in found.series)]


def machine_name(found: History, place: int) -> str:
    """Name a machine by its CPU."""
    known = dict(machines(found)[place])
    return (
        f"{known.get('cpu', 'unknown')}, {known.get('cpus_allowed', 'an unknown number of')} CPUs"
    )


def _machine(found: History, change: Change) -> int:
    return machines(found).index(change.series.machine)


def _percents(change: Estimate) -> str:
    value, low, high = (f"{100 * each:+.1f}" for each in (change.value, change.low, change.high))
    return f"{value} % [{low}, {high}]"
