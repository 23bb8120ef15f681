"""Line plots, mostly on logarithmic axes, with a dashed line for the lower bound of a curve."""

from dataclasses import asdict

import altair as alt

from ssept.report.page.charts.style import (
    COLOURS,
    MARK_SIZE,
    SHAPES,
    Spec,
    legend,
    log_axis,
    log_scale,
    named_scale,
    spec,
)
from ssept.report.page.content import Curves

HEIGHT = 340


def curves(plot: Curves) -> Spec:
    """Return the chart."""
    series = [*dict.fromkeys(station.series for station in plot.stations)]
    sizes = sorted({station.x for station in plot.stations})
    times = log_axis(station.y for station in plot.stations)
    if plot.steps:
        scale, axis = alt.Scale(zero=False), alt.Axis(tickMinStep=1)
    else:
        scale, axis = log_scale(), alt.Axis(values=sizes, format="~s", labelOverlap="greedy")
    base = alt.Chart().encode(
        x=alt.X(
            "x:Q",
            title=plot.x_axis,
            scale=scale,
            axis=axis,
        ),
        y=alt.Y("y:Q", title=plot.y_axis, scale=log_scale(), axis=times),
        color=alt.Color("series:N", scale=named_scale(series, COLOURS), legend=legend(series)),
        tooltip=["series:N", "x:Q", "y:Q", "bound:N"],
    )
    shape = alt.Shape("series:N", scale=named_scale(series, SHAPES), legend=legend(series))
    bound = base.transform_filter("datum.bound")
    measured = base.transform_filter("!datum.bound")
    layers = [
        bound.mark_line(strokeDash=[4, 4], strokeWidth=1.5),
        measured.mark_line(strokeWidth=2),
        measured.mark_point(filled=True, size=MARK_SIZE, opacity=1).encode(shape=shape),
    ]
    return spec(map(asdict, plot.stations), layers, HEIGHT)
