"""Change points of a series: where the level of a figure became another one and stayed so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssept.errors import SseptError
from ssept.metrics import FloatArray

LEAST_RUNS = 6  # of a series in which a change is looked for
LEAST_AFTER = 2  # runs on either side of a change: one alone may be an outlier
LEAST_NOISE = 1e-6  # of figures that are the same in every run, as accuracy
NORMAL_MAD = 1 / stats.norm.ppf(0.75)  # the standard deviation over the median deviation
MEDIAN_ERROR = math.sqrt(math.pi / 2)  # the standard error of a median over that of a mean


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A change of level.

    Attributes:
        place: the first of the series with the new level.
        before, after: the median level on either side, up to the next change.
        low, high: the confidence interval of `after - before`.
        p_value: of no change, for this place alone.
    """

    place: int
    before: float
    after: float
    low: float
    high: float
    p_value: float


def shifts(values: FloatArray, level: float, confidence: float = 0.99) -> list[Shift]:
    """Find the changes of level in a series.

    Candidates are the partition with the least sum of absolute deviations from the medians of its
    segments, plus a penalty for each (PELT: Killick, Fearnhead and Eckley, JASA 107, 2012). Medians
    make a single odd run no change. A candidate stays if a t-test between its two segments, with
    the noise of the whole series and the error of medians, holds over all places that it might have
    had (Bonferroni); the weakest is dropped first, and its neighbours are tested anew.

    Args:
        values: float64[N] in the order of time, of a scale on which noise is alike: logarithms of
            ratios.
        level: the probability of any change where there is none.
        confidence: of the intervals.

    Raises:
        SseptError: the package ruptures is missing.
    """
    if len(values) < LEAST_RUNS:
        return []
    places = _candidates(values)
    while places:
        found = _tested(values, places, confidence)
        weakest = max(found, key=lambda shift: shift.p_value)
        if weakest.p_value * (len(values) - 1) <= level:
            return found
        places.remove(weakest.place)
    return []


def _candidates(values: FloatArray) -> list[int]:
    try:
        import ruptures
    except ImportError as error:
        raise SseptError(
            "change points are found by ruptures, which is not installed: install the history extra"
        ) from error
    penalty = _noise_of_neighbours(values) * math.log(len(values))
    search = ruptures.Pelt(model="l1", min_size=LEAST_AFTER, jump=1).fit(values[:, None])
    return [int(place) for place in search.predict(pen=penalty)[:-1]]


def _tested(values: FloatArray, places: Sequence[int], confidence: float) -> list[Shift]:
    """Test the changes at these places, each between its own segments."""
    segments = np.split(values, places)
    medians = [float(np.median(segment)) for segment in segments]
    freedom = max(1, len(values) - len(segments))
    noise = max(_noise_around(segments, freedom), _noise_of_neighbours(values))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom))
    found = []
    for at, place in enumerate(places):
        (before, after), sizes = medians[at : at + 2], map(len, segments[at : at + 2])
        error = MEDIAN_ERROR * noise * math.sqrt(sum(1 / size for size in sizes))
        change = after - before
        found.append(
            Shift(
                place=place,
                before=before,
                after=after,
                low=change - half * error,
                high=change + half * error,
                p_value=float(2 * stats.t.sf(abs(change) / error, freedom)),
            )
        )
    return found


def _noise_of_neighbours(values: FloatArray) -> float:
    """Estimate the standard deviation from the steps between runs, most of which are no change."""
    steps = np.abs(np.diff(values))
    return max(LEAST_NOISE, float(NORMAL_MAD * np.median(steps) / math.sqrt(2)))


def _noise_around(segments: Sequence[FloatArray], freedom: int) -> float:
    """Estimate it from the deviations from the segments' medians."""
    deviations = np.concatenate([np.abs(segment - np.median(segment)) for segment in segments])
    lost = math.sqrt(len(deviations) / freedom)
    return float(NORMAL_MAD * np.median(deviations) * lost)
