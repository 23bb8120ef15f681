"""The catalog: it maps the data set's ids to those that the model reads, and has the titles.

Titles and histories need the data; with them the page can show both.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssept.artifacts import Model
from ssept.data.dataset import data_hash
from ssept.data.formats import read_items
from ssept.data.prepare import prepared
from ssept.data.synthetic import NAME as SYNTHETIC
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import DataError
from ssept.files.kinds import is_onnx
from ssept.model.store import read_ids
from ssept.providers.session import Ids
from ssept.serving.catalog.histories import Histories, read_histories
from ssept.serving.catalog.titles import Titles
from ssept.serving.settings import DATA_VARIABLE

LOG = logging.getLogger("ssept.serving")
UNKNOWN_USER = 0  # its embedding is the mean of the trained users'
NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True)
class Data:
    """Titles and histories of a prepared folder.

    Attributes:
        histories: of its users.
        titles: of its items by catalog id from 1 on; "" where there is none.
        genres: the same, "A|B".
    """

    histories: Histories
    titles: list[str]
    genres: list[str]


class Catalog:
    """The users and items that the model knows.

    Attributes:
        users: catalog id by the data set's id.
        items: the same of items.
        user_ids: the data set's id of catalog user j at index j - 1, int64[users].
        item_ids: the data set's id by catalog id, int64[items + 1]; 0 for the padding.
        data: titles and histories, or None.
    """

    def __init__(self, user_ids: Ids, item_ids: Ids, data: Data | None = None) -> None:
        self.users = _places(user_ids)
        self.items = _places(item_ids)
        self.user_ids = user_ids
        self.item_ids = np.concatenate([np.zeros(1, np.int64), item_ids])
        self.data = data
        titles = data.titles if data else [""] * len(item_ids)
        popularity = data.histories.popularity() if data else np.zeros(len(item_ids), np.int64)
        # Where an item has no title, it is found by its id.
        named = [title or str(item) for title, item in zip(titles, item_ids.tolist(), strict=True)]
        self._titles = Titles(named, popularity)

    def find(self, query: str, limit: int) -> list[int]:
        """Find items by words of the title, or by the data set's id; catalog ids, best first."""
        found = self._titles.search(query, limit)
        item = self.items.get(int(query)) if query.strip().isdecimal() else None
        return found if item is None else [item, *(one for one in found if one != item)][:limit]

    def history(self, user: int) -> Ids:
        """Return the items of a catalog user, the newest last; empty without data."""
        return self.data.histories.of(user) if self.data and user != UNKNOWN_USER else NOTHING


def _places(ids: Ids) -> dict[int, int]:
    return {given: place for place, given in enumerate(ids.tolist(), 1)}


def catalog_of(source: Path, model: Model, data: Path | None = None) -> Catalog:
    """Return the catalog of a model, with titles and histories if its data are available.

    Args:
        source: the checkpoint, or another model file.
        model: what it holds.
        data: a prepared folder, or one of raw ratings, which is prepared into the cache; None for
            the synthetic set where the checkpoint was trained on that, and no data otherwise.

    Returns:
        The ids are those of the data, which a model of them has too; without data those of the
        checkpoint, and of another model file the catalog's own, 1 to N.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        DataError: the data cannot be read, or the model was made for others.
    """
    checkpoint = source.is_file() and not is_onnx(source)
    if data is None and checkpoint and model.data_name == SYNTHETIC:
        data = prepared_synthetic()
    if data is not None:
        known = _read(prepared(data, progress=False), model)
        return Catalog(known.histories.user_ids, known.histories.item_ids, known)
    if checkpoint:
        return Catalog(*read_ids(source))
    LOG.warning(
        "%s: has no map of ids: requests and answers have those of the catalog, 1 to %d; serve the "
        "checkpoint, or give its data, for those of the data set",
        source,
        model.items,
    )
    return Catalog(np.arange(1, model.users + 1), np.arange(1, model.items + 1))


def _read(folder: Path, model: Model) -> Data:
    found = data_hash(folder)
    if model.data_hash and model.data_hash != found:
        raise DataError(
            f"{DATA_VARIABLE}: the data in {folder} ({found[:12]}) are not those that "
            f"{model.checkpoint} was trained on: {model.data_name} ({model.data_hash[:12]}); its "
            "ids mean other items there. Give that folder, prepared as it was then, or none"
        )
    histories = read_histories(folder)
    sizes, wanted = (len(histories.user_ids), len(histories.item_ids)), (model.users, model.items)
    if sizes != wanted:
        raise DataError(
            f"{DATA_VARIABLE}: the data in {folder} have {sizes[0]} users and {sizes[1]} items, "
            f"and {model.checkpoint} {wanted[0]} and {wanted[1]}; give the data that it was "
            "trained on, or none"
        )
    items = read_items(folder).set_index("movieId").reindex(histories.item_ids, fill_value="")
    return Data(histories, items["title"].tolist(), items["genres"].tolist())
