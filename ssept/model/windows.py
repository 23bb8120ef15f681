"""Training windows, with stochastic shared embeddings (SSE): ids swapped at random."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssept.data.dataset import Dataset, left_padded
from ssept.errors import DataError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowSettings:
    """How training windows are drawn.

    Attributes:
        max_length: items in a window's input.
        batch_size: windows in a batch.
        keep_user, keep_item: the probability that SSE KEEPS an id (the paper's threshold;
            1.0 switches SSE off). One draw for a sequence's user, one for each position's item.
        random_start: the probability of a window at a random place instead of the latest one
            (the paper's SSE-PT++).
    """

    max_length: int
    batch_size: int
    keep_user: float
    keep_item: float
    random_start: float


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows: user int64[B], inputs and positives int64[B, L], 0 for padding."""

    user: Ids
    inputs: Ids
    positives: Ids


def training_batches(
    dataset: Dataset, settings: WindowSettings, random: np.random.Generator
) -> Iterator[WindowBatch]:
    """One epoch: a window of each user with at least two training items, in random order."""
    users = np.array([u for u, history in enumerate(dataset.train) if len(history) > 1])
    random.shuffle(users)
    for start in range(0, len(users), settings.batch_size):
        chosen = users[start : start + settings.batch_size]
        windows = [_window(dataset.train[user], settings, random) for user in chosen]
        window = _swapped_items(
            left_padded(windows, settings.max_length + 1), dataset.items, settings.keep_item, random
        )
        strangers = random.integers(1, dataset.users + 1, len(chosen))
        kept = random.random(len(chosen)) < settings.keep_user
        yield WindowBatch(np.where(kept, chosen + 1, strangers), window[:, :-1], window[:, 1:])


def _window(history: Ids, settings: WindowSettings, random: np.random.Generator) -> Ids:
    end = len(history)
    if end > settings.max_length + 1 and random.random() < settings.random_start:
        end = int(random.integers(settings.max_length + 1, end + 1))
    return history[:end][-settings.max_length - 1 :]


def _swapped_items(window: Ids, items: int, keep: float, random: np.random.Generator) -> Ids:
    """SSE on items: a swapped item is swapped as an input and as the positive before it."""
    swapped = (random.random(window.shape) >= keep) & (window != 0)
    return np.where(swapped, random.integers(1, items + 1, window.shape), window)


class NegativeSampler:
    """Uniform negatives, one for each position, new to the user in training."""

    def __init__(self, dataset: Dataset) -> None:
        """Note what each user has met.

        Raises:
            DataError: a user has met the whole catalog.
        """
        for user, items in zip(dataset.user_ids, dataset.train, strict=True):
            if len(items) >= dataset.items == len(np.unique(items)):
                raise DataError(
                    f"{dataset.folder / 'train.csv'}: user {user} has all {dataset.items} items: "
                    "there is no negative to draw; use --loss ce, which needs none"
                )
        self._items = dataset.items
        keys = [
            (user + 1) * (dataset.items + 1) + items for user, items in enumerate(dataset.train)
        ]
        self._met = np.unique(np.concatenate(keys))

    def draw(self, user: Ids, length: int, random: np.random.Generator) -> Ids:
        """Negatives int64[B, length] for user int64[B]."""
        negatives = random.integers(1, self._items + 1, (len(user), length))
        while (met := self._is_met(user, negatives)).any():
            negatives[met] = random.integers(1, self._items + 1, int(met.sum()))
        return negatives

    def _is_met(self, user: Ids, item: Ids) -> npt.NDArray[np.bool_]:
        keys = user[:, None] * (self._items + 1) + item
        places = np.searchsorted(self._met, keys)
        found: npt.NDArray[np.bool_] = self._met[np.minimum(places, len(self._met) - 1)] == keys
        return found
