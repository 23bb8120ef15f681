"""Section 4: throughput against the batch size, and of sessions side by side."""

from ssept.report.page.commands import matrix_command
from ssept.report.page.content import Dots, Figure, Mark, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material, cell_label, cell_name, number
from ssept.report.text import NOTHING
from ssept.results.schema import LATENCY, Concurrency, Facts, Timed

REAL_USERS = "real users"


def throughput(material: Material) -> Section:
    """Return the throughput of each run's cells, by batch size and by sessions."""
    return Section(
        key="throughput",
        title="Throughput against batch size and concurrency",
        about="Sequences a second: how far a larger batch, or another session beside the first, "
        "pays. On one machine only.",
        parts=[part for run in material.runs if (part := _part(material, run)).figures],
        otherwise='tox -e bench -- -k "(latency and not real) or throughput or concurrency"',
    )


def _part(material: Material, run: LabelledRun) -> Part:
    figures = (_by_batch(run), _by_sessions(run))
    return Part(heading=material.heading(run), figures=[figure for figure in figures if figure])


def _by_batch(run: LabelledRun) -> Figure | None:
    measured = [
        (benchmark, facts)
        for benchmark, facts in run.measured(Timed, LATENCY, "throughput")
        if facts.fps
    ]
    if not measured:
        return None
    largest = max((facts for _, facts in measured), key=lambda facts: facts.batch).batch
    of_cell: dict[str, dict[str, Timed]] = {}
    for _, facts in sorted(measured, key=lambda each: -_rate(each[1], largest)):
        of_cell.setdefault(cell_name(facts), {})[_series(facts)] = facts
    series = sorted({name for of in of_cell.values() for name in of}, key=_order)
    marks = [
        _mark(own, name, own.fps)
        for of in of_cell.values()
        for name in series
        if (own := of.get(name)) and own.fps
    ]
    return Figure(
        title="Sequences a second, by batch size",
        columns=("cell", *series),
        rows=[
            _row(
                name,
                next(iter(of.values())),
                [of[one].fps if one in of else None for one in series],
            )
            for name, of in of_cell.items()
        ],
        plot=Dots(marks=marks, axis="sequences a second", log=True),
        note=f"{REAL_USERS}: histories of real users in batches of 64; the others are full "
        f"histories of one length. {NOTHING}: not measured.",
        command=matrix_command(
            run, [each for each, _ in measured], "(latency and not real) or throughput"
        ),
        method="throughput",
    )


def _by_sessions(run: LabelledRun) -> Figure | None:
    measured = sorted(run.measured(Concurrency), key=lambda each: -each[1].scaling)
    if not measured:
        return None
    return Figure(
        title="Throughput of sessions side by side, relative to one session",
        columns=("cell", "sessions", "times one session"),
        rows=[
            _row(cell_name(facts), facts, [facts.sessions, facts.scaling]) for _, facts in measured
        ],
        plot=Dots(
            marks=[_mark(each, f"{each.sessions} sessions", each.scaling) for _, each in measured],
            axis="times the throughput of one session",
            reference=1,
        ),
        note="The perfect value is the number of sessions; 1 means that nothing is gained.",
        command=matrix_command(run, [each for each, _ in measured], "concurrency"),
        method="concurrency",
    )


def _rate(facts: Timed, batch: int) -> float:
    """Return what cells are ordered by: the throughput at a batch size."""
    return facts.fps or 0.0 if facts.batch == batch else 0.0


def _series(facts: Timed) -> str:
    return f"batch {facts.batch}" if facts.measure == LATENCY else REAL_USERS


def _order(series: str) -> tuple[bool, int]:
    return series == REAL_USERS, int(series.partition(" ")[2]) if series != REAL_USERS else 0


def _mark(facts: Facts, series: str, value: float) -> Mark:
    return Mark(
        variant=facts.variant,
        provider=facts.provider,
        label=cell_label(facts),
        series=series,
        value=value,
    )


def _row(name: str, facts: Facts, values: list[float | None]) -> Row:
    return Row(cells=(name, *map(number, values)), variant=facts.variant, provider=facts.provider)
