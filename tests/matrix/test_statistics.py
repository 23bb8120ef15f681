"""Percentiles and paired ratios: by brute force, by simulation, and under drift."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from ssept.estimate import Estimate
from ssept.measure.statistics import (
    MINIMUM_SAMPLES,
    block_medians,
    hodges_lehmann,
    paired_log_ratio,
    paired_ratio,
    percentile,
    session_ratio,
)

FloatArray = NDArray[np.float64]


def below(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) < k), term by term."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k))


def signed_rank_p_value(x: FloatArray) -> float:
    """Two-sided exact p-value of Wilcoxon's test for centre 0, over all 2^n sign vectors."""
    ranks = stats.rankdata(np.abs(x))
    signs = np.array(list(itertools.product([0, 1], repeat=x.size)))
    under_null = signs @ ranks
    observed = ranks[x > 0].sum()
    return float(
        min(1.0, 2 * min((under_null <= observed).mean(), (under_null >= observed).mean()))
    )


# Percentiles


@pytest.mark.parametrize(("q", "n"), MINIMUM_SAMPLES.items())
def test_the_minimum_is_the_least_n_whose_second_largest_sample_bounds_the_percentile(
    q: int, n: int
) -> None:
    above = 1 - q / 100
    assert below(2, n, above) <= 0.01 < below(2, n - 1, above)


@pytest.mark.parametrize(("q", "n"), MINIMUM_SAMPLES.items())
def test_a_percentile_is_given_from_its_minimum_on(q: int, n: int) -> None:
    samples = np.random.default_rng(q).exponential(size=n)
    assert percentile(samples[:-1], q) is None
    estimate = percentile(samples, q)
    assert estimate is not None
    assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("confidence", [0.9, 0.99])
@pytest.mark.parametrize(("q", "n"), [(50, 25), (50, 101), (90, 100), (95, 200), (99, 1000)])
def test_percentile_interval_is_the_binomial_one(q: int, n: int, confidence: float) -> None:
    samples = np.random.default_rng(1).permutation(np.arange(1.0, n + 1))  # value = its order
    tail = (1 - confidence) / 2
    term = [math.comb(n, i) * (q / 100) ** i * (1 - q / 100) ** (n - i) for i in range(n)]
    cumulative = [0.0, *itertools.accumulate(term)]  # [k] = P(fewer than k samples are below)
    low = max(k for k in range(1, n + 1) if cumulative[k] <= tail)
    high = min(k for k in range(1, n + 1) if 1 - cumulative[k] <= tail)
    estimate = percentile(samples, q, confidence)
    assert estimate is not None
    assert (estimate.low, estimate.high) == (low, high)
    assert estimate.value == pytest.approx(1 + (n - 1) * q / 100)  # linear between orders


def test_a_confidence_that_the_samples_cannot_give_has_no_interval() -> None:
    samples = np.arange(64.0)
    assert percentile(samples, 90, 0.99) is not None
    assert percentile(samples, 90, 0.9999) is None


def test_percentile_interval_covers() -> None:
    rng = np.random.default_rng(21)
    truth = -math.log(0.1)
    misses = 0
    for _ in range(400):
        estimate = percentile(rng.exponential(size=150), 90, 0.95)
        assert estimate is not None
        misses += not estimate.low <= truth <= estimate.high
    assert 4 <= misses <= 32  # 20 expected at most, less what discreteness adds


def test_a_percentile_without_a_known_minimum_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p75.*\[50, 90, 95, 99\]"):
        percentile(np.arange(1000.0), 75)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_percentile_of_unfinished_timings_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        percentile(np.append(np.arange(100.0), value), 90)


# Hodges-Lehmann


def test_hodges_lehmann_by_hand() -> None:
    # Walsh averages of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6.
    assert hodges_lehmann(np.array([2.0, 6.0, 1.0])).value == 2.75


def test_hodges_lehmann_of_the_depression_data() -> None:
    """Hollander and Wolfe, examples 3.1, 3.3 and 3.4: nine patients before and after therapy."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    estimate = hodges_lehmann(after - before, confidence=0.96)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((-0.46, -0.786, -0.010))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [8, 9, 12])
def test_interval_holds_just_the_centres_that_the_exact_test_keeps(
    n: int, confidence: float
) -> None:
    x = np.random.default_rng(n).normal(0.3, 1, n)
    estimate = hodges_lehmann(x, confidence)
    i, j = np.triu_indices(n)
    walsh = np.sort((x[i] + x[j]) / 2)
    # The p-value changes at the Walsh averages only: one centre between each two tells all.
    for centre in (walsh[1:] + walsh[:-1]) / 2:
        kept = signed_rank_p_value(x - centre) > 1 - confidence
        assert kept == (estimate.low < centre < estimate.high)


@pytest.mark.parametrize(("n", "slack"), [(20, 0.0), (50, 0.0), (51, 0.1), (200, 0.1)])
def test_interval_ends_where_scipys_exact_test_turns(n: int, slack: float) -> None:
    """Above 50 values the normal approximation may miss the exact level by a tenth of it."""
    x = np.random.default_rng(n).normal(size=n)
    estimate = hodges_lehmann(x)
    for end, inward in ((estimate.low, 1e-9), (estimate.high, -1e-9)):
        inside = stats.wilcoxon(x - end - inward, method="exact").pvalue
        outside = stats.wilcoxon(x - end + inward, method="exact").pvalue
        assert outside <= 0.01 * (1 + slack)
        assert inside > 0.01 * (1 - slack)


@pytest.mark.parametrize(("n", "confidence"), [(1, 0.5), (5, 0.95), (7, 0.99)])
def test_too_few_values_bound_nothing(n: int, confidence: float) -> None:
    x = np.arange(float(n))
    assert hodges_lehmann(x, confidence) == Estimate((n - 1) / 2, -np.inf, np.inf)
    more = hodges_lehmann(np.arange(n + 1.0), confidence)
    assert (more.low, more.high) == (0.0, n)


def test_hodges_lehmann_interval_covers_as_often_as_it_says_and_is_no_wider_than_needed() -> None:
    rng = np.random.default_rng(17)
    trials, n = 400, 20
    estimates = [hodges_lehmann(rng.normal(size=n)) for _ in range(trials)]
    misses = sum(not e.low <= 0 <= e.high for e in estimates)
    assert 1 <= misses <= 11  # 4 expected
    student = 2 * stats.t.ppf(0.995, n - 1) / np.sqrt(n)
    assert np.mean([e.high - e.low for e in estimates]) == pytest.approx(student, rel=0.1)


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=20),
    st.floats(-50, 50),
    st.floats(0.125, 8),
)
def test_hodges_lehmann_moves_and_scales_with_the_values(
    values: list[float], shift: float, scale: float
) -> None:
    x = np.array(values)
    centre = hodges_lehmann(x)
    moved = hodges_lehmann(scale * x + shift)
    for before, after in ((centre.value, moved.value), (centre.low, moved.low)):
        assert after == pytest.approx(scale * before + shift, abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]], ids=str)
def test_values_without_a_centre_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="all finite"):
        hodges_lehmann(np.array(values))


# Blocks and pairs


def test_block_medians_are_of_consecutive_values() -> None:
    x = np.array([3.0, 1.0, 2.0, 9.0, 7.0, 8.0, 100.0, 4.0])
    assert block_medians(x[:6], 2).tolist() == [2.0, 8.0]
    assert block_medians(x, 3).tolist() == [2.0, 8.0, 52.0]


@pytest.mark.parametrize("blocks", [0, 4])
def test_more_blocks_than_values_are_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match=f"3 values cannot be cut into {blocks} blocks"):
        block_medians(np.arange(3.0), blocks)


def noisy_pairs(seed: int, n: int, faster: float) -> tuple[FloatArray, FloatArray]:
    """Skewed times of a baseline and of a cell that is `faster` times as fast, in ns."""
    rng = np.random.default_rng(seed)
    times = 2e5 * (1 + rng.lognormal(-4, 1, (2, n)))
    return times[0], times[1] / faster


def test_paired_ratio_finds_an_exact_scaling() -> None:
    baseline, _ = noisy_pairs(0, 600, 1.0)
    estimate = paired_ratio(baseline, baseline / 1.25)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.25, 1.25, 1.25))


def test_paired_ratio_bounds_a_noisy_speed_up() -> None:
    estimate = paired_ratio(*noisy_pairs(1, 600, 1.25))
    assert 1.24 < estimate.low < estimate.value < estimate.high < 1.26


def test_swapping_the_sides_inverts_the_ratio() -> None:
    baseline, cell = noisy_pairs(2, 600, 1.1)
    there, back = paired_ratio(baseline, cell), paired_ratio(cell, baseline)
    assert (back.value, back.low, back.high) == pytest.approx(
        (1 / there.value, 1 / there.high, 1 / there.low)
    )


def test_drift_common_to_both_sides_changes_nothing() -> None:
    baseline, cell = noisy_pairs(3, 600, 1.05)
    drift = 1 + 0.8 * np.sin(np.linspace(0, 6, 600)) ** 2
    still, drifting = paired_ratio(baseline, cell), paired_ratio(baseline * drift, cell * drift)
    assert (drifting.value, drifting.low, drifting.high) == pytest.approx(
        (still.value, still.low, still.high)
    )


def test_blocks_keep_bursts_on_one_side_from_passing_for_a_difference() -> None:
    """Noise that lasts for several pairs: cells that are equally fast must seldom differ."""
    rng = np.random.default_rng(31)
    level = np.full(600, 1e5)
    alarms = {30: 0, 120: 0}
    for _ in range(200):
        bursts = np.roll(np.repeat(rng.normal(0, 0.05, 60), 10), rng.integers(10))
        for blocks in alarms:
            estimate = paired_ratio(level * np.exp(bursts), level, blocks=blocks)
            alarms[blocks] += not estimate.low <= 1 <= estimate.high
    # Over 1,000 trials 1.4 % and 7 %: blocks shorter than a burst count it several times over.
    assert alarms[30] <= 7 < alarms[120]


def test_few_pairs_are_cut_into_fewer_blocks() -> None:
    baseline, cell = noisy_pairs(4, 100, 1.25)
    assert paired_ratio(baseline, cell) == paired_ratio(baseline, cell, blocks=20)
    assert paired_ratio(baseline, cell) != paired_ratio(baseline, cell, blocks=10)
    bounded, unbounded = (paired_ratio(baseline[:n], cell[:n]) for n in (40, 39))
    assert 1 < bounded.low < bounded.high < 2
    assert (unbounded.low, unbounded.high) == (0.0, np.inf)
    assert paired_ratio(baseline[:1], baseline[:1]) == Estimate(1.0, 0.0, np.inf)


def test_whole_nanoseconds_are_taken() -> None:
    times = np.array([1000] * 50)
    estimate = paired_ratio(times, times // 2)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("baseline", "other", "message"),
    [
        ([1.0, 2.0], [1.0], "2 times of the baseline, 1 of a cell"),
        ([], [], "no pairs"),
        ([1.0, 0.0], [1.0, 1.0], "baseline is not positive"),
        ([1.0, 1.0], [1.0, np.nan], "cell is not positive and finite"),
    ],
    ids=["unequal", "empty", "zero", "nan"],
)
def test_times_that_make_no_pairs_are_refused(
    baseline: list[float], other: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_ratio(np.array(baseline), np.array(other))


# Sessions


def sessions_of(
    rng: np.random.Generator, count: int, pairs: int, faster: float = 1.0, spread: float = 0.004
) -> list[tuple[FloatArray, FloatArray]]:
    """Pairs of sessions, each with a speed of its own, and two humps by the order of the calls."""
    found = []
    for _ in range(count):
        own = np.exp(rng.normal(0, spread))
        hump = np.exp(np.where(np.arange(pairs) % 2, 0.003, -0.003))
        times = 2e5 * (1 + rng.lognormal(-5, 1, (2, pairs)))
        found.append((times[0] * hump, times[1] / faster * own))
    return found


def test_an_interval_over_sessions_covers_what_calls_of_one_session_do_not() -> None:
    """Sessions of the same file differ by 0.4 %: more calls of one only make it surer of itself."""
    rng = np.random.default_rng(5)
    missed = {"one": 0, "sessions": 0}
    for _ in range(300):
        sessions = sessions_of(rng, 12, 50)
        over = session_ratio(sessions)
        (one,) = sessions_of(rng, 1, 600)
        within = paired_ratio(*one)
        missed["one"] += not within.low <= 1 <= within.high
        missed["sessions"] += not over.low <= 1 <= over.high
    assert missed["sessions"] <= 9 < 100 < missed["one"]


def test_a_ratio_over_sessions_finds_a_speed_up() -> None:
    found = session_ratio(sessions_of(np.random.default_rng(6), 12, 50, faster=1.1))
    assert 1.08 < found.low < 1.1 < found.high < 1.12


@pytest.mark.parametrize(("count", "ends"), [(1, False), (7, False), (8, True)])
def test_a_few_sessions_set_no_bound(count: int, ends: bool) -> None:
    found = session_ratio(sessions_of(np.random.default_rng(7), count, 20))
    assert (found.low > 0 and found.high < np.inf) == ends


def test_two_humps_by_the_order_of_calls_do_not_move_a_session_s_number() -> None:
    odd = np.where(np.arange(21) % 2, 1.1, 1.0)
    assert paired_log_ratio(odd, np.ones(21)) == pytest.approx(np.log(1.1) / 2)
    assert paired_log_ratio(odd[:1], np.ones(1)) == 0


def test_sessions_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        session_ratio([(np.array([]), np.array([]))])
    with pytest.raises(ValueError, match="all finite"):
        session_ratio([])
