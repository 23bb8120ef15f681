"""Plots of a report as Vega-Lite specifications, made by Altair, and what they show in words."""

from ssept.report.page.charts.curves import curves
from ssept.report.page.charts.dots import dots
from ssept.report.page.charts.front import front
from ssept.report.page.charts.style import LOOK, Spec
from ssept.report.page.content import Curves, Dots, Front, Plot

__all__ = ["LOOK", "description_of", "spec_of"]
SEE_TABLE = "The table below has all numbers."


def spec_of(plot: Plot) -> Spec:
    """Return the specification of a plot."""
    if isinstance(plot, Dots):
        return dots(plot)
    return front(plot) if isinstance(plot, Front) else curves(plot)


def description_of(plot: Plot, title: str) -> str:
    """Say in words what a plot shows, for those who do not see it."""
    if isinstance(plot, Dots):
        return f"Dot plot. {title}: {_dots(plot)} {SEE_TABLE}"
    if isinstance(plot, Front):
        return f"Scatter plot. {title}: {_front(plot)} {SEE_TABLE}"
    return f"Line plot. {title}: {_curves(plot)} {SEE_TABLE}"


def _dots(plot: Dots) -> str:
    values = [mark.value for mark in plot.marks]
    lines = len({mark.label for mark in plot.marks})
    series = ", ".join(dict.fromkeys(mark.series for mark in plot.marks))
    return (
        f"{lines} lines, with marks for {series}; {plot.axis}, from {min(values):.3g} to "
        f"{max(values):.3g}."
    )


def _front(plot: Front) -> str:
    best = ", ".join(f"{spot.name} on {spot.provider}" for spot in plot.spots if spot.best)
    return (
        f"{len(plot.spots)} cells; {plot.x_axis} to the right, {plot.y_axis} upwards. On the "
        f"front: {best or 'none'}."
    )


def _curves(plot: Curves) -> str:
    series = ", ".join(dict.fromkeys(station.series for station in plot.stations))
    return f"{plot.y_axis} against {plot.x_axis}, for {series}."
