"""How good a ranking is: the rank of one held-out item per user, and HR, NDCG and MRR from it.

A rank may be fractional. Items that score the same as the target share the middle of the places
they take: rank = 1 + #better + #tied others / 2, the expected rank if ties were broken at random.
So 1.5 reads "first or second, with equal odds", and a model that gives every item the same score
puts the target in the middle of the list instead of first. The metrics are functions of that one
rank: a target at 10.5 is no hit at 10, and its gain is taken at 10.5.

Metrics come back per user, float64[B], so that two models can be compared pair by pair; their mean
is the published figure, and the bootstrap below says how far another draw of users would move it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssept.errors import MetricsError
from ssept.estimate import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Users drawn per step of the bootstrap: 8 MB of indices, however many users there are.
_DRAWS_PER_STEP = 1 << 20


def midranks(
    scores: NDArray[np.floating[Any]],
    target: IntArray,
    excluded: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Rank each user's target among all items of the catalog (full ranking).

    Args:
        scores: float[B, N]; column j is item id j, and column 0 (padding) is never a candidate.
        target: int64[B], ids in 1..N-1.
        excluded: bool[B, N], the items to leave out (seen ones); the target always stays in.

    Returns:
        float64[B], 1 = best, ties at mid-rank.

    Raises:
        MetricsError: a NaN score.
        ValueError: a target that is no item.
    """
    _check_ids(target, scores.shape[1], "target")
    # The maximum is NaN where any score is, and needs no second matrix.
    _check_numbers(scores[:, 1:].max(axis=1))
    ranks = np.empty(len(scores))
    # Row by row: one row stays in the cache, a whole comparison matrix does not.
    for row, (own_scores, own) in enumerate(zip(scores, target, strict=True)):
        better = own_scores > own_scores[own]
        better_or_tied = own_scores >= own_scores[own]
        if excluded is not None:
            allowed = ~excluded[row]
            better &= allowed
            better_or_tied &= allowed
        better[0] = better_or_tied[0] = False
        better_or_tied[own] = True
        # The best and the worst place that a tie-break could give the target; take the middle.
        best, worst = 1 + np.count_nonzero(better), np.count_nonzero(better_or_tied)
        ranks[row] = (best + worst) / 2
    return ranks


def sampled_ranks(
    scores: NDArray[np.floating[Any]], target: IntArray, negatives: IntArray
) -> FloatArray:
    """Rank each user's target among itself and the given negatives (sampled ranking).

    Sampled and full ranks do not compare: see Krichene and Rendle, "On Sampled Metrics for Item
    Recommendation", KDD 2020.

    Args:
        scores: float[B, N], column j is item id j.
        target: int64[B], ids in 1..N-1.
        negatives: int64[B, n], ids in 1..N-1 without the target.

    Returns:
        float64[B] in 1..n+1, ties at mid-rank.

    Raises:
        MetricsError: a NaN among the scores that are read.
        ValueError: an id that is no item, or a target among its own negatives.
    """
    _check_ids(target, scores.shape[1], "target")
    _check_ids(negatives, scores.shape[1], "negative")
    clash = np.flatnonzero((negatives == target[:, None]).any(axis=1))
    if clash.size:
        raise MetricsError(f"row {clash[0]}: the target {target[clash[0]]} is among its negatives")
    own = np.take_along_axis(scores, target[:, None], axis=1)
    others = np.take_along_axis(scores, negatives, axis=1)
    _check_numbers(np.concatenate([own, others], axis=1).max(axis=1))
    ranks: FloatArray = 1 + (others > own).sum(axis=1) + (others == own).sum(axis=1) / 2
    return ranks


def sample_negatives(
    rng: np.random.Generator,
    items: int,
    seen: Sequence[Sequence[int] | IntArray],
    target: IntArray,
    count: int = 100,
) -> IntArray:
    """Draw items that a user has not seen, uniformly and without replacement.

    Args:
        rng: the source of randomness; the same state gives the same negatives.
        items: size of the catalog; ids are 1..items.
        seen: for each of the B users the ids seen, of any length; 0 (padding) is ignored.
        target: int64[B], never drawn.
        count: negatives per user.

    Returns:
        int64[B, count].

    Raises:
        ValueError: a seen id or target outside the catalog, or fewer than `count` items left.
    """
    _check_ids(target, items + 1, "target")
    negatives = np.empty((len(target), count), dtype=np.int64)
    for row, (history, own) in enumerate(zip(seen, target, strict=True)):
        ids = np.asarray(history, dtype=np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() <= items:
            raise MetricsError(f"row {row}: a seen id lies outside the catalog 0..{items}")
        free = np.ones(items + 1, dtype=np.bool_)
        free[0] = free[own] = False
        free[ids] = False
        candidates = np.flatnonzero(free)
        if len(candidates) < count:
            raise ValueError(
                f"row {row}: {count} negatives asked for, but only {len(candidates)} of {items} "
                "items are neither seen nor the target; ask for fewer or rank the whole catalog"
            )
        negatives[row] = rng.choice(candidates, count, replace=False)
    return negatives


def hit_rate(ranks: FloatArray, k: int) -> FloatArray:
    """Return each user's HR@k, float64[B]: 1 where the target's (mid-)rank is at most k, else 0."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: FloatArray, k: int) -> FloatArray:
    """Return each user's NDCG@k, float64[B]: 1 / log2(rank + 1) for a (mid-)rank of at most k.

    With one relevant item the ideal gain is 1 (Järvelin and Kekäläinen, ACM TOIS 20(4), 2002).
    """
    return np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)


def reciprocal_rank(ranks: FloatArray) -> FloatArray:
    """Return each user's 1 / rank over the whole ranking, float64[B]; its mean is the MRR."""
    return 1 / ranks


def bootstrap_mean(
    values: FloatArray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Average over users, with the percentile-bootstrap interval.

    Users are drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). The interval is too narrow below some tens of users.

    Args:
        values: float64[B], one figure per user.
        confidence: of the two-sided interval, in (0, 1).
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    table = _finite_table(values)
    means = np.concatenate([step[:, 0] for step in _resampled_means(table, resamples, seed)])
    return _percentile_interval(float(values.mean()), means, confidence)


def bootstrap_relative_change(
    base: FloatArray,
    head: FloatArray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """How much `head` gains on `base`, (mean(head) - mean(base)) / mean(base), paired over users.

    Each resample draws the same users from both sides, so what makes a user easy or hard for both
    models cancels. Where no user's figure differs the change is 0, and so are both ends.
    Else the interval is (-inf, inf) when a resample of `base` has mean 0: then too few users have a
    hit to decide.

    Args:
        base: float64[B], the figures of the reference, not negative.
        head: float64[B], those of the candidate, for the same users in the same order.
        confidence: of the two-sided interval, in (0, 1).
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Raises:
        MetricsError: mean(base) = 0.
        ValueError: sides of unequal length, no values, or one not finite.
    """
    if len(base) != len(head):
        raise ValueError(f"not paired: {len(base)} users in base, {len(head)} in head")
    table = _finite_table(base, head)
    if np.array_equal(base, head):
        return Estimate(0.0, 0.0, 0.0)
    if base.mean() == 0:
        raise MetricsError("the mean of base is 0: no relative change from it exists")
    change = float((head.mean() - base.mean()) / base.mean())
    means = np.concatenate(list(_resampled_means(table, resamples, seed)))
    if not means[:, 0].all():
        return Estimate(change, -np.inf, np.inf)
    return _percentile_interval(change, means[:, 1] / means[:, 0] - 1, confidence)


def _resampled_means(table: FloatArray, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Column means of bootstrap samples of the rows of `table` [B, C], some [step, C] at a time."""
    rng = np.random.default_rng(seed)
    users = len(table)
    step = max(1, _DRAWS_PER_STEP // users)
    for start in range(0, resamples, step):
        drawn = rng.integers(users, size=(min(step, resamples - start), users))
        yield np.stack([column[drawn].mean(axis=1) for column in table.T], axis=1)


def _percentile_interval(value: float, resampled: FloatArray, confidence: float) -> Estimate:
    """Make an estimate whose interval holds the middle `confidence` of the resampled values."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def _finite_table(*columns: FloatArray) -> FloatArray:
    """Stack float64[B] columns to [B, C], each contiguous; ValueError if empty or not finite."""
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns])
    if not table.size:
        raise ValueError("no users: nothing to take a mean of")
    if not np.isfinite(table).all():
        raise ValueError("a per-user figure is NaN or infinite")
    return table.T


def _check_ids(ids: IntArray, columns: int, name: str) -> None:
    """Raise a ValueError if an id is not an item, 1..columns-1."""
    wrong = ids[(ids < 1) | (ids >= columns)]
    if wrong.size:
        raise ValueError(f"{name} id {wrong[0]} is not an item: ids are 1..{columns - 1}")


def _check_numbers(row_maximum: NDArray[np.floating[Any]]) -> None:
    """Raise a MetricsError naming the first row whose maximum, and so one of its scores, is NaN."""
    rows = np.flatnonzero(np.isnan(row_maximum))
    if rows.size:
        raise MetricsError(
            f"row {rows[0]} holds NaN scores: such a row has no ranking; train or export the model "
            "again"
        )
