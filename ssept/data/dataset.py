"""A prepared data set in memory: histories and targets in the catalog's own ids."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssept.data.formats import read_ratings_csv
from ssept.errors import DataError
from ssept.files import sha256, sha256_json

Ids = npt.NDArray[np.int64]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Cases:
    """What an accuracy figure is counted on: one row per user who has a target in the split.

    Attributes:
        users: catalog user ids, int64[n].
        histories: the items before the target in time order, n arrays of int64.
        targets: catalog item ids, int64[n].
    """

    users: Ids
    histories: list[Ids]
    targets: Ids

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> "Cases":
        """Return the cases of these rows, int[m]."""
        return Cases(self.users[rows], [self.histories[row] for row in rows], self.targets[rows])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A prepared folder. Catalog ids are 1…N by the order of the data set's ids; 0 is padding.

    Attributes:
        folder: where the CSV files lie.
        data_hash: identifies the three splits; checkpoints carry it.
        user_ids: the data set's id of catalog user j at index j - 1, int64[users].
        item_ids: the data set's id of catalog item j at index j - 1, int64[items].
        train: catalog items of each user's training history, `users` arrays of int64.
        val: each user's validation target, 0 for none, int64[users].
        test: each user's test target, 0 for none, int64[users].
        split_method: how `ssept data prepare` split the ratings; empty if others did.
    """

    folder: Path
    data_hash: str
    user_ids: Ids
    item_ids: Ids
    train: list[Ids]
    val: Ids
    test: Ids
    split_method: str = ""

    @property
    def users(self) -> int:
        """The number of users."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """The number of items in the catalog."""
        return len(self.item_ids)

    @cached_property
    def popularity(self) -> Ids:
        """How often each item occurs in the training histories, int64[items + 1]."""
        return np.bincount(np.concatenate(self.train), minlength=self.items + 1)

    def cases(self, split: str) -> Cases:
        """Return the users with a target in `split` ("val" or "test"), and their earlier items.

        Before a test target come the training history and the validation item.
        """
        targets = {"val": self.val, "test": self.test}[split]
        chosen = np.flatnonzero(targets)
        histories = [self.train[user] for user in chosen]
        if split == "test":
            later = self.val[chosen]
            histories = [
                np.append(history, item) if item else history
                for history, item in zip(histories, later, strict=True)
            ]
        return Cases(chosen + 1, histories, targets[chosen])


def data_hash(folder: Path) -> str:
    """Return the hash of a prepared folder's three splits, from its manifest if it has one."""
    if manifest := _manifest(folder):
        return str(manifest["data_hash"])
    return sha256_json({f"{split}.csv": sha256(folder / f"{split}.csv") for split in SPLITS})


def load_dataset(folder: Path) -> Dataset:
    """Read a folder with train.csv, val.csv and test.csv.

    Raises:
        DataError: a file is missing, broken, or was changed after it was prepared.
    """
    _check_manifest(folder)
    frames = {
        split: read_ratings_csv(folder / f"{split}.csv", may_be_empty=split != "train")
        for split in SPLITS
    }
    everything = pd.concat(frames.values())
    user_ids = np.unique(everything["userId"].to_numpy()).astype(np.int64)
    item_ids = np.unique(everything["movieId"].to_numpy()).astype(np.int64)
    train = frames["train"].sort_values(["userId", "timestamp"], kind="stable")
    counts = np.bincount(_indexes(train["userId"], user_ids), minlength=len(user_ids))
    items = _indexes(train["movieId"], item_ids) + 1
    return Dataset(
        folder=folder,
        data_hash=data_hash(folder),
        user_ids=user_ids,
        item_ids=item_ids,
        train=np.split(items, np.cumsum(counts)[:-1]),
        val=_targets(folder / "val.csv", frames["val"], user_ids, item_ids),
        test=_targets(folder / "test.csv", frames["test"], user_ids, item_ids),
        split_method=_split_method(folder),
    )


def left_padded(histories: list[Ids], length: int) -> Ids:
    """Return the last `length` items of each history, zeros on the left: int64[n, length]."""
    batch = np.zeros((len(histories), length), dtype=np.int64)
    for row, history in zip(batch, histories, strict=True):
        recent = history[-length:]
        row[length - len(recent) :] = recent
    return batch


def _indexes(ids: "pd.Series[int]", table: Ids) -> Ids:
    return np.searchsorted(table, ids.to_numpy()).astype(np.int64)


def _targets(path: Path, frame: pd.DataFrame, user_ids: Ids, item_ids: Ids) -> Ids:
    repeated = frame["userId"].duplicated()
    if repeated.any():
        user = frame["userId"][repeated].iloc[0]
        raise DataError(
            f"{path}: user {user} has more than one row; expected one target for each user"
        )
    targets = np.zeros(len(user_ids), dtype=np.int64)
    targets[_indexes(frame["userId"], user_ids)] = _indexes(frame["movieId"], item_ids) + 1
    return targets


def _check_manifest(folder: Path) -> None:
    """Check that a prepared folder's files are the ones that its manifest describes."""
    for split in SPLITS:
        if not (folder / f"{split}.csv").is_file():
            raise DataError(
                f"{folder}: has no {split}.csv; expected train.csv, val.csv and test.csv "
                "(`ssept data prepare SOURCE OUT` writes them)"
            )
    hashes = (_manifest(folder) or {}).get("files", {})
    for split in SPLITS:
        path = folder / f"{split}.csv"
        if hashes.get(path.name) not in (None, sha256(path)):
            raise DataError(
                f"{path}: changed since it was prepared (its hash differs from manifest.json); "
                "prepare the data again"
            )


def _split_method(folder: Path) -> str:
    rule = (_manifest(folder) or {}).get("split")
    return str(rule.get("method", "")) if isinstance(rule, dict) else ""


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a prepared folder, if it has one."""
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    parts = (found.get("data_hash"), found.get("files", {})) if isinstance(found, dict) else ()
    if list(map(type, parts)) != [str, dict]:
        raise DataError(
            f"{path}: not a manifest of `ssept data prepare`; prepare the data again, or delete "
            "the file to use the CSV files as they are"
        )
    return found
