"""Section 7: cost as the catalog, the sequences and the batches grow."""

from collections.abc import Mapping, Sequence

from ssept.decide.journal import Record
from ssept.decide.scale.measured_points import by_point
from ssept.decide.scale.points import AXES, Point, along
from ssept.estimate import Estimate
from ssept.report.page.content import Curves, Figure, Part, Row, Section, Station
from ssept.report.page.material import Material, interval, number
from ssept.report.scale import about
from ssept.report.text import NOTHING

AXIS_TITLES = {
    "items": "items in the catalog",
    "length": "items in a sequence",
    "batch": "sequences in a call",
}
CURVE = 3  # points that a curve needs


def scale(material: Material) -> Section:
    """Return the cost of each measured axis, that of the catalog first."""
    return Section(
        key="scale",
        title="Cost as the catalog grows",
        about="The time of a call against the size of the work, on logarithmic axes; dashed: the "
        "least time that the graph could take on that machine.",
        parts=[_part(material)] if material.scale else [],
        otherwise="ssept scale --out=DIR && ssept report RUN --scale=DIR -o report.html",
    )


def _part(material: Material) -> Part:
    measured = by_point(material.scale)
    figures: list[Figure] = []
    seen: set[tuple[str | Point, ...]] = set()
    for axis in AXES:
        for centre in measured:
            points = along(centre, axis, measured)
            if len(points) >= CURVE and (axis, *points) not in seen:
                seen.add((axis, *points))
                figures.append(_figure(axis, points, {point: measured[point] for point in points}))
    return Part(sentences=[f"Measured on {about(material.scale)}."], figures=figures)


def _figure(axis: str, points: Sequence[Point], measured: Mapping[Point, Record]) -> Figure:
    cells = [(point, name, facts) for point in points for name, facts in measured[point].items()]
    first = points[0]
    fixed = {"items": f"{first.items:,} items", "length": f"length {first.length}"}
    fixed |= {"batch": f"batch {first.batch}"}
    del fixed[axis]
    return Figure(
        title=f"{AXIS_TITLES[axis].capitalize()}, {', '.join(fixed.values())}",
        columns=("cell", AXIS_TITLES[axis], "speed", "ms", "least ms", "bound by"),
        rows=[_row(name, getattr(point, axis), facts) for point, name, facts in cells],
        plot=Curves(
            stations=[
                station
                for point, name, facts in cells
                for station in _stations(name, getattr(point, axis), facts)
            ],
            x_axis=AXIS_TITLES[axis],
            y_axis="ms a call",
        ),
        note="speed: times as fast as the baseline at the same point, with a 99 % interval.",
        command=f"ssept scale --around={first} --variants={_names(cells, 'variant')} "
        f"--providers={_names(cells, 'provider')}",
        method="scale",
    )


def _names(cells: Sequence[tuple[Point, str, Record]], which: str) -> str:
    return ",".join(dict.fromkeys(facts[which] for _, _, facts in cells))


def _row(name: str, size: int, facts: Record) -> Row:
    least = facts["least"]
    bound = (number(least["ms"]), least["bound_by"]) if "ms" in least else (NOTHING, NOTHING)
    return Row(
        cells=(
            name,
            f"{size:,}",
            interval(Estimate(**facts["speedup"])),
            number(facts["median_ms"]),
            *bound,
        ),
        variant=facts["variant"],
        provider=facts["provider"],
    )


def _stations(name: str, size: int, facts: Record) -> list[Station]:
    times = {False: facts["median_ms"], True: facts["least"].get("ms")}
    return [
        Station(
            variant=facts["variant"],
            provider=facts["provider"],
            series=name,
            x=size,
            y=time,
            bound=bound,
        )
        for bound, time in times.items()
        if time
    ]
