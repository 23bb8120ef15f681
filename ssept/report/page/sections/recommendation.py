"""Section 1: what to deploy, and what that rests on."""

import shlex
from collections.abc import Sequence

from ssept.decide.choose import Candidate, Goal, Recommendation, recommend
from ssept.decide.choose.everywhere import everywhere
from ssept.decide.compare.caveats import why_no_ratio
from ssept.errors import SseptError
from ssept.report.choose import choice_columns, sentence
from ssept.report.everywhere import LEGEND, everywhere_columns, together
from ssept.report.page.commands import matrix_command
from ssept.report.page.content import Dots, Figure, Mark, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material, cell_label, cell_name, interval
from ssept.results.schema import LATENCY, Timed

NOT_FROM_THIS = "No recommendation from this run"


def recommendation(material: Material) -> Section:
    """Return the recommendation of each run; of several runs, first their ratios side by side."""
    parts = [_of_run(material, run) for run in material.runs]
    beside = _together(material)
    on_all = _on_all_machines(material)
    return Section(
        key="recommendation",
        title="Recommendation and its evidence",
        about=f"What is best for the goal {material.goal.value} at batch {material.batch}, among "
        "the cells that keep all promises. A cell is a variant of the model on a provider that "
        "runs it. Speeds are relative to the baseline of the same run, with 99 % intervals."
        " Times of two machines are never compared.",
        parts=[*filter(None, (on_all, beside)), *parts],
        otherwise="ssept choose",
    )


def _on_all_machines(material: Material) -> Part | None:
    """Return which cell is good on all machines; None of one machine, or of several models."""
    runs = {run.machine: run.run for run in material.runs}  # of two on one machine, the later
    if len(runs) < 2:
        return None
    try:
        found = everywhere([*runs.values()], material.goal, material.promises, material.batch)
    except SseptError:  # the runs' own parts say what is wrong with them
        return None
    columns = everywhere_columns(found)
    figure = Figure(
        title=f"By how much the best of each machine is better, for the goal {material.goal.value}",
        columns=tuple(columns),
        rows=[Row(cells=cells) for cells in zip(*columns.values(), strict=True)],
        note=LEGEND,
        command=shlex.join(["ssept", "choose", *(str(run.path) for run in runs.values())])
        + f" --goal={material.goal.value}",
    )
    figures = [figure] if found.regrets else []
    return Part(heading="All machines", sentences=[together(found)], figures=figures, answers=True)


def found_in(material: Material, run: LabelledRun) -> Recommendation | str:
    """Return the recommendation of a run, or why there is none."""
    try:
        return recommend(run.run, material.goal, material.promises, material.batch)
    except SseptError as error:
        return f"{NOT_FROM_THIS}: {str(error).removeprefix(f'{run.run.path}: ')}."


def _of_run(material: Material, run: LabelledRun) -> Part:
    found = found_in(material, run)
    heading = material.heading(run)
    if isinstance(found, str):
        return Part(heading=heading, sentences=[f"{found} `ssept choose` measures for one."])
    return Part(
        heading=heading,
        sentences=[sentence(found)],
        figures=[_evidence(material, run, found)],
        answers=True,
    )


def _evidence(material: Material, run: LabelledRun, found: Recommendation) -> Figure:
    columns = choice_columns(found, found.ranked)
    rows = [
        Row(cells=cells, variant=each.cell.variant, provider=each.cell.provider)
        for each, cells in zip(found.ranked, zip(*columns.values(), strict=True), strict=True)
    ]
    marks = [
        Mark(
            variant=each.cell.variant,
            provider=each.cell.provider,
            label=_label(each, material.goal),
            series="breaks a promise" if found.broken.get(each.name) else "keeps the promises",
            value=each.rate.value,
            low=each.rate.low,
            high=each.rate.high,
        )
        for each in found.ranked
        if each.rate
    ]
    timed = [benchmark for benchmark, _ in run.measured(Timed, LATENCY)]
    return Figure(
        title=f"All candidates for the goal {found.goal.value}, the best first",
        columns=tuple(name or "remark" for name in columns),
        rows=rows,
        plot=Dots(marks=marks, axis="times as fast as the baseline", log=True, reference=1)
        if marks
        else None,
        note="speed: sequences a second relative to the baseline's; NDCG@10: "
        "the change from the baseline's; memory: peak of the process in MB.",
        command=matrix_command(run, timed, "latency and not real"),
        method="speed",
    )


def _label(candidate: Candidate, goal: Goal) -> str:
    """Name a candidate on two lines; the batch size only where several compete."""
    threads = f", threads {candidate.threads}" if candidate.threads > 1 else ""
    batch = f", batch {candidate.batch}" if goal in (Goal.THROUGHPUT, Goal.COST) else ""
    return f"{candidate.cell.variant}|{candidate.cell.provider}{threads}{batch}"


def _together(material: Material) -> Part | None:
    """Put the ratios of cells that several runs measured side by side."""
    timed = [
        (run, facts)
        for run in material.runs
        for _, facts in run.measured(Timed, LATENCY)
        if facts.batch == material.batch and facts.speedup
    ]
    runs_of: dict[str, list[tuple[LabelledRun, Timed]]] = {}
    for run, facts in timed:
        runs_of.setdefault(cell_name(facts), []).append((run, facts))
    shared = {name: of for name, of in runs_of.items() if len({run.label for run, _ in of}) > 1}
    if not shared:
        return None
    labels = {run.label for of in shared.values() for run, _ in of}
    runs = [run for run in material.runs if run.label in labels]
    marks = [
        Mark(
            variant=facts.variant,
            provider=facts.provider,
            label=cell_label(facts),
            series=_series(material, run),
            value=facts.speedup.value,
            low=facts.speedup.low,
            high=facts.speedup.high,
        )
        for of in shared.values()
        for run, facts in of
        if facts.speedup
    ]
    figure = Figure(
        title=f"Speed relative to the baseline at batch {material.batch}, of cells in several runs",
        columns=("cell", *(_series(material, run) for run in runs)),
        rows=[_row(name, of, runs) for name, of in shared.items()],
        plot=Dots(
            marks=marks, axis="times as fast as the baseline", log=True, reference=1, beside=True
        ),
        command=shlex.join(["ssept", "compare", *(str(run.run.path) for run in runs)]),
        method="speed",
    )
    return Part(heading="All runs", sentences=_caveats(material), figures=[figure])


def _series(material: Material, run: LabelledRun) -> str:
    machine = f", machine {run.machine}" if material.several_machines else ""
    return f"run {run.label}{machine}"


def _row(name: str, of: Sequence[tuple[LabelledRun, Timed]], runs: Sequence[LabelledRun]) -> Row:
    known = {run.label: facts for run, facts in of}
    facts = of[0][1]
    found = [known.get(run.label) for run in runs]
    cells = [interval(each.speedup if each else None) for each in found]
    return Row(cells=(name, *cells), variant=facts.variant, provider=facts.provider)


def _caveats(material: Material) -> list[str]:
    """Say which baselines differ, since a ratio is no better than what it is relative to."""
    first, *others = material.runs
    why = {run.label: why_no_ratio(LATENCY, first.run.baseline, run.run.baseline) for run in others}
    return [
        f"Runs {first.label} and {label}: {reason}, so their ratios answer different questions."
        for label, reason in why.items()
        if reason
    ]
