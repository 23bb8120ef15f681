"""Training windows, with stochastic shared embeddings (SSE): ids swapped at random."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssept.data.dataset import Dataset
from ssept.errors import DataError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How training windows are drawn.

    Attributes:
        max_length: items in a window's input.
        batch_size: windows in a batch.
        keep_user, keep_item: the probability that SSE KEEPS an id (the paper's threshold;
            1.0 switches SSE off). One draw for a sequence's user, one for each position's item.
        random_start: the probability of a window at a random place instead of the latest one
            (the paper's SSE-PT++).
        cover: take as many windows of a long history as it needs to be covered.
        batch_items: take more windows into a batch that would have fewer items on average.
    """

    max_length: int
    batch_size: int
    keep_user: float
    keep_item: float
    random_start: float
    cover: bool = False
    batch_items: int = 0


@dataclass(frozen=True)
class WindowBatch:
    """Windows laid end to end, the longest first.

    Attributes:
        owner: whose each window is, int64[B].
        user: the same, or another user by SSE, int64[B].
        lengths: the number of items in each window's input, int64[B], T together.
        inputs, positives: int64[T].
    """

    owner: Ids
    user: Ids
    lengths: Ids
    inputs: Ids
    positives: Ids

    def part(self, rank: int, count: int) -> "WindowBatch":
        """Return every `count`-th window, from number `rank` on."""
        windows = np.arange(len(self.owner)) % count == rank
        tokens = np.repeat(windows, self.lengths)
        return WindowBatch(
            self.owner[windows],
            self.user[windows],
            self.lengths[windows],
            self.inputs[tokens],
            self.positives[tokens],
        )


class WindowReader:
    """Reads the training windows of a data set, epoch by epoch."""

    def __init__(self, dataset: Dataset, settings: WindowSettings) -> None:
        self.settings = settings
        self._users, self._items = dataset.users, dataset.items
        self._history = np.concatenate(dataset.train)
        self._lengths = np.array([len(history) for history in dataset.train])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._learners = np.flatnonzero(self._lengths > 1)
        items = np.minimum(self._lengths[self._learners] - 1, settings.max_length).mean()
        self._size: int = max(settings.batch_size, math.ceil(settings.batch_items / items))

    def batches(self, random: np.random.Generator) -> Iterator[WindowBatch]:
        """Draw one epoch: the windows of each user with two training items, in random order."""
        owners, ends, lengths = self._windows(random)
        order = random.permutation(len(owners))
        for start in range(0, len(order), self._size):
            chosen = order[start : start + self._size]
            yield self._batch(owners[chosen], ends[chosen], lengths[chosen], random)

    def count(self) -> int:
        """Return the number of batches in an epoch."""
        windows = len(self._learners)
        if self.settings.cover:
            windows = int(-(-(self._lengths[self._learners] - 1) // self.settings.max_length).sum())
        return -(-windows // self._size)

    def _windows(self, random: np.random.Generator) -> tuple[Ids, Ids, Ids]:
        """Draw an epoch's windows: whose, before which item each ends, and its length, int64[n]."""
        longest, users = self.settings.max_length, self._learners
        targets = self._lengths[users] - 1
        if not self.settings.cover:
            anywhere = random.random(len(users)) < self.settings.random_start
            ends = random.integers(np.minimum(longest, targets), targets + 1)
            ends = np.where(anywhere, ends, targets)
            return users, ends + 1, np.minimum(ends, longest)
        counts = -(-targets // longest)
        # The windows of a history are moved together, so that their borders differ by epoch.
        moved = random.integers(0, np.where(counts > 1, counts * longest - targets, 0) + 1)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = np.repeat(targets + moved, counts) - number * longest
        last = np.minimum(ends, np.repeat(targets, counts))
        return np.repeat(users, counts), last + 1, last - np.maximum(ends - longest, 0)

    def _batch(
        self, owners: Ids, ends: Ids, lengths: Ids, random: np.random.Generator
    ) -> WindowBatch:
        settings = self.settings
        longest_first = np.argsort(-lengths, kind="stable")
        owners, ends, lengths = owners[longest_first], ends[longest_first], lengths[longest_first]
        sizes = lengths + 1
        stops = np.cumsum(sizes)
        first = np.repeat(self._starts[owners] + ends - sizes - (stops - sizes), sizes)
        window = self._history[np.arange(stops[-1]) + first]
        # A swapped item is swapped as an input and as the positive before it.
        swapped = random.random(len(window)) >= settings.keep_item
        window = np.where(swapped, random.integers(1, self._items + 1, len(window)), window)
        strangers = random.integers(1, self._users + 1, len(owners))
        kept = random.random(len(owners)) < settings.keep_user
        is_input, is_positive = np.ones((2, len(window)), dtype=bool)
        is_input[stops - 1] = False
        is_positive[stops - sizes] = False
        return WindowBatch(
            owners + 1,
            np.where(kept, owners + 1, strangers),
            lengths,
            window[is_input],
            window[is_positive],
        )


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

    def draw(self, user: Ids, random: np.random.Generator) -> Ids:
        """Draw a negative for each position, int64[T], whose user is in int64[T]."""
        negatives = random.integers(1, self._items + 1, len(user))
        while (met := self._is_met(user, negatives)).any():
            negatives[met] = random.integers(1, self._items + 1, int(met.sum()))
        return negatives

    def _is_met(self, user: Ids, item: Ids) -> npt.NDArray[np.bool_]:
        keys = user * (self._items + 1) + item
        places = np.searchsorted(self._met, keys)
        found: npt.NDArray[np.bool_] = self._met[np.minimum(places, len(self._met) - 1)] == keys
        return found
