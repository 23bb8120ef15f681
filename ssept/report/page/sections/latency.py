"""Section 3: the distribution of the time of a call."""

from collections.abc import Sequence

from ssept.estimate import Estimate
from ssept.report.page.commands import matrix_command
from ssept.report.page.content import Dots, Figure, Mark, Part, Row, Section
from ssept.report.page.material import (
    LabelledRun,
    Material,
    cell_label,
    cell_name,
    interval,
    number,
)
from ssept.report.text import NOTHING
from ssept.results.schema import LATENCY, ONE_CORE, REAL_LENGTHS, Benchmark, Timed

MS_PER_S = 1e3
# Of each kind of latency: how the table calls it, and the tests that measure it.
KINDS = {
    LATENCY: ("full histories", "latency and not real"),
    REAL_LENGTHS: ("histories of real users", "real_lengths"),
    ONE_CORE: ("one core", "test_edge"),
}
Measured = tuple[Benchmark, Timed]


def latencies(material: Material) -> Section:
    """Return the quantiles of each cell's calls, by kind and batch size."""
    return Section(
        key="latency",
        title="Latency distributions",
        about="Half of the calls are within the bar, which reaches from the first to the third "
        "quartile; the marks are p50, p95 and p99 with their 99 % intervals, for the "
        "smallest and the largest batch; tables have the others. Times of one machine "
        "only: do not compare them with those of another.",
        parts=[part for run in material.runs if (part := _part(material, run)).figures],
        otherwise='tox -e bench -- -k "latency and not real"',
    )


def _part(material: Material, run: LabelledRun) -> Part:
    figures = []
    for kind, (words, tests) in KINDS.items():
        timed = run.measured(Timed, kind)
        for batch in sorted({facts.batch for _, facts in timed}):
            of_batch = [each for each in timed if each[1].batch == batch]
            title = f"Time of a call at batch {batch}, {words}"
            plotted = kind == LATENCY and batch in (run.batches[0], run.batches[-1])
            figures.append(_figure(run, of_batch, title, tests, plotted=plotted))
    return Part(heading=material.heading(run), figures=figures)


def _figure(
    run: LabelledRun, timed: Sequence[Measured], title: str, tests: str, *, plotted: bool
) -> Figure:
    ordered = sorted(timed, key=lambda each: each[0].stats.median)
    marks = [mark for each in ordered for mark in _marks(*each)]
    return Figure(
        title=title,
        columns=("cell", "p25 ms", "p50 ms", "p75 ms", "p95 ms", "p99 ms", "speed"),
        rows=[_row(*each) for each in ordered],
        plot=Dots(marks=marks, axis="ms a call", log=True) if marks and plotted else None,
        folded=not plotted,
        note=f"{NOTHING}: too few calls for this percentile. speed: times as fast as the baseline.",
        command=matrix_command(run, [each for each, _ in timed], tests),
        method="latency",
    )


def _marks(benchmark: Benchmark, facts: Timed) -> list[Mark]:
    percentiles = {"p50": facts.p50_ms, "p95": facts.p95_ms, "p99": facts.p99_ms}
    known: dict[str, Estimate] = {name: of for name, of in percentiles.items() if of and of.low > 0}
    return [
        Mark(
            variant=facts.variant,
            provider=facts.provider,
            label=cell_label(facts),
            series=name,
            value=found.value,
            low=found.low,
            high=found.high,
            box=_quartiles(benchmark) if name == "p50" else None,
        )
        for name, found in known.items()
    ]


def _quartiles(benchmark: Benchmark) -> tuple[float, float]:
    return benchmark.stats.q1 * MS_PER_S, benchmark.stats.q3 * MS_PER_S


def _row(benchmark: Benchmark, facts: Timed) -> Row:
    first, third = map(number, _quartiles(benchmark))
    cells = (first, interval(facts.p50_ms), third, interval(facts.p95_ms), interval(facts.p99_ms))
    return Row(
        cells=(cell_name(facts), *cells, interval(facts.speedup)),
        variant=facts.variant,
        provider=facts.provider,
    )
