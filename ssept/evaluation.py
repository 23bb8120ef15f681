"""Ranks of a data set's targets under anything that scores the catalog."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssept.data.dataset import Cases, Dataset, left_padded
from ssept.estimate import Estimate
from ssept.metrics import (
    FloatArray,
    IntArray,
    bootstrap_mean,
    hit_rate,
    midranks,
    ndcg,
    reciprocal_rank,
    sample_negatives,
    sampled_ranks,
)

# int64[B] users and int64[B, L] sequences to float32[B, items + 1].
Scorer = Callable[[IntArray, IntArray], npt.NDArray[np.float32]]

BATCH_SIZE = 256
NEGATIVES = 100
NEGATIVES_SEED = 0


@dataclass(frozen=True)
class Accuracy:
    """HR@10, NDCG@10 and MRR over users, each with its 95 % bootstrap interval."""

    users: int
    hr: Estimate
    ndcg: Estimate
    mrr: Estimate


def accuracy(ranks: FloatArray, k: int = 10) -> Accuracy:
    """Compute the accuracy of these ranks, float64[B]."""
    return Accuracy(
        len(ranks),
        bootstrap_mean(hit_rate(ranks, k)),
        bootstrap_mean(ndcg(ranks, k)),
        bootstrap_mean(reciprocal_rank(ranks)),
    )


def full_ranks(
    scorer: Scorer, cases: Cases, max_length: int, *, filter_seen: bool = True
) -> FloatArray:
    """Rank each target in the whole catalog, float64[n].

    Args:
        scorer: what scores the catalog.
        cases: users, histories and targets.
        max_length: the longest sequence to pass to the scorer, in items.
        filter_seen: leave the items of the history out of the ranking.
    """
    return both_ranks(scorer, cases, max_length, None, filter_seen=filter_seen)[0]


def both_ranks(
    scorer: Scorer,
    cases: Cases,
    max_length: int,
    negatives: IntArray | None,
    *,
    filter_seen: bool = True,
) -> tuple[FloatArray, FloatArray]:
    """Rank each target in the whole catalog and among its negatives, float64[n] each.

    Args:
        scorer, cases, max_length, filter_seen: as for `full_ranks`.
        negatives: int64[n, m] from `draw_negatives`; None leaves the second ranks empty.
    """
    full, sampled = [], [np.empty(0)]
    for start in range(0, len(cases), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        histories, targets = cases.histories[rows], cases.targets[rows]
        scores = scorer(cases.users[rows], left_padded(histories, max_length))
        seen = np.zeros(scores.shape, dtype=bool) if filter_seen else None
        if seen is not None:
            for row, history in zip(seen, histories, strict=True):
                row[history] = True
        full.append(midranks(scores, targets, seen))
        if negatives is not None:
            sampled.append(sampled_ranks(scores, targets, negatives[rows]))
    return np.concatenate(full), np.concatenate(sampled)


def mean_per_user(users: IntArray, values: FloatArray) -> FloatArray:
    """Average each user's values, float64[distinct users], in the order of their ids.

    Args:
        users: int64[n], whose each value is.
        values: float64[n].
    """
    _, row, counts = np.unique(users, return_inverse=True, return_counts=True)
    means: FloatArray = np.bincount(row, values) / counts
    return means


def draw_negatives(cases: Cases, items: int) -> IntArray | None:
    """Draw 100 unseen items for each case, int64[n, 100]: the same ones for every model.

    None where the catalog is too small: a case has fewer unseen items.
    """
    met = (
        len(np.unique(np.append(*pair)))
        for pair in zip(cases.histories, cases.targets, strict=True)
    )
    if items - max(met, default=0) < NEGATIVES:
        return None
    random = np.random.default_rng(NEGATIVES_SEED)
    return sample_negatives(random, items, cases.histories, cases.targets, NEGATIVES)


def popularity_scorer(dataset: Dataset) -> Scorer:
    """Scores every item by how often it occurs in the training histories."""
    counts = dataset.popularity.astype(np.float32)

    def scores(user: IntArray, _sequence: IntArray) -> npt.NDArray[np.float32]:
        return np.broadcast_to(counts, (len(user), len(counts)))

    return scores
