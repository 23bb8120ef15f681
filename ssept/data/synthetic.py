"""The embedded data set: made up, the same on every machine, with an order that can be learned.

Items belong to clusters, users to tastes. A taste fixes which cluster follows which, so that the
next item follows from the last one and from the user, and popularity knows next to nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssept.data.prepare import write_prepared
from ssept.data.split import leave_one_out
from ssept.errors import DataError
from ssept.files import cache_folder

USERS = 10_000
ITEMS = 10_000
SEED = 20_260
CLUSTER_SIZE = 50
TASTES = 4
FOLLOW_PROBABILITY = 0.8
SHORTEST, LONGEST = 20, 70
EPOCH_SECONDS, STEP_SECONDS = 978_300_000, 60
NAME = f"synthetic-{USERS}-{ITEMS}-{SEED}"  # of the default set, and so in its checkpoints

Ids = npt.NDArray[np.int64]


def prepare_synthetic(
    out: Path, *, users: int = USERS, items: int = ITEMS, seed: int = SEED
) -> dict[str, Any]:
    """Write the synthetic data set as a prepared folder and return its manifest.

    Raises:
        DataError: the sizes are too small to hold histories without repeated items.
    """
    if items < 4 * LONGEST or items % CLUSTER_SIZE:
        raise DataError(
            f"synthetic data: {items} items; expected a multiple of {CLUSTER_SIZE} "
            f"and at least {4 * LONGEST}"
        )
    if users < 1:
        raise DataError(f"synthetic data: {users} users; expected at least 1")
    ratings = _interactions(users, items, np.random.RandomState(seed))
    catalog = pd.DataFrame({"movieId": np.arange(1, items + 1)})
    catalog["title"] = [f"Synthetic item {movie}" for movie in catalog["movieId"]]
    catalog["genres"] = [f"Cluster {(movie - 1) // CLUSTER_SIZE}" for movie in catalog["movieId"]]
    description = {
        "name": "synthetic",
        "format": "synthetic",
        "sources": [],
        "notes": [f"made by ssept: users={users}, items={items}, seed={seed}"],
        "filters": {},
    }
    return write_prepared(out, leave_one_out(ratings), catalog, description)


def prepared_synthetic() -> Path:
    """Return the folder of the default synthetic data; make it in the cache at first."""
    folder = cache_folder() / "data" / NAME
    if not (folder / "manifest.json").is_file():
        prepare_synthetic(folder)
    return folder


def _interactions(users: int, items: int, random: np.random.RandomState) -> pd.DataFrame:
    """Histories of SHORTEST to LONGEST different items per user, in time order.

    Only `RandomState.random_sample` and exact arithmetic are used: NumPy guarantees that stream
    for ever (NEP 19), and the shipped checkpoint is bound to this data set by its hash.
    """
    clusters = items // CLUSTER_SIZE
    following = np.argsort(random.random_sample((TASTES, clusters)), axis=1, kind="stable")
    taste = np.arange(users) % TASTES
    length = SHORTEST + (random.random_sample(users) * (LONGEST - SHORTEST + 1)).astype(np.int64)
    rows = np.arange(users)
    seen = np.zeros((users, items), dtype=bool)
    history = np.empty((users, LONGEST), dtype=np.int64)
    item = rows % items  # every item occurs at least once when there are as many users as items
    for step in range(LONGEST):
        if step:
            follows = random.random_sample(users) < FOLLOW_PROBABILITY
            elsewhere = _zipf(random.random_sample(users), clusters)
            cluster = np.where(follows, following[taste, item // CLUSTER_SIZE], elsewhere)
            item = _unseen(cluster, _zipf(random.random_sample(users), CLUSTER_SIZE), seen)
        seen[rows, item] = True
        history[:, step] = item
    stars = 1 + (random.random_sample((users, LONGEST)) * 5).astype(np.int64)
    kept = np.arange(LONGEST) < length[:, None]
    user, position = np.nonzero(kept)
    return pd.DataFrame(
        {
            "userId": user + 1,
            "movieId": history[kept] + 1,
            "rating": stars[kept].astype(np.float32),
            "timestamp": EPOCH_SECONDS + (user * LONGEST + position) * STEP_SECONDS,
        }
    )


def _zipf(uniform: npt.NDArray[np.float64], size: int) -> Ids:
    """Ranks 0 to size - 1 with probability proportional to 1 / (rank + 1)."""
    mass = np.cumsum(1.0 / np.arange(1, size + 1))
    ranks: Ids = np.searchsorted(mass, uniform * mass[-1], side="right").astype(np.int64)
    return ranks


def _unseen(cluster: Ids, rank: Ids, seen: npt.NDArray[np.bool_]) -> Ids:
    """Find the item of that rank in its cluster, or the next one new to the user."""
    rows = np.arange(len(cluster))
    item = cluster * CLUSTER_SIZE + rank
    for _ in range(seen.shape[1]):
        met = seen[rows, item]
        if not met.any():
            break
        past_end = met & (item % CLUSTER_SIZE == CLUSTER_SIZE - 1)
        item = np.where(met, item + 1, item)
        item[past_end] %= seen.shape[1]  # from the last cluster on to the first
    return item
