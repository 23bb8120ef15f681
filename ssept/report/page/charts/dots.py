"""Dot plots: a line for each cell, with a mark for each value."""

from collections.abc import Iterator
from dataclasses import asdict

import altair as alt

from ssept.report.page.charts.style import (
    COLOURS,
    MARK_SIZE,
    MUTED,
    SHAPES,
    TEXT,
    Spec,
    legend,
    log_axis,
    log_scale,
    named_scale,
    spec,
)
from ssept.report.page.content import Dots

ROW_HEIGHT, SERIES_HEIGHT, GAP = 28, 11, 8  # pixels
NAMES = ("cell:N", "series:N", "value:Q", "low:Q", "high:Q")


def dots(plot: Dots) -> Spec:
    """Return the chart; a bar from zero in place of a mark where the plot asks for it."""
    series = [*dict.fromkeys(mark.series for mark in plot.marks)]
    base = alt.Chart()
    lines = _lines(base, plot, series)
    layers = [_reference(base, plot.reference)] if plot.reference is not None else []
    layers += _bars(lines, plot) if plot.from_zero else _marks(lines, plot, series)
    line = SERIES_HEIGHT * len(series) + GAP if plot.beside else ROW_HEIGHT
    # The page draws fewer lines where cells are filtered out, and then lowers the height.
    height = line * len({mark.label for mark in plot.marks})
    return spec(map(asdict, plot.marks), layers, height, lineHeight=line)


def _lines(base: alt.Chart, plot: Dots, series: list[str]) -> alt.Chart:
    """Place the cells below each other, named on two lines."""
    axis = alt.Axis(
        labelExpr="split(datum.label, '|')", labelLimit=0, labelLineHeight=12, grid=True
    )
    lines = base.transform_calculate(cell="replace(datum.label, '|', ' on ')").encode(
        y=alt.Y("label:N", sort=None, title=None, axis=axis),
        color=alt.Color("series:N", scale=named_scale(series, COLOURS), legend=legend(series)),
        tooltip=[*NAMES],
    )
    return lines.encode(yOffset=alt.YOffset("series:N", sort=None)) if plot.beside else lines


def _bars(lines: alt.Chart, plot: Dots) -> list[alt.Chart]:
    x = alt.X("value:Q", title=plot.axis, scale=alt.Scale(zero=True))
    return [lines.mark_bar(height={"band": 0.55}).encode(x=x)]


def _marks(lines: alt.Chart, plot: Dots, series: list[str]) -> list[alt.Chart]:
    """Return layers: from the first to the last mark, quartiles, intervals, marks."""
    scale = log_scale() if plot.log else alt.Scale(zero=False, padding=14)

    def x(field: str) -> alt.X:
        return alt.X(field, title=plot.axis, scale=scale)

    layers = []
    if len(series) > 1 and not plot.beside:
        joined = lines.mark_rule(opacity=0.5).encode(color=alt.value(MUTED), tooltip=[])
        layers.append(joined.encode(x=x("min(value):Q"), x2="max(value):Q"))
    if any(mark.box for mark in plot.marks):
        box = lines.mark_bar(height=9, opacity=0.45)
        layers.append(box.encode(x=x("box[0]:Q"), x2="box[1]:Q"))
    if any(mark.low is not None for mark in plot.marks):
        layers.append(lines.mark_rule(strokeWidth=2).encode(x=x("low:Q"), x2="high:Q"))
    shape = alt.Shape("series:N", scale=named_scale(series, SHAPES), legend=legend(series))
    marks = lines.mark_point(filled=True, size=MARK_SIZE, opacity=1)
    axis = log_axis(_ends(plot)) if plot.log else alt.Axis(format="~g")
    return [*layers, marks.encode(x=x("value:Q").axis(axis), shape=shape)]


def _ends(plot: Dots) -> Iterator[float]:
    if plot.reference is not None:
        yield plot.reference
    for mark in plot.marks:
        yield from (end for end in (mark.low, mark.value, mark.high) if end is not None)


def _reference(base: alt.Chart, value: float) -> alt.Chart:
    rule: alt.Chart = base.mark_rule(color=TEXT, strokeDash=[3, 3]).encode(x=alt.datum(value))
    return rule
