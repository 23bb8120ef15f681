"""Scatter plots with the front of the cells that no other beats in both aims."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

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
from ssept.report.page.content import Front, Spot

HEIGHT = 360
NAMES = ("name:N", "provider:N", "x:Q", "x_low:Q", "x_high:Q", "y:Q", "y_low:Q", "y_high:Q")
BROKEN = "datum.broken"
SIDES = ("left", "right")
ROOM = 0.3  # of the width, for the name of a spot


def front(plot: Front) -> Spec:
    """Return the chart; what breaks a promise is grey and pale."""
    axis = log_axis(end for spot in plot.spots for end in spot.x)

    def at(x: str = "x:Q", y: str = "y:Q") -> dict[str, Any]:
        return {
            "x": alt.X(x, title=plot.x_axis, scale=log_scale(), axis=axis),
            "y": alt.Y(y, title=plot.y_axis, scale=alt.Scale(zero=False, padding=14)),
        }

    base = alt.Chart()
    best = base.transform_filter("datum.best")
    providers = [*dict.fromkeys(spot.provider for spot in plot.spots)]
    colour = alt.Color(
        "provider:N", scale=named_scale(providers, COLOURS), legend=legend(providers)
    )
    shape = alt.Shape("provider:N", scale=named_scale(providers, SHAPES), legend=legend(providers))
    spots = base.encode(
        color=alt.when(BROKEN).then(alt.value(MUTED)).otherwise(colour), tooltip=[*NAMES]
    )
    ends = spots.mark_rule().encode(opacity=_paler(0.5))
    line = best.mark_line(color=MUTED, interpolate="step-before", strokeDash=[5, 3])
    layers = [
        line.encode(**at(), order="x:Q"),
        ends.encode(**at(x="x_low:Q"), x2="x_high:Q"),
        ends.encode(**at(y="y_low:Q"), y2="y_high:Q"),
        spots.mark_point(filled=True, size=1.5 * MARK_SIZE).encode(
            **at(), shape=shape, opacity=_paler(1)
        ),
        *(_names(base, side).encode(**at()) for side in SIDES),
    ]
    return spec(_rows(plot.spots), layers, HEIGHT)


def _rows(spots: Sequence[Spot]) -> Iterator[dict[str, Any]]:
    """Yield the data; of the front, those have a label that leave room for it."""
    left, right = (math.log(end(spot.x[0] for spot in spots)) for end in (min, max))
    labelled: list[float] = []
    for spot in sorted(spots, key=lambda spot: -spot.x[0]):  # the fastest first
        row = asdict(spot)
        for axis, ends in {"x": spot.x, "y": spot.y}.items():
            row |= zip((axis, f"{axis}_low", f"{axis}_high"), ends, strict=True)
        place = (math.log(spot.x[0]) - left) / ((right - left) or 1)
        if spot.best and all(abs(place - other) > ROOM for other in labelled):
            labelled.append(place)
            row |= {"label": f"{spot.name}|{spot.provider}", "side": SIDES[place > 0.5]}
        yield row


def _names(base: alt.Chart, side: str) -> alt.Chart:
    """Write names beside their spots, towards the middle of the plot."""
    text: alt.Chart = base.transform_filter(f"datum.side === '{side}'").mark_text(
        align="left" if side == SIDES[0] else "right",
        baseline="bottom",
        dx=7 if side == SIDES[0] else -7,
        dy=-16,  # above the spot with both of its lines
        color=TEXT,
        fontWeight="bold",
        lineBreak="|",
    )
    return text.encode(text="label:N")


def _paler(opacity: float) -> Any:
    return alt.when(BROKEN).then(alt.value(opacity / 3)).otherwise(alt.value(opacity))
