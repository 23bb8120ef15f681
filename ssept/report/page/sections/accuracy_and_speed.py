"""Section 2: accuracy against speed, with the front of the cells that no other beats in both."""

from collections.abc import Sequence

from ssept.decide.choose import Candidate, Goal
from ssept.decide.choose.saved import candidates_of
from ssept.estimate import Estimate
from ssept.report.page.commands import matrix_command
from ssept.report.page.content import Figure, Front, Part, Row, Section, Spot
from ssept.report.page.material import LabelledRun, Material, interval
from ssept.results.schema import ACCURACY, LATENCY, Accuracy, Timed

SPEED = "times as fast as the baseline"
CHANGE, NDCG = "change of NDCG@10 in %", "NDCG@10"


def accuracy_and_speed(material: Material) -> Section:
    """Return accuracy against speed for the smallest and the largest batch of each run."""
    return Section(
        key="accuracy-and-speed",
        title="Accuracy against speed",
        about="Right is faster, up is more accurate. The line joins the cells that no other one "
        "beats in both and that keep all promises; cells that break a promise "
        "are grey. Intervals: 99 % for speed, 90 % over users for accuracy.",
        parts=[part for run in material.runs if (part := _part(material, run)).figures],
        otherwise='tox -e bench -- -k "accuracy or (latency and not real)"',
    )


def _part(material: Material, run: LabelledRun) -> Part:
    batches = dict.fromkeys((run.batches[:1] + run.batches[-1:]) if run.batches else [])
    figures = [figure for batch in batches if (figure := _figure(material, run, batch))]
    return Part(heading=material.heading(run), figures=figures)


def _figure(material: Material, run: LabelledRun, batch: int) -> Figure | None:
    candidates = candidates_of(run.run, Goal.LATENCY, batch)
    accuracies, axis = _accuracies(run, candidates)
    known = [
        (each, each.rate, accuracies[each.name])
        for each in candidates
        if each.rate and each.name in accuracies
    ]
    if not known:
        return None
    broken = {each.name: material.promises.broken_by(each) for each in candidates}
    able = [(rate, accuracy) for each, rate, accuracy in known if not broken[each.name]]
    spots = [
        Spot(
            variant=each.cell.variant,
            provider=each.cell.provider,
            name=each.cell.variant,
            x=(rate.value, rate.low, rate.high),
            y=(accuracy.value, accuracy.low, accuracy.high),
            broken=bool(broken[each.name]),
            best=not broken[each.name] and not _beaten(rate, accuracy, able),
        )
        for each, rate, accuracy in known
    ]
    rows = [
        _row(*each, spot, broken[each[0].name]) for each, spot in zip(known, spots, strict=True)
    ]
    return Figure(
        title=f"{axis[0].upper()}{axis[1:]} and speed at batch {batch}",
        columns=("cell", "speed", axis, "on the front", "promises"),
        rows=rows,
        plot=Front(spots=spots, x_axis=SPEED, y_axis=axis),
        command=matrix_command(
            run,
            [each for each, facts in run.measured(Timed, LATENCY) if facts.batch == batch],
            "accuracy or (latency and not real)",
        ),
        method="accuracy",
    )


def _accuracies(
    run: LabelledRun, candidates: Sequence[Candidate]
) -> tuple[dict[str, Estimate], str]:
    """Return the accuracy of candidates by name: the change where it was measured, else NDCG."""
    if any(each.ndcg_change for each in candidates):
        changes = {each.name: each.ndcg_change for each in candidates}
        found = {name: one.map(lambda share: 100 * share) for name, one in changes.items() if one}
        return found, CHANGE
    of_cell = {
        (facts.variant, facts.provider, facts.threads): facts.full.ndcg
        for _, facts in run.measured(Accuracy, ACCURACY)
        if facts.split == "test"
    }
    keys = {each.name: (*each.cell, each.threads) for each in candidates}
    return {name: of_cell[key] for name, key in keys.items() if key in of_cell}, NDCG


def _beaten(rate: Estimate, accuracy: Estimate, able: Sequence[tuple[Estimate, Estimate]]) -> bool:
    """Whether one of the others is better in one aim and not worse in the other."""
    own = (rate.value, accuracy.value)
    others = [(each.value, its.value) for each, its in able]
    return any(x >= own[0] and y >= own[1] and (x, y) != own for x, y in others)


def _row(
    candidate: Candidate, rate: Estimate, accuracy: Estimate, spot: Spot, broken: Sequence[str]
) -> Row:
    promises = f"breaks: {'; '.join(broken)}" if broken else "kept"
    on_front = "yes" if spot.best else ""
    threads = f", threads {candidate.threads}" if candidate.threads > 1 else ""
    name = f"{candidate.cell}{threads}"
    return Row(
        cells=(name, interval(rate), interval(accuracy), on_front, promises),
        variant=candidate.cell.variant,
        provider=candidate.cell.provider,
    )
