"""Statistics of repeated timings, with intervals: percentiles and paired ratios.

All intervals are distribution-free: latencies are skewed and heavy-tailed, so nothing here takes
them for normal. Independence is still assumed. Calls close in time are not independent, which
`block_medians` corrects for ratios; for percentiles, the interval is the least uncertainty.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssept.estimate import Estimate

FloatArray = NDArray[np.float64]

# The samples that a percentile needs: the smallest n at which even the second-largest sample is a
# 99 % upper confidence bound of it, P(Binomial(n, 1 - q) <= 1) <= 0.01, so that one freak call
# does not set that bound (a two-sided 99 % interval, at 0.5 % a side, may still end at it). The
# counts for 90, 95 and 99 are those of the early-stopping rule of MLPerf LoadGen
# (github.com/mlcommons/inference, loadgen/early_stopping.cc; Reddi et al., "MLPerf Inference
# Benchmark", ISCA 2020); 50 follows from the same formula.
MINIMUM_SAMPLES = {50: 11, 90: 64, 95: 130, 99: 662}

METHOD = "Hodges-Lehmann"
# What one observation of a ratio is, as saved runs say it.
SESSION_PAIRS = "pair of fresh sessions"
ONE_SESSION = "block of calls of one pair of sessions, widened by what sessions differ by"

# Half of a 99 % interval for one session. Log ratios of the baseline against itself had a standard
# deviation of 0.004 over sessions, in saved runs and in sessions that were timed for it.
_SESSIONS_HALF_WIDTH = 2.576 * 0.004

# Up to here the null distribution of the signed-rank statistic is exact: above, the normal
# approximation is close and errs to the wider side (c = 388 for 391 at n = 51 and 99 %).
_EXACT_UP_TO = 50

LONG = 20  # values from which the correlation of neighbours can be estimated


def percentile(samples: FloatArray, q: int, confidence: float = 0.99) -> Estimate | None:
    """Return the q-th percentile with its order-statistic interval.

    The point is NumPy's linear interpolation. The ends are samples, chosen by the binomial
    distribution of how many of n samples fall below the percentile (Conover, Practical
    Nonparametric Statistics, 3rd edition, section 3.2).

    Args:
        samples: float[n], in any unit; the estimate has the same.
        q: in percent, a key of `MINIMUM_SAMPLES`.
        confidence: of the two-sided interval, in (0, 1).

    Returns:
        None when n is too small: below the minimum of q, or without an interval so confident.

    Raises:
        ValueError: q is not in `MINIMUM_SAMPLES`, or a sample is not finite.
    """
    if q not in MINIMUM_SAMPLES:
        raise ValueError(f"no minimum number of samples for p{q}: take one of {[*MINIMUM_SAMPLES]}")
    if not np.isfinite(samples).all():
        raise ValueError("a sample is NaN or infinite: no percentile can be read from such timings")
    if len(samples) < MINIMUM_SAMPLES[q]:
        return None
    from scipy import stats  # which a GPU machine may lack, and whose import takes a second

    # The hypothesised value 0 changes the p-value of the test only, not the interval.
    test = stats.quantile_test(samples, q=0, p=q / 100)
    low, high = test.confidence_interval(confidence)
    if np.isnan(low) or np.isnan(high):
        return None
    return Estimate(float(np.percentile(samples, q)), float(low), float(high))


def hodges_lehmann(x: FloatArray, confidence: float = 0.99) -> Estimate:
    """Estimate the centre of symmetry: the median of the Walsh averages (x_i + x_j) / 2, i <= j.

    The interval holds the centres that a two-sided Wilcoxon signed-rank test does not reject
    (Hollander and Wolfe, Nonparametric Statistical Methods, 2nd edition, sections 3.2 and 3.3).
    It is (-inf, inf) when n is too small for any centre to be rejected: below 8 at 99 %, below 6
    at 95 %. Time and memory grow with n²: reduce long series by `block_medians`.

    Args:
        x: float64[n], n >= 1, finite.
        confidence: of the two-sided interval, in (0, 1); ties and small n only make it wider.

    Raises:
        ValueError: x is empty or holds a value that is not finite.
    """
    x = np.asarray(x, dtype=np.float64)
    if not x.size or not np.isfinite(x).all():
        raise ValueError(f"a centre needs one or more values, all finite; got {x.size} values")
    first, second = np.triu_indices(x.size)
    # Halved before adding: (x + y) / 2 could overflow where both are finite.
    walsh = np.sort(x[first] / 2 + x[second] / 2)
    outside = _rejected_walsh_averages(x.size, confidence)
    value = float(np.median(walsh))
    if outside == 0:
        return Estimate(value, -np.inf, np.inf)
    return Estimate(value, float(walsh[outside - 1]), float(walsh[-outside]))


def block_medians(x: NDArray[Any], blocks: int) -> FloatArray:
    """Return the medians of consecutive blocks of nearly equal length, float64[blocks].

    A burst of other load slows many calls in a row. Within a block those are correlated; the
    medians of blocks longer than a burst are nearly independent, as a test assumes.

    Raises:
        ValueError: blocks is not in 1..len(x).
    """
    if not 1 <= blocks <= len(x):
        raise ValueError(f"{len(x)} values cannot be cut into {blocks} blocks")
    return np.array([np.median(block) for block in np.array_split(x, blocks)])


def neighbours_factor(values: FloatArray) -> FloatArray:
    """Return how many times larger the variance of a mean is because neighbours are alike.

    That is (1 + r) / (1 - r) for the correlation r of neighbours, as of a first-order
    autoregression; 1 for fewer than `LONG` values, or where r is not positive.

    Args:
        values: float64[..., n], in the order of measuring.
    """
    if values.shape[-1] < LONG:
        return np.ones(values.shape[:-1])
    first, second = (
        part - part.mean(axis=-1, keepdims=True) for part in (values[..., :-1], values[..., 1:])
    )
    spread = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    alike = (first * second).sum(axis=-1) / np.where(spread > 0, spread, np.inf)
    return np.asarray((1 + np.clip(alike, 0, 1)) / (1 - np.clip(alike, 0, 0.9)))


def paired_ratio(
    baseline_ns: NDArray[Any],
    cell_ns: NDArray[Any],
    *,
    confidence: float = 0.99,
    blocks: int = 30,
) -> Estimate:
    """Return how many times faster the cell is than the baseline: above 1 it is faster.

    exp of the Hodges-Lehmann estimate over block medians of log(baseline / cell). The two calls of
    a pair ran one after the other, so a machine that slows down for both cancels in the ratio.

    Args:
        baseline_ns: [n], times of the baseline, in the order they were taken.
        cell_ns: [n], times of the cell, pair by pair.
        confidence: of the two-sided interval, in (0, 1).
        blocks: the most blocks to cut into. A block keeps at least 5 pairs, so n < 150 gives
            fewer; with fewer than 8 blocks (n < 40) the interval at 99 % is (0, inf).

    Raises:
        ValueError: sides of unequal length, none, or a time that is not positive and finite.
    """
    log_ratios = _log_ratios(baseline_ns, cell_ns)
    medians = block_medians(log_ratios, block_count(len(log_ratios), blocks))
    return hodges_lehmann(medians, confidence).map(np.exp)


def block_count(pairs: int, most: int = 30) -> int:
    """Return into how many blocks `paired_ratio` cuts a number of pairs."""
    return min(most, max(1, pairs // 5))


def one_session_ratio(baseline_ns: NDArray[Any], cell_ns: NDArray[Any]) -> Estimate:
    """Return how many times faster the cell is, from one pair of sessions, with a 99 % interval.

    The interval of `paired_ratio` is of this session only. It is widened by what sessions of one
    file were seen to differ by, half widths on the log scale adding as squares.

    Args:
        baseline_ns, cell_ns: see `paired_ratio`.
    """
    ratio = paired_ratio(baseline_ns, cell_ns)
    if not (ratio.low > 0 and np.isfinite(ratio.high)):
        return ratio
    centre = np.log(ratio.value)
    ends = (np.log(end) - centre for end in (ratio.low, ratio.high))
    low, high = (np.hypot(half, _SESSIONS_HALF_WIDTH) for half in ends)
    return Estimate(ratio.value, float(np.exp(centre - low)), float(np.exp(centre + high)))


def session_ratio(
    sessions: Sequence[tuple[NDArray[Any], NDArray[Any]]], confidence: float = 0.99
) -> Estimate:
    """Return how many times faster the cell is than the baseline, over fresh pairs of sessions.

    A session is faster or slower than the next one of the same file for as long as it lives: where
    its memory lies is a part of its speed. More calls do not show that, so a pair of sessions is
    one observation, and the estimate is exp of the Hodges-Lehmann estimate over them.

    Args:
        sessions: of each pair of sessions the times of the baseline and of the cell, [n] each, in
            the order they were taken, see `paired_log_ratio`.
        confidence: of the two-sided interval, in (0, 1); 99 % needs 8 pairs of sessions.

    Raises:
        ValueError: there is no session, or see `paired_log_ratio`.
    """
    log_ratios = np.array([paired_log_ratio(*times) for times in sessions])
    return hodges_lehmann(log_ratios, confidence).map(np.exp)


def paired_log_ratio(baseline_ns: NDArray[Any], cell_ns: NDArray[Any]) -> float:
    """Return log(baseline / cell) of one pair of sessions: above 0 the cell is faster.

    The order of the two calls of a pair alternates, and the later one is a little faster or
    slower, so the log ratios have two humps, and their median may lie on either. The mean of the
    median of the even and of the odd pairs does not jump between them.

    Args:
        baseline_ns, cell_ns: [n], the times of both, pair by pair, in the order they were taken.

    Raises:
        ValueError: sides of unequal length, none, or a time that is not positive and finite.
    """
    log_ratios = _log_ratios(baseline_ns, cell_ns)
    halves = [log_ratios[start::2] for start in (0, 1) if len(log_ratios) > start]
    return float(np.mean([np.median(half) for half in halves]))


def _log_ratios(baseline_ns: NDArray[Any], cell_ns: NDArray[Any]) -> FloatArray:
    """Return log(baseline / cell) of each pair, float64[n]; see `paired_log_ratio`."""
    baseline = np.asarray(baseline_ns, dtype=np.float64)
    cell = np.asarray(cell_ns, dtype=np.float64)
    if baseline.shape != cell.shape or not baseline.size:
        raise ValueError(f"no pairs: {baseline.size} times of the baseline, {cell.size} of a cell")
    for side, times in (("baseline", baseline), ("cell", cell)):
        if not ((times > 0) & np.isfinite(times)).all():
            raise ValueError(f"a time of the {side} is not positive and finite")
    return np.asarray(np.log(baseline / cell))


def _rejected_walsh_averages(n: int, confidence: float) -> int:
    """Return the distance of the interval's end from the end of the sorted averages; 0 = none.

    The largest c with P(T <= c - 1) <= (1 - confidence) / 2, where T is the signed-rank statistic
    of n values symmetric around 0; the interval runs from the c-th smallest to the c-th largest.
    """
    tail = (1 - confidence) / 2
    if n <= _EXACT_UP_TO:
        return int(np.searchsorted(np.cumsum(_signed_rank_distribution(n)), tail, side="right"))
    mean = n * (n + 1) / 4
    deviation = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    # 0.5 is the continuity correction: P(T <= c - 1) is the normal mass below c - 1/2.
    return max(0, int(np.floor(mean + 0.5 + NormalDist().inv_cdf(tail) * deviation)))


def _signed_rank_distribution(n: int) -> FloatArray:
    """Return P(T = t) for t in 0..n(n+1)/2: each rank is in the sum T with probability 1/2."""
    probabilities = np.ones(1)
    for rank in range(1, n + 1):
        without = np.pad(probabilities, (0, rank))
        probabilities = (without + np.roll(without, rank)) / 2
    return probabilities
