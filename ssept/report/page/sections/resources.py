"""Section 5: the size of the model file, the memory of a process, and its cold start."""

from collections.abc import Callable

from ssept.report.page.commands import matrix_command
from ssept.report.page.content import Dots, Figure, Mark, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material, cell_label, cell_name, number
from ssept.report.text import BYTES_PER_MEGABYTE
from ssept.results.schema import SERVED, Benchmark, Facts, Footprint

FOOTPRINTS: dict[str, tuple[str, Callable[[Footprint], float]]] = {
    "Peak memory of a process": ("MB", lambda facts: facts.peak_rss_bytes / BYTES_PER_MEGABYTE),
    "Cold start of a process": ("s", lambda facts: facts.total_s),
}


def resources(material: Material) -> Section:
    """Return size, memory and cold start of each run."""
    return Section(
        key="resources",
        title="Size, memory and cold start",
        about="What a cell needs besides time. Less is better.",
        parts=[part for run in material.runs if (part := _part(material, run)).figures],
        otherwise="tox -e bench -- -k footprint",
    )


def _part(material: Material, run: LabelledRun) -> Part:
    figures = [*_sizes(run)]
    if measured := run.measured(Footprint):
        figures += [_footprint(run, measured, title) for title in FOOTPRINTS]
    return Part(heading=material.heading(run), figures=figures)


def _sizes(run: LabelledRun) -> list[Figure]:
    """Return the size of each variant's file, which is the same on all providers."""
    files = {
        (facts.variant, facts.artifact_sha256): (benchmark, facts)
        for benchmark, facts in run.measured(Facts)
        if not facts.measure.startswith(SERVED)
    }
    ordered = sorted(files.values(), key=lambda each: each[1].size_bytes)
    if not ordered:
        return []
    megabytes = [facts.size_bytes / BYTES_PER_MEGABYTE for _, facts in ordered]
    rows = [
        Row(cells=(facts.variant, number(size)), variant=facts.variant)
        for (_, facts), size in zip(ordered, megabytes, strict=True)
    ]
    marks = [
        Mark(variant=facts.variant, provider="", label=facts.variant, series="size", value=size)
        for (_, facts), size in zip(ordered, megabytes, strict=True)
    ]
    variants = ",".join(dict.fromkeys(facts.variant for _, facts in ordered))
    return [
        Figure(
            title="Size of the model file",
            columns=("variant", "MB"),
            rows=rows,
            plot=Dots(marks=marks, axis="MB", from_zero=True),
            command=f"ssept build --variants={variants} --out=DIR",
            method="size",
        )
    ]


def _footprint(run: LabelledRun, measured: list[tuple[Benchmark, Footprint]], title: str) -> Figure:
    unit, value = FOOTPRINTS[title]
    ordered = sorted((facts for _, facts in measured), key=value)
    marks = [
        Mark(
            variant=facts.variant,
            provider=facts.provider,
            label=cell_label(facts),
            series=unit,
            value=value(facts),
        )
        for facts in ordered
    ]
    rows = [
        Row(
            cells=(cell_name(facts), number(value(facts))),
            variant=facts.variant,
            provider=facts.provider,
        )
        for facts in ordered
    ]
    return Figure(
        title=title,
        columns=("cell", unit),
        rows=rows,
        plot=Dots(marks=marks, axis=unit, from_zero=True),
        command=matrix_command(run, [each for each, _ in measured], "footprint"),
        method="memory",
    )
