"""A history: the changes of all series of a branch, and which of them are alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from ssept.decide.history.changes import LEAST_RUNS, Shift, shifts
from ssept.decide.history.series import Point, Series, commits, series_of
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.results.cells import MatrixRun
from ssept.results.conditions import conditions, differences

LEVEL = 0.01  # the probability of a change in any series where there is none
MIN_CHANGE = 0.02
RECENT = 10


@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure that is another from a commit on.

    Attributes:
        series: whose.
        place: of the first commit of the new level in the series.
        last_before, first_after: the measured commits on either side: one of the commits after the
            first, up to and with the second, changed it.
        before, after: the level on either side.
        change: after / before - 1.
        p_value: of no change, over all places of its series.
        conditions: machine, packages and settings that differ between the two commits' runs too,
            each with both values.
        alarm: it is for the worse, and recent.
    """

    series: Series
    place: int
    last_before: str
    first_after: str
    before: float
    after: float
    change: Estimate
    p_value: float
    conditions: dict[str, list[str]]
    alarm: bool


@dataclass(frozen=True, kw_only=True)
class History:
    """What a branch went through.

    Attributes:
        points: its measured commits, oldest first.
        left_out: runs of uncommitted changes or of no repository.
        series: in the order of their first runs.
        changes: the later first.
        too_short: how many of the series have too few commits for a change to be found.
    """

    points: list[Point]
    left_out: int
    series: list[Series]
    changes: list[Change]
    too_short: int


def history(
    runs: Sequence[MatrixRun],
    *,
    min_change: float = MIN_CHANGE,
    recent: int = RECENT,
    last: int | None = None,
) -> History:
    """Find the changes in the figures of a branch.

    Args:
        runs: of its commits, in any order.
        min_change: smaller changes are not told; a share.
        recent: a change for the worse is an alarm if it lies within the latest measured commits.
        last: look at the latest measured commits only.

    Raises:
        SseptError: no run is of a commit.
    """
    points = commits(runs)
    left_out = len(runs) - sum(len(point.runs) for point in points)
    if not points:
        raise SseptError(
            "no run belongs to a commit: expected runs of a clean checkout, whose commit_info has "
            "an id and a time, and is not dirty"
        )
    points = points[-last:] if last else points
    found = series_of(points)
    latest = {point.commit for point in points[-recent:]}
    changes = [
        change
        for series in found
        for shift in shifts(np.log(series.values), LEVEL / len(found))
        if abs((change := _change(series, shift, latest)).change.value) >= min_change
    ]
    order = {point.commit: place for place, point in enumerate(points)}
    changes.sort(key=lambda change: (-order[change.first_after], change.change.value))
    short = sum(len(series.values) < LEAST_RUNS for series in found)
    return History(points=points, left_out=left_out, series=found, changes=changes, too_short=short)


def _change(series: Series, shift: Shift, latest: set[str]) -> Change:
    before, after = series.points[shift.place - 1], series.points[shift.place]
    differing = differences([conditions(before.runs[-1]), conditions(after.runs[0])])
    differing.pop("commit", None)
    ratio = Estimate(shift.after - shift.before, shift.low, shift.high)
    return Change(
        series=series,
        place=shift.place,
        last_before=before.commit,
        first_after=after.commit,
        before=exp(shift.before),
        after=exp(shift.after),
        change=ratio.map(lambda log: exp(log) - 1),
        p_value=min(1.0, shift.p_value * (len(series.values) - 1)),
        conditions=differing,
        alarm=shift.after < shift.before and after.commit in latest,
    )
