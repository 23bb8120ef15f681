"""NDCG@10 of each user, full ranking, over the validation and the test item."""

import numpy as np

from ssept.data.dataset import Cases, Dataset
from ssept.evaluation import Scorer, full_ranks, mean_per_user
from ssept.metrics import FloatArray, IntArray, ndcg

TOP_K = 10
CONFIDENCE = 0.98  # a loss is looked for on one side, at 1 %
SEED = 0
SPLITS = ("val", "test")


def chosen_cases(dataset: Dataset, users: int | None) -> list[Cases]:
    """Choose the cases of both splits; see `cases_by_split`."""
    return [*cases_by_split(dataset, users).values()]


def cases_by_split(dataset: Dataset, users: int | None) -> dict[str, Cases]:
    """Choose the cases of each split, for all users or for a fixed random sample of them.

    Two targets a user halve the variance of one, and a split without targets is left out.

    Args:
        dataset: the data.
        users: the size of the sample; None for all.
    """
    splits = {split: cases for split in SPLITS if len(cases := dataset.cases(split))}
    if not splits:
        return {}
    known = np.unique(np.concatenate([cases.users for cases in splits.values()]))
    if users is not None and users < len(known):
        known = np.random.default_rng(SEED).choice(known, users, replace=False)
    return {
        split: _only(cases, np.flatnonzero(np.isin(cases.users, known)))
        for split, cases in splits.items()
    }


def _only(cases: Cases, rows: IntArray) -> Cases:
    return Cases(cases.users[rows], [cases.histories[row] for row in rows], cases.targets[rows])


def user_ndcg(scorer: Scorer, cases: list[Cases], max_length: int) -> FloatArray:
    """Return NDCG@10 of each user, float64[users]: the mean over the user's targets.

    Args:
        scorer: scores the catalog, as `full_ranks` takes it.
        cases: of each split.
        max_length: the longest sequence of the model.
    """
    values = [ndcg(full_ranks(scorer, split, max_length), TOP_K) for split in cases]
    return mean_per_user(np.concatenate([split.users for split in cases]), np.concatenate(values))
