"""Histories of the users of a data set: read once, then mapped from a file in the cache.

A server's workers share the mapped pages, and no later start or reload parses the ratings.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ssept.data.dataset import Dataset, Ids, data_hash, load_dataset
from ssept.files import cache_folder, locked, sha256_json, written_folder

SCHEMA = 1


@dataclass(frozen=True)
class Histories:
    """The interactions of all users; those of one lie side by side.

    Attributes:
        user_ids: the data set's id of catalog user j at index j - 1, int64[users].
        item_ids: the same of items, int64[items].
        starts: where the items of catalog user j begin at index j - 1, and the end of all,
            int64[users + 1].
        items: catalog ids in time order, int64[interactions].
    """

    user_ids: Ids
    item_ids: Ids
    starts: Ids
    items: Ids

    def of(self, user: int) -> Ids:
        """Return all items of a catalog user, the newest last; int64[n]."""
        return self.items[self.starts[user - 1] : self.starts[user]]

    def popularity(self) -> Ids:
        """Count how often each item occurs; int64[items]."""
        return np.bincount(self.items, minlength=len(self.item_ids) + 1)[1:]


def read_histories(folder: Path) -> Histories:
    """Return the histories of a prepared folder: training items, then the targets of val and test.

    Raises:
        DataError: a file is missing, broken, or was changed after it was prepared.
    """
    name = sha256_json([SCHEMA, data_hash(folder)])[:16]
    kept = cache_folder() / "histories" / name
    if not kept.is_dir():
        with locked(kept.with_name(f".{name}.lock")):
            if not kept.is_dir():  # no other process has written it meanwhile
                _write(_of(load_dataset(folder)), kept)
    names = (field.name for field in fields(Histories))
    return Histories(*(np.load(kept / f"{name}.npy", mmap_mode="r") for name in names))


def _of(dataset: Dataset) -> Histories:
    rows = []
    for train, *targets in zip(dataset.train, dataset.val, dataset.test, strict=True):
        later = np.array([item for item in targets if item], np.int64)
        rows.append(np.append(train, later))
    starts = np.append(0, np.cumsum([len(row) for row in rows]))
    return Histories(dataset.user_ids, dataset.item_ids, starts, np.concatenate(rows))


def _write(histories: Histories, folder: Path) -> None:
    with written_folder(folder) as temporary:
        for field in fields(histories):
            np.save(temporary / f"{field.name}.npy", getattr(histories, field.name))
