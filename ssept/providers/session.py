"""What every provider gives: scores of the catalog, and the best k of them."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from ssept.artifacts import EXACT_BEST, Artifact
from ssept.errors import ProviderError

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

HALF = 2**31
# Heads of large catalogs compare each candidate with each id that is left out; beyond this, all
# scores are computed: that takes less memory.
MOST_COMPARED = 1 << 28
SPARE = 8  # scores that are looked at behind the k-th one, for ties


class Session(ABC):
    """A loaded artifact on a provider. Ids are the catalog's own: items 1…N, 0 is padding.

    It answers one call at a time; threads that work side by side need a session each.

    Attributes:
        artifact: what was loaded.
        threads: how many threads a call may use.
        finds_best: whether the runtime finds the k best by itself, as a file with the top-k head.
        ties_by_id: whether it then gives equal scores in the order of their ids, as the ONNX
            standard wants it of TopK.
        compiles_shapes: whether the first call of each new shape is slow, so that servers pad to
            few shapes and run each beforehand.
        takes_any_id: whether the runtime reads ids as they are, or fails. Some read the lower 32
            bits of each, and so find an item where there is none.
    """

    ties_by_id = False
    compiles_shapes = False
    takes_any_id = True

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self.artifact = artifact
        self.threads = threads
        self.finds_best = artifact.signature.topk
        self._answered = False
        self._tells_all = artifact.format != EXACT_BEST

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
        return self._all_scores(*self._checked(user, sequence))

    def recommend(
        self,
        user: npt.ArrayLike,
        sequence: npt.ArrayLike,
        k: int,
        exclude: npt.ArrayLike | None = None,
    ) -> tuple[Ids, Scores]:
        """Recommend the k best items, best first; equal scores in the order of their ids.

        Args:
            user, sequence: as for `scores`.
            k: how many, 1 to what is left of the catalog for each user.
            exclude: ids of items to leave out, int64[B, E]; what is no item's id, 0 for one,
                leaves nothing out.

        Returns:
            ids int64[B, k] and their scores float32[B, k].

        Raises:
            ValueError: the shapes do not fit, or k is out of range.
            ProviderError: the provider cannot run these shapes.
        """
        users, items = self._checked(user, sequence)
        left_out = self._left_out(exclude, len(users))
        self._check_k(k, left_out)
        if self.finds_best and (best := self._in_graph(users, items, k, left_out)):
            return best
        return self._by_all_scores(users, items, left_out, k)

    def _by_all_scores(self, user: Ids, sequence: Ids, left_out: Ids, k: int) -> tuple[Ids, Scores]:
        scores = self._all_scores(user, sequence)
        if left_out.size:
            scores[np.arange(len(user))[:, None], left_out] = -np.inf
        return top_k(scores, k)

    def _checked(self, user: npt.ArrayLike, sequence: npt.ArrayLike) -> tuple[Ids, Ids]:
        users, items = _ids(user), _ids(sequence)
        if not self.takes_any_id:
            users, items = within_32_bits(users), within_32_bits(items)
        if users.ndim != 1 or items.ndim != 2 or len(users) != len(items) or not items.size:
            raise ValueError(
                f"user has shape {users.shape} and sequence {items.shape}; expected [B] and "
                "[B, L] with B and L at least 1"
            )
        max_length = self.artifact.model.max_length
        if items.shape[1] > max_length:
            items = np.ascontiguousarray(items[:, -max_length:])
        return users, items

    def _all_scores(self, users: Ids, items: Ids) -> Scores:
        scores = self._scores(users, items)
        if scores.shape != (len(users), self.artifact.model.items + 1):
            raise ProviderError(
                f"{self.artifact.path.name} gave scores {list(scores.shape)} for {len(users)} "
                f"users; expected [{len(users)}, {self.artifact.model.items + 1}]"
            )
        self._check_first(scores)
        return scores

    def _check_first(self, scores: Scores) -> None:
        """Refuse a model whose first scores are not finite; to look at all would be timed."""
        if not self._answered and (problem := not_finite(scores)):
            raise ProviderError(
                f"{self.artifact.path}: the output of the model {problem}; train or build it again"
            )
        self._answered = True

    def _left_out(self, exclude: npt.ArrayLike | None, batch: int) -> Ids:
        """Check excluded ids: int64[B, E], E = 0 for none; 0 for an id of no item."""
        if exclude is None:
            return np.empty((batch, 0), np.int64)
        left_out = _ids(exclude)
        if left_out.ndim != 2 or len(left_out) != batch:
            raise ValueError(f"exclude has shape {left_out.shape}; expected [{batch}, any]")
        return np.where((left_out >= 0) & (left_out <= self.artifact.model.items), left_out, 0)

    def _check_k(self, k: int, left_out: Ids) -> None:
        items = self.artifact.model.items
        left = items - left_out.shape[1]
        if k > left and left_out.size:  # else there is no need to count what is left out
            known = (left_out >= 1) & (left_out <= items)
            left = items - max(
                len(np.unique(row[valid])) for row, valid in zip(left_out, known, strict=True)
            )
        if not 1 <= k <= left:
            raise ValueError(f"k is {k}; expected 1 to {left}, what is left of {items} items")

    def _in_graph(
        self, user: Ids, sequence: Ids, k: int, exclude: Ids
    ) -> tuple[Ids, Scores] | None:
        """Get the k best from the file's own head, or None where it cannot decide them.

        Runtimes differ in which of equal scores they take, so the head is asked for some more.
        OpenVINO can also keep the order, but its TopK then took 6 times as long at
        k = 10, and over 100 times at k = 100 (10,000 items, batch 1).
        """
        if len(user) * exclude.shape[1] * (k + exclude.shape[1]) > MOST_COMPARED:
            return None
        asked = k if self.ties_by_id else min(k + SPARE, self.artifact.model.items + 1)
        ids, scores = self._head(user, sequence, asked, exclude)
        if not ids.shape == scores.shape == (len(user), asked):
            raise ProviderError(
                f"{self.artifact.path.name} gave ids {list(ids.shape)} and scores "
                f"{list(scores.shape)} for {len(user)} users; expected [{len(user)}, {asked}]"
            )
        self._check_first(scores)
        if not self.ties_by_id:
            return first_k(ids, scores, k)
        if self._tells_all or ids[:, 0].all():
            return ids, scores
        undecided = ids[:, 0] == 0
        ids[undecided], scores[undecided] = self._by_all_scores(
            user[undecided], sequence[undecided], exclude[undecided], k
        )
        return ids, scores

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        """Run the file's head on checked inputs: int64[B, k] and float32[B, k]."""
        del user, sequence, k, exclude
        raise ProviderError(
            f"{type(self).__name__} does not run the top-k head of {self.artifact.path.name}; "
            "load the variant without it"
        )

    @abstractmethod
    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        """Scores for checked int64[B] and int64[B, L <= max_length], which may be written to."""

    @abstractmethod
    def placement(self) -> dict[str, int]:
        """How many of the graph's nodes ran on which provider, from a profiled run."""


def _ids(values: npt.ArrayLike) -> Ids:
    """Convert to int64, contiguous and writable: torch and OpenVINO read the memory itself.

    What `np.require` does takes 2.5 µs an array, and a call of a small model takes 60.
    """
    ids = np.asarray(values, dtype=np.int64, order="C")
    return ids if ids.flags.writeable else ids.copy()


def within_32_bits(ids: Ids) -> Ids:
    """Replace ids outside signed 32 bits by 0."""
    if not (ids >> 31).any():  # where all are ids of items, or nearly
        return ids
    return np.where((ids >= -HALF) & (ids < HALF), ids, 0)


def not_finite(scores: Scores) -> str:
    """Say what is wrong with scores that are NaN or infinite, or "".

    That of the padding, the first, may be anything, and that of an item -inf, the worst.
    """
    bad = ~(scores[:, 1:] < np.inf)
    if not bad.any():
        return ""
    return f"has {bad.sum():,} scores of {bad.size:,} that are NaN or infinite"


def top_k(scores: Scores, k: int) -> tuple[Ids, Scores]:
    """Find the k largest of each row but for column 0, largest first, ties by column.

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


def first_k(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores] | None:
    """Select the k best of more than k, equal scores in the order of their ids.

    Args:
        ids, scores: int64[B, n] and float32[B, n] with n > k, the n best of each row by score,
            largest first, equal ones in any order and taken at will where they end the row.
        k: how many.

    Returns:
        int64[B, k] and float32[B, k]; None where a row ends with the score of its k-th, so that
        others like it may be missing.
    """
    if (scores[:, :k] > scores[:, 1 : k + 1]).all():
        return ids[:, :k], scores[:, :k]
    if not (scores[:, k - 1] > scores[:, -1]).all():
        return None
    order = np.lexsort((ids, -scores))[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
