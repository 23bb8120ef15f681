"""Curves of cost against the size of the work, as an SVG file that can be read without colours."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssept.decide.journal import Record
from ssept.decide.scale.measured_points import by_point
from ssept.decide.scale.points import AXES, Point, along
from ssept.files import written_file
from ssept.report.scale import TITLE, about

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measured = Mapping[Point, Record]
Panel = tuple[str, list[Point]]  # along which axis, through which points

# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is faint on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLUMNS = 3
PANEL_INCHES = (3.6, 3.1)
LEGEND_INCHES = 1.0
LEAST = "dashed: least possible for the graph"
LABELS = {
    "items": "items in the catalog",
    "length": "items in a sequence",
    "batch": "sequences in a call",
}


def draw_scale(records: Sequence[Record], around: Sequence[Point], path: Path) -> bool:
    """Draw a panel for each axis through each of some points, on logarithmic scales.

    Args:
        records: of the same settings and machine.
        around: the points; a panel needs measurements at two values of its axis.
        path: the SVG file to write, with its content in words as title and description.

    Returns:
        Whether there was a panel to draw.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    measured = by_point(records)
    panels = _panels(around, measured)
    if not panels:
        return False
    # Text stays text, which can be searched and read out; the same input gives the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ssept", "font.size": 9}):
        figure = Figure(layout="constrained")
        _draw(figure, panels, measured)
        figure.suptitle(f"{TITLE}: recommend(k=10)")
        with written_file(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
            svg = temporary.read_text(encoding="utf-8")
            told = _described(svg, f"{about(records)}. {_in_words(panels, measured)}")
            temporary.write_text(told, encoding="utf-8")
    return True


def _panels(around: Sequence[Point], measured: Measured) -> list[Panel]:
    panels: list[Panel] = []
    for axis in AXES:
        for centre in around:
            panel = (axis, along(centre, axis, measured))
            if len(panel[1]) > 1 and panel not in panels:
                panels.append(panel)
    return panels


def _draw(figure: "Figure", panels: Sequence[Panel], measured: Measured) -> None:
    rows = -(-len(panels) // COLUMNS)
    columns = min(COLUMNS, len(panels))
    width, height = PANEL_INCHES
    figure.set_size_inches(max(2, columns) * width, rows * height + LEGEND_INCHES)
    looks = _looks(measured)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        _curves(axes, panel, measured, looks)
        _label(axes, panel)
        if (place - 1) % columns == 0:
            axes.set_ylabel("ms a call")
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    names = [name for name in (*looks, LEAST) if name in lines]
    figure.legend(
        [lines[name] for name in names],
        names,
        loc="outside lower center",
        ncols=COLUMNS,
        frameon=False,
    )


def _looks(measured: Measured) -> dict[str, dict[str, str]]:
    """Return a colour and a marker for each cell: 7 colours and 8 markers give 56 combinations."""
    names = dict.fromkeys(name for cells in measured.values() for name in cells)
    pairs = zip(cycle(COLOURS), cycle(MARKERS))
    return {
        name: {"color": colour, "marker": marker}
        for name, (colour, marker) in zip(names, pairs, strict=False)
    }


def _curves(
    axes: "Axes", panel: Panel, measured: Measured, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    axis, points = panel
    bounded: set[str] = set()
    for name, look in looks.items():
        found = [(getattr(at, axis), measured[at][name]) for at in points if name in measured[at]]
        if not found:
            continue
        medians = [facts["median_ms"] for _, facts in found]
        axes.plot([size for size, _ in found], medians, label=name, markersize=5, **look)
        bounds = [(size, facts["least"]["ms"]) for size, facts in found if "ms" in facts["least"]]
        variant = found[0][1]["variant"]
        if bounds and variant not in bounded:  # a graph's is the same on each provider
            bounded.add(variant)
            sizes, least = zip(*bounds, strict=True)
            axes.plot(sizes, least, label=LEAST, linestyle="--", markersize=3, **look)


def _label(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axis, points = panel
    sizes = [getattr(point, axis) for point in points]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [_short(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel(LABELS[axis])
    axes.set_title(_fixed(panel))
    axes.grid(alpha=0.3)


def _fixed(panel: Panel) -> str:
    """Write the sizes that all points of a panel share: "10k items, length 50"."""
    axis, (first, *_) = panel
    said = {
        "items": f"{_short(first.items)} items",
        "length": f"length {first.length}",
        "batch": f"batch {first.batch}",
    }
    return ", ".join(text for name, text in said.items() if name != axis)


def _short(size: int) -> str:
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if size >= unit and size % (unit // 10) == 0:
            return f"{size / unit:g}{letter}"
    return str(size)


def _in_words(panels: Sequence[Panel], measured: Measured) -> str:
    """Describe both ends of each curve."""
    sentences = []
    for panel in panels:
        axis, points = panel
        ends = (points[0], points[-1])
        curves = [
            f"{name} from {measured[ends[0]][name]['median_ms']:.3g} "
            f"to {measured[ends[1]][name]['median_ms']:.3g}"
            for name in measured[ends[0]]
            if name in measured[ends[1]]
        ]
        low, high = (_short(getattr(end, axis)) for end in ends)
        sentences.append(
            f"{_fixed(panel)}, {LABELS[axis]} from {low} to {high}, ms: {'; '.join(curves)}."
        )
    return " ".join(sentences)


def _described(svg: str, description: str) -> str:
    """Add a title and a description to an SVG file, for screen readers."""
    start, tag, rest = svg.partition("<svg ")
    attributes, end, content = rest.partition(">")
    words = f"<title>{TITLE}</title>\n <desc>{escape(description)}</desc>"
    return f'{start}{tag}role="img" {attributes}{end}\n {words}{content}'
