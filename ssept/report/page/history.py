"""The page of a history: its changes, and each figure over the commits."""

from collections import defaultdict

from ssept.decide.history.run import History
from ssept.decide.history.series import Series
from ssept.report.history import (
    COLUMNS,
    about,
    columns,
    conditions_text,
    how,
    machine_name,
    machines,
)
from ssept.report.page.content import Content, Curves, Figure, Part, Row, Section, Station
from ssept.results.cells import SHORT

LINES = 8  # of one plot


def history_content(found: History, command: str) -> Content:
    """Return the content of the page.

    Args:
        found: the history.
        command: that made it.
    """
    return Content(
        title="What changed, and when",
        runs=_commits(found),
        sections=[_changes(found, command), _figures(found)],
    )


def _commits(found: History) -> Figure:
    rows = [
        Row(
            cells=(
                str(number),
                point.commit[:SHORT],
                f"{point.committed:%Y-%m-%d %H:%M}",
                ", ".join(run.path.name for run in point.runs),
            )
        )
        for number, point in enumerate(found.points, 1)
    ]
    return Figure(
        title="Measured commits", columns=("number", "commit", "committed", "files"), rows=rows
    )


def _changes(found: History, command: str) -> Section:
    figure = Figure(
        title="Changes, the latest first",
        columns=("machine", *COLUMNS, "alarm", "also different"),
        rows=[
            Row(
                cells=(
                    str(machines(found).index(change.series.machine) + 1),
                    *columns(change),
                    "alarm" if change.alarm else "",
                    conditions_text(change).partition("differ in: ")[2].rstrip("."),
                )
            )
            for change in found.changes
        ],
        note=how(found),
        command=command,
    )
    named = [f"Machine {at + 1}: {machine_name(found, at)}." for at in range(len(machines(found)))]
    return Section(
        key="changes",
        title="Changes",
        about="From which commit on a figure is another one, and how sure that is.",
        parts=[
            Part(
                sentences=[about(found), *named],
                figures=[figure] if found.changes else [],
                answers=True,
            )
        ],
    )


def _figures(found: History) -> Section:
    order = {point.commit: number for number, point in enumerate(found.points, 1)}
    of: dict[tuple[int, str], list[Series]] = defaultdict(list)
    for series in found.series:
        of[machines(found).index(series.machine), series.what].append(series)
    figures = [
        _figure(f"{what}, machine {machine + 1}", group[at : at + LINES], order)
        for (machine, what), group in of.items()
        for at in range(0, len(group), LINES)
    ]
    return Section(
        key="figures",
        title="Figures over the commits",
        about="Of speed: times as fast as the baseline of the same run.",
        parts=[Part(figures=figures)],
    )


def _figure(title: str, group: list[Series], order: dict[str, int]) -> Figure:
    stations = [
        Station(
            variant=series.cell.partition("-")[0],
            provider=series.cell.partition("-")[2].partition(",")[0],
            series=series.cell,
            x=order[point.commit],
            y=value,
        )
        for series in group
        for point, value in zip(series.points, series.values.tolist(), strict=True)
    ]
    return Figure(
        title=title,
        columns=("cell", "commit", "value"),
        rows=[
            Row(
                cells=(series.cell, point.commit[:SHORT], f"{value:.4g}"),
                variant=series.cell.partition("-")[0],
                provider=series.cell.partition("-")[2].partition(",")[0],
            )
            for series in group
            for point, value in zip(series.points, series.values.tolist(), strict=True)
        ],
        plot=Curves(stations=stations, x_axis="measured commit", y_axis=title, steps=True),
    )
