"""Splits of ratings into training, validation and test, the same for any order of the rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssept.data.filters import pair_keys
from ssept.errors import DataError

TIE_RULE = "equal timestamps of a user: by splitmix64(userId * 2**32 + movieId), ascending"
MIN_INTERACTIONS = 3

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """The three parts, each a frame sorted by userId and then by the user's order in time.

    Attributes:
        train: the interactions to train on.
        val: at most one interaction per user, after that user's training interactions.
        test: at most one interaction per user, after that user's validation interaction.
        rule: how it was made, for the manifest.
    """

    train: pd.DataFrame
    val: pd.DataFrame
    test: pd.DataFrame
    rule: dict[str, Any]


def sort_by_time(ratings: pd.DataFrame) -> pd.DataFrame:
    """Sort by userId and time, ties by TIE_RULE.

    Many ratings of a user have the same second. The hash orders them by nothing that a model
    could use: neither the file's row order nor the ids. It maps different pairs to different
    numbers, so with no repeated (user, item) pair the order is total.

    Args:
        ratings: userId and movieId (1 to 2**31 - 1), rating, timestamp; no repeated pairs.
    """
    keys = (_splitmix64(pair_keys(ratings)), ratings["timestamp"], ratings["userId"])
    return ratings.take(np.lexsort(keys)).reset_index(drop=True)


def leave_one_out(ratings: pd.DataFrame) -> Split:
    """Split off each user's last interaction as test target, the one before as validation target.

    Users with fewer than MIN_INTERACTIONS interactions have no targets and stay in train whole.

    Args:
        ratings: as `sort_by_time` returns them.

    Raises:
        DataError: no user has enough interactions.
    """
    first = _first_rows(ratings)
    last = np.append(first[1:], len(ratings)) - 1
    last = last[last - first + 1 >= MIN_INTERACTIONS]
    test = np.zeros(len(ratings), dtype=bool)
    test[last] = True
    val = np.zeros(len(ratings), dtype=bool)
    val[last - 1] = True
    if not test.any():
        raise DataError(
            f"leave-one-out split: no user has {MIN_INTERACTIONS} interactions; "
            "expected at least one such user (loosen the filters or use more data)"
        )
    rule = {
        "method": "leave-one-out",
        "tie_rule": TIE_RULE,
        "min_interactions": MIN_INTERACTIONS,
    }
    return _split(ratings, ~(val | test), val, test, rule)


def global_time(
    ratings: pd.DataFrame, val_fraction: float = 0.1, test_fraction: float = 0.1
) -> Split:
    """Split at two moments that are the same for all users, so that no future leaks into the past.

    The last `test_fraction` of all interactions begins at the moment `test_from`, and the
    `val_fraction` before it at `val_from`; interactions of the same second are not parted.
      - train: every interaction before `val_from`;
      - val: a user's first interaction at or after `val_from`, if it is before `test_from`;
      - test: a user's first interaction at or after `test_from`;
      - val and test only for users with a training interaction. Other interactions are unused.
    So every training interaction is earlier than every validation target, and every validation
    target is earlier than every test target, over all users.

    Args:
        ratings: as `sort_by_time` returns them; timestamps in seconds.
        val_fraction: share of all interactions, between 0 and 1.
        test_fraction: share of all interactions; the sum of both is below 1.

    Raises:
        DataError: the interactions do not spread over enough seconds, or a part is empty.
    """
    time = ratings["timestamp"].to_numpy()
    val_from, test_from = _cut_offs(time, val_fraction, test_fraction)
    first = _first_rows(ratings)
    known = np.repeat(time[first] < val_from, np.diff(first, append=len(ratings)))
    # The row before a user's first one is another user's, but the first row of a known user is in
    # train, so it is no target whatever comes before it.
    previous = np.append(time[:1], time[:-1])
    train = time < val_from
    val = known & (previous < val_from) & (time >= val_from) & (time < test_from)
    test = known & (previous < test_from) & (time >= test_from)
    if not val.any() or not test.any():
        raise DataError(
            f"global-time split: no user with interactions before {val_from} has one "
            f"{'from then' if not val.any() else 'from ' + str(test_from)} on; "
            "use leave-one-out or more data"
        )
    rule = {
        "method": "global-time",
        "tie_rule": TIE_RULE,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "val_from": val_from,
        "test_from": test_from,
        "ratings_unused": int((~(train | val | test)).sum()),
        "users_without_training": int((time[first] >= val_from).sum()),
    }
    return _split(ratings, train, val, test, rule)


def _cut_offs(
    time: npt.NDArray[np.int64], val_fraction: float, test_fraction: float
) -> tuple[int, int]:
    """Find the timestamps at which validation and test begin."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise DataError(
            f"global-time split: fractions {val_fraction} and {test_fraction}; "
            "expected both above 0 and their sum below 1"
        )
    test_row = len(time) - max(1, round(len(time) * test_fraction))
    val_row = max(0, test_row - max(1, round(len(time) * val_fraction)))
    ordered = np.partition(time, [val_row, test_row])
    val_from, test_from = int(ordered[val_row]), int(ordered[test_row])
    if not time.min() < val_from < test_from:
        raise DataError(
            f"global-time split: it begins at {time.min()} and its cut-offs are {val_from} and "
            f"{test_from}; expected three different seconds (use leave-one-out or more data)"
        )
    return val_from, test_from


def _first_rows(ratings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Find the index of each user's first row."""
    user = ratings["userId"].to_numpy()
    return np.flatnonzero(np.append(True, user[1:] != user[:-1])[: len(user)])


def _split(
    ratings: pd.DataFrame, train: Flags, val: Flags, test: Flags, rule: dict[str, Any]
) -> Split:
    train_part, val_part, test_part = (
        ratings[rows].reset_index(drop=True) for rows in (train, val, test)
    )
    return Split(train_part, val_part, test_part, rule)


def _splitmix64(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix 64-bit keys in place, one to one (Steele, Lea, Flood, OOPSLA 2014; modulo 2**64)."""
    keys += np.uint64(0x9E3779B97F4A7C15)
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys
