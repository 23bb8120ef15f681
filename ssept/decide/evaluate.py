"""The accuracy of checkpoints: both protocols, groups of cases, and paired differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ssept.data.dataset import Cases, Dataset
from ssept.errors import CheckpointError, DataError, MetricsError
from ssept.estimate import Estimate
from ssept.evaluation import Scorer, both_ranks, draw_negatives, popularity_scorer
from ssept.files import sha256
from ssept.metrics import FloatArray, IntArray, bootstrap_mean, hit_rate, ndcg
from ssept.model.store import checkpoint_for

if TYPE_CHECKING:
    from ssept.model.workers import Workers

TOP_K = 10
METRICS = {"ndcg@10": ndcg, "hr@10": hit_rate}
POPULARITY = "popularity"
HISTORY_ENDS = (20, 50, 100, 200)  # items
FEWEST = 30  # cases for an interval: that of fewer is too narrow, and of one has no width
THIRDS = ("popular items", "middle items", "rare items")
STEP = 512  # cases between two reports of progress
SEED = 0

Progress = Callable[[str, int, int], None]
Rows = npt.NDArray[np.bool_]
Figures = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one model ranks the targets.

    Attributes:
        name: the file's name, or "popularity".
        sha256: of the file; empty for popularity.
        training: the settings and results of the training run, as the checkpoint has them.
        full: rank of each target in the whole catalog, float64[n].
        sampled: among 100 unseen items, float64[n]; empty where the catalog is too small.
        unknown: in the whole catalog, with every user unknown, float64[n]; empty for popularity.
    """

    name: str
    sha256: str
    training: dict[str, Any]
    full: FloatArray
    sampled: FloatArray
    unknown: FloatArray


def chosen_cases(dataset: Dataset, split: str, users: int | None) -> Cases:
    """Choose the cases of a split, all or a fixed random sample of `users`.

    Raises:
        DataError: the split has no targets.
    """
    cases = dataset.cases(split)
    if not len(cases):
        raise DataError(f"{dataset.folder / f'{split}.csv'}: has no targets to rank")
    if users is None or users >= len(cases):
        return cases
    chosen = np.random.default_rng(SEED).choice(len(cases), users, replace=False)
    return cases.take(np.sort(chosen))


def evaluate(
    checkpoints: Sequence[Path], dataset: Dataset, cases: Cases, show: Progress
) -> list[Evaluation]:
    """Rank the targets by popularity and by each checkpoint, in this order.

    Each of several processes that `torchrun` started ranks its share, and all get all ranks.

    Args:
        checkpoints: of models that were trained on the data.
        dataset: the data.
        cases: what to rank, of `chosen_cases`.
        show: is told what is ranked, how many cases are done, and of how many of this process.

    Raises:
        CheckpointError: a file is missing or broken, or was trained on other data.
        MetricsError: a score is NaN; says whose.
    """
    from ssept.model.checkpoint import load_checkpoint
    from ssept.model.packed import scorer
    from ssept.model.workers import Workers

    for path in checkpoints:  # all of them, before the first is ranked
        checkpoint_for(dataset.data_hash, dataset.folder, path)
    negatives = draw_negatives(cases, dataset.items)
    workers = Workers()
    ranks = partial(_ranks, workers)
    full, sampled = ranks(
        popularity_scorer(dataset), cases, 1, negatives, partial(show, POPULARITY)
    )
    found = [
        Evaluation(
            name=POPULARITY, sha256="", training={}, full=full, sampled=sampled, unknown=full[:0]
        )
    ]
    strangers = Cases(np.zeros_like(cases.users), cases.histories, cases.targets)
    for path in checkpoints:
        show_case = partial(show, path.name)
        checkpoint = load_checkpoint(path)
        config = checkpoint.model.config
        _check_sizes(path, (config.users, config.items), dataset)
        score, length = scorer(checkpoint.model), config.max_length
        try:
            full, sampled = ranks(score, cases, length, negatives, show_case)
            unknown, _ = ranks(score, strangers, length, None, show_case)
        except MetricsError as error:
            raise MetricsError(f"{path}: {error}") from error
        found.append(
            Evaluation(
                name=path.name,
                sha256=sha256(path),
                training=checkpoint.training,
                full=full,
                sampled=sampled,
                unknown=unknown,
            )
        )
    workers.leave()
    return found


def _check_sizes(path: Path, sizes: tuple[int, int], dataset: Dataset) -> None:
    """Refuse a network that has no scores for the data, whatever data its file names."""
    if sizes != (dataset.users, dataset.items):
        raise CheckpointError(
            f"{path}: has {sizes[0]} users and {sizes[1]} items, and the data in {dataset.folder} "
            f"has {dataset.users} and {dataset.items}; it was not trained on them"
        )


def _ranks(
    workers: "Workers",
    score: Scorer,
    cases: Cases,
    max_length: int,
    negatives: IntArray | None,
    show: Callable[[int, int], None],
) -> tuple[FloatArray, FloatArray]:
    """Rank the targets as `both_ranks`; cases of a similar length together, which is faster."""
    order = np.argsort([len(history) for history in cases.histories], kind="stable")
    order = order[workers.rank :: workers.count]
    full = np.zeros(len(cases))
    sampled = np.zeros(0 if negatives is None else len(cases))
    for start in range(0, len(order), STEP):
        rows = order[start : start + STEP]
        drawn = None if negatives is None else negatives[rows]
        full[rows], of_sample = both_ranks(score, cases.take(rows), max_length, drawn)
        if len(sampled):
            sampled[rows] = of_sample
        show(start + len(rows), len(order))
    workers.sum_arrays(full, sampled)
    return full, sampled


def groups(dataset: Dataset, cases: Cases) -> dict[str, Rows]:
    """Group the cases by the length of the history and by the popularity of the target.

    The most popular items that have a third of the training interactions are the popular ones,
    those that have the next third the middle ones. Empty groups are left out.

    Returns:
        For each group the cases in it, bool[n].
    """
    lengths = np.array([len(history) for history in cases.histories])
    starts = (0, *(end + 1 for end in HISTORY_ENDS))
    found = {
        f"history of {start} to {end} items": (lengths >= start) & (lengths <= end)
        for start, end in zip(starts, HISTORY_ENDS, strict=False)
    }
    found[f"history of more than {HISTORY_ENDS[-1]} items"] = lengths > HISTORY_ENDS[-1]
    third = _thirds(dataset)[cases.targets]
    found |= {f"target among the {name}": third == number for number, name in enumerate(THIRDS)}
    return {name: rows for name, rows in found.items() if rows.any()}


def _thirds(dataset: Dataset) -> IntArray:
    """Return the third of the training interactions that each item is in, int64[items + 1]."""
    counts = dataset.popularity
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    third = np.empty_like(counts)
    third[order] = np.minimum(len(THIRDS) * before // max(counts.sum(), 1), len(THIRDS) - 1)
    third[counts == 0] = len(THIRDS) - 1
    return third


def figures(of: Sequence[Evaluation], ranks: str, rows: Rows | slice = slice(None)) -> Figures:
    """Return the models' mean NDCG@10 and HR@10 with 95 % intervals over users.

    Several models, as the seeds of one recipe, are averaged user by user. Fewer cases than FEWEST
    have an interval without bounds.

    Args:
        of: the models.
        ranks: the attribute of `Evaluation` to take; where it is empty there are no figures.
        rows: the cases to average over, bool[n].
    """
    values = _mean_values(of, ranks)
    return {name: _mean(each[rows]) for name, each in values.items() if len(each)}


def differences(of: Sequence[Evaluation], against: Sequence[Evaluation], ranks: str) -> Figures:
    """Return how much the mean of `of` is above that of `against`: a bootstrap paired over users.

    Args:
        of, against: models, each the seeds of one recipe.
        ranks: the attribute of `Evaluation` to compare.
    """
    own, other = _mean_values(of, ranks), _mean_values(against, ranks)
    return {name: _mean(own[name] - other[name]) for name in METRICS if len(own[name])}


def _mean(values: FloatArray) -> Estimate:
    """Average over users; the interval has no bounds where FEWEST are not reached."""
    if len(values) < FEWEST:
        return Estimate(float(values.mean()), -np.inf, np.inf)
    return bootstrap_mean(values)


def _mean_values(of: Sequence[Evaluation], ranks: str) -> dict[str, FloatArray]:
    return {
        name: np.mean([metric(getattr(each, ranks), TOP_K) for each in of], axis=0)
        for name, metric in METRICS.items()
    }
