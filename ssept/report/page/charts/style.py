"""What all plots share: colours, shapes, scales and the look of axes.

Colours are the page's CSS variables, so that dark mode and print change them without a redraw.
Series differ in shape as well as in colour.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

Spec = dict[str, Any]  # of Vega-Lite
DATA = "cells"  # under this name a specification has its data
TEXT, MUTED, LINE = "var(--text)", "var(--muted)", "var(--line)"
# Okabe and Ito, "Color Universal Design" (2008), without the yellow; page.css has the values.
COLOURS = tuple(f"var(--series-{number})" for number in range(1, 8))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
MARK_SIZE, FONT_SIZE = 55, 11
DIGITS = 4  # of numbers in the page
LOOK = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": 2,
    "axis": {
        "labelColor": TEXT,
        "titleColor": TEXT,
        "titleFontWeight": "normal",
        "gridColor": LINE,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
    },
    "legend": {"labelColor": TEXT, "labelFontSize": FONT_SIZE},
    "view": {"stroke": None},
}  # of all plots: Vega-Lite's `config`, which the page holds once
STEPS = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)  # of a logarithmic axis, in a decade
NARROW = 4.0  # times from end to end, within which all steps are labelled
WIDE_STEPS = (1, 2, 5)
PADDING = 14  # pixels between the outermost marks and the frame


def named_scale(names: Sequence[str], values: Sequence[str]) -> alt.Scale:
    """Give each name a value, of COLOURS or of SHAPES."""
    return alt.Scale(
        domain=[*names], range=[values[place % len(values)] for place in range(len(names))]
    )


def legend(names: Sequence[str]) -> alt.Legend | None:
    """Return the legend of several names, above the plot."""
    if len(names) == 1:
        return None
    return alt.Legend(
        title=None,
        orient="top",
        labelLimit=0,
        columns=alt.ExprRef("width < 450 ? 2 : 4"),  # on a phone the names need two rows and more
        symbolSize=MARK_SIZE,
        symbolOpacity=1,
    )


def log_scale() -> alt.Scale:
    """Return a logarithmic scale that is no wider than its values."""
    return alt.Scale(type="log", nice=False, padding=PADDING)


def log_axis(values: Iterable[float]) -> alt.Axis:
    """Label a logarithmic axis where numbers are round; Vega alone leaves most of a decade bare."""
    known = [*values]
    low, high = min(known), max(known)
    steps = STEPS if high / low < NARROW else WIDE_STEPS
    decades = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return alt.Axis(
        values=[shortened(tick) for tick in ticks if low / 1.2 <= tick <= high * 1.2],
        format="~g",
        labelOverlap="greedy",
    )


def spec(
    rows: Iterable[dict[str, Any]], layers: Sequence[alt.Chart], height: int, **usermeta: int
) -> Spec:
    """Join layers to a chart as wide as its place.

    Args:
        rows: the data of all layers; numbers are rounded.
        layers: without data of their own.
        height: of the frame in pixels.
        usermeta: what the page's script has to know.
    """
    chart = alt.LayerChart(data=alt.NamedData(DATA), layer=[*layers]).properties(
        width="container",
        height=height,
        autosize={"type": "fit-x", "contains": "padding"},
        usermeta=usermeta,
    )
    return chart.to_dict() | {"datasets": {DATA: [*map(rounded, rows)]}}


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with short numbers, without what is not known: the page must stay small."""
    return {name: shortened(value) for name, value in row.items() if value is not None}


def shortened(value: Any) -> Any:
    """Round a number, or those of a tuple."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return [*map(shortened, value)] if isinstance(value, tuple) else value
