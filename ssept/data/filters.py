"""Filters on ratings. Each returns what is kept, in the order it came, and what was dropped."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Dropped = dict[str, int]


def drop_repeats(ratings: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Keep the latest rating of each (user, item) pair; at equal times, the highest.

    Args:
        ratings: userId, movieId (ids from 1 to 2**31 - 1), rating and timestamp, in any order,
            with an index of distinct labels.
    """
    pairs = pair_keys(ratings)
    pairs.sort()
    repeated = pairs[1:][pairs[1:] == pairs[:-1]]
    if not len(repeated):
        return ratings, _dropped(ratings, ratings)
    # Only the few rows that matter are sorted: a sort of all would double the peak memory.
    rows = ratings[pd.Series(pair_keys(ratings)).isin(repeated).to_numpy()]
    rows = rows.sort_values(["timestamp", "rating"])
    older = rows.index[rows.duplicated(["userId", "movieId"], keep="last")]
    kept = ratings[~ratings.index.isin(older)]
    return kept, _dropped(ratings, kept)


def keep_rated(ratings: pd.DataFrame, min_rating: float | None) -> tuple[pd.DataFrame, Dropped]:
    """Keep ratings of at least `min_rating`; None keeps all."""
    kept = ratings if min_rating is None else ratings[ratings["rating"] >= min_rating]
    return kept, _dropped(ratings, kept)


def k_core(ratings: pd.DataFrame, min_user: int, min_item: int) -> tuple[pd.DataFrame, Dropped]:
    """Keep the largest set in which every user and every item has enough ratings.

    Dropping a user takes ratings from items and the other way round, so the two limits are
    applied again and again until nothing changes.

    Args:
        ratings: one row per (user, item) pair.
        min_user: the fewest ratings that a kept user has.
        min_item: the fewest ratings that a kept item has.
    """
    if max(min_user, min_item) <= 1:
        return ratings, _dropped(ratings, ratings)
    users, items = (pd.factorize(ratings[column])[0] for column in ("userId", "movieId"))
    kept = np.ones(len(ratings), dtype=bool)
    while True:
        often = _often(users, kept, min_user) & _often(items, kept, min_item) & kept
        if np.array_equal(often, kept):
            break
        kept = often
    return ratings[kept], _dropped(ratings, ratings[kept])


def pair_keys(ratings: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Compute a unique key for each (user, item) pair: userId * 2**32 + movieId, uint64[n]."""
    keys: npt.NDArray[np.uint64] = ratings["userId"].to_numpy().astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= ratings["movieId"].to_numpy().astype(np.uint64)
    return keys


def _often(codes: npt.NDArray[Any], kept: npt.NDArray[np.bool_], least: int) -> Any:
    """For each row, whether its code occurs at least `least` times in the kept rows."""
    return (np.bincount(codes[kept], minlength=codes.max(initial=0) + 1) >= least)[codes]


def _dropped(before: pd.DataFrame, after: pd.DataFrame) -> Dropped:
    """How many ratings, users and items are gone."""
    if len(before) == len(after):
        return {"ratings": 0, "users": 0, "items": 0}
    return {
        "ratings": len(before) - len(after),
        "users": before["userId"].nunique() - after["userId"].nunique(),
        "items": before["movieId"].nunique() - after["movieId"].nunique(),
    }
