"""The content of a report, made of saved runs."""

from collections.abc import Sequence

from ssept.report.page.content import Content, Figure, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material
from ssept.report.page.methods import METHODS
from ssept.report.page.sections import SECTIONS
from ssept.results.cells import SHORT


def content_of(material: Material) -> Content:
    """Return all sections, and last how each figure was measured."""
    found = [section(material) for section in SECTIONS]
    return Content(
        title="What to deploy, and why",
        runs=_runs(material),
        sections=[*found, _how(found)],
    )


def _runs(material: Material) -> Figure:
    return Figure(
        title="Saved runs in this report",
        columns=("run", "file", "machine", "date", "commit", "baseline", "checkpoint", "data"),
        rows=[Row(cells=_run(each)) for each in material.runs],
    )


def _run(labelled: LabelledRun) -> tuple[str, ...]:
    run = labelled.run
    facts = run.facts[0]
    checkpoint = f"{facts.checkpoint or ''} {facts.checkpoint_sha256[:SHORT]}".strip()
    return (
        labelled.label,
        run.path.name,
        str(labelled.machine),
        run.content.datetime[:10],
        run.commit,
        str(run.baseline.combination),
        checkpoint,
        facts.data_hash[:SHORT],
    )


def _how(sections: Sequence[Section]) -> Section:
    """Return the methods of the figures that are there, and the command of each."""
    figures = [
        (section, part, figure)
        for section in sections
        for part in section.parts
        for figure in part.figures
        if figure.command
    ]
    used = {figure.method for _, _, figure in figures}
    methods = Figure(
        title="Methods",
        columns=("figure", "method"),
        rows=[Row(cells=words) for name, words in METHODS.items() if name in used],
    )
    heading = {part.heading for _, part, _ in figures} != {""}
    commands = Figure(
        title="Commands",
        columns=("section", *(["run"] if heading else []), "figure", "command"),
        rows=[
            Row(
                cells=(
                    section.title,
                    *([part.heading.partition(":")[0]] if heading else []),
                    figure.title,
                    figure.command,
                )
            )
            for section, part, figure in figures
        ],
        note="A command measures the same figures again, on this machine and with the data set of "
        "MOVIELENS_DATA_DIR, or else the embedded one. The report itself: ssept report FILES.",
    )
    return Section(
        key="method",
        title="How it was measured",
        about="In plain words, and the command of each figure.",
        parts=[Part(figures=[methods, commands])],
    )
