"""What every provider gives: scores of the catalog, and the best k of them."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from ssept.artifacts import Artifact
from ssept.errors import ProviderError

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class Session(ABC):
    """A loaded artifact on a provider. Ids are the catalog's own: items 1…N, 0 is padding.

    It answers one call at a time; threads that work side by side need a session each.

    Attributes:
        artifact: what was loaded.
        threads: how many threads a call may use.
    """

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self.artifact = artifact
        self.threads = threads

    def scores(self, user: npt.ArrayLike, sequence: npt.ArrayLike) -> Scores:
        """Scores of the whole catalog.

        Args:
            user: catalog user ids, int64[B]; an unknown one counts as user 0.
            sequence: catalog item ids in time order, int64[B, L], padded with 0 on the left;
                only the last `max_length` are read.

        Returns:
            float32[B, items + 1]; column j is item j, column 0 is padding.

        Raises:
            ValueError: the shapes do not fit.
            ProviderError: the provider cannot run these shapes.
        """
        # Torch and OpenVINO read arrays where they lie, and want them contiguous and writable.
        users = np.require(user, np.int64, ["C", "W"])
        items = np.require(sequence, np.int64, ["C", "W"])
        if users.ndim != 1 or items.ndim != 2 or len(users) != len(items) or not items.size:
            raise ValueError(
                f"user has shape {users.shape} and sequence {items.shape}; expected [B] and "
                "[B, L] with B and L at least 1"
            )
        max_length = self.artifact.model.max_length
        if items.shape[1] > max_length:
            items = np.ascontiguousarray(items[:, -max_length:])
        scores = self._scores(users, items)
        if scores.shape != (len(users), self.artifact.model.items + 1):
            raise ProviderError(
                f"{self.artifact.path.name} gave scores {list(scores.shape)} for {len(users)} "
                f"users; expected [{len(users)}, {self.artifact.model.items + 1}]"
            )
        return scores

    def recommend(self, user: npt.ArrayLike, sequence: npt.ArrayLike, k: int) -> tuple[Ids, Scores]:
        """The k best items, best first; equal scores in the order of their ids.

        Args:
            user, sequence: as for `scores`.
            k: how many, 1 to `items`.

        Returns:
            ids int64[B, k] and their scores float32[B, k].

        Raises:
            ValueError: the shapes do not fit, or k is out of range.
            ProviderError: the provider cannot run these shapes.
        """
        if not 1 <= k <= self.artifact.model.items:
            raise ValueError(f"k is {k}; expected 1 to {self.artifact.model.items}")
        return top_k(self.scores(user, sequence), k)

    @abstractmethod
    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        """Scores for checked int64[B] and int64[B, L <= max_length]."""

    @abstractmethod
    def placement(self) -> dict[str, int]:
        """How many of the graph's nodes ran on which provider, from a profiled run."""


def top_k(scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The k largest of each row but for column 0, largest first, ties by column.

    Args:
        scores: float32[B, N + 1].
        k: 1 to N.

    Returns:
        columns int64[B, k] and their scores float32[B, k].
    """
    candidates = scores[:, 1:]
    rows = np.arange(len(candidates))[:, None]
    best = np.argpartition(candidates, -k, axis=1)[:, -k:]
    best.sort(axis=1)  # by column, so that the stable sort below leaves ties in that order
    best = best[rows, np.argsort(-candidates[rows, best], axis=1, kind="stable")]
    last = candidates[rows, best[:, -1:]]
    # Where more columns than k reach the last score, the partition chose among them at will.
    for row in np.flatnonzero((candidates >= last).sum(axis=1) > k):
        best[row] = np.argsort(-candidates[row], kind="stable")[:k]
    return best + 1, candidates[rows, best]
