"""FAISS's index of a large catalog behind ONNX Runtime: the best items without scoring them all."""

import contextlib
import importlib.util
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ssept.artifacts import ENCODER, INDEX, STATE, Artifact
from ssept.errors import FallbackError, ProviderError
from ssept.files import opened_zip
from ssept.files.onnx_external import check_whole
from ssept.providers.onnx.session import CPU, Feeds, OnnxRuntimeSession, feeds
from ssept.providers.onnx.session_options import SessionOptions
from ssept.providers.onnxruntime import OnnxRuntime
from ssept.providers.session import Ids, Scores, Session

LISTS_INSIDE = b"ilar"  # FAISS's mark of lists in the index itself; those of others begin so too


@dataclass(frozen=True)
class FaissOptions(SessionOptions):
    """ONNX Runtime's options, and the index's own.

    Attributes:
        nprobe: how many of the index's lists a search reads; None for as many as the file says.
            `ssept tune` does not try it: the fewest are always the fastest, and find the least.
    """

    nprobe: int | None = None

    def of_provider(self, artifact: Artifact, threads: int) -> dict[str, str]:
        """Return nothing for ONNX Runtime's provider: `nprobe` is the index's."""
        del artifact, threads
        return {}


class Faiss(OnnxRuntime):
    """FAISS behind ONNX Runtime's CPU provider."""

    def unavailable(self) -> str | None:
        """As for ONNX Runtime; also where FAISS is missing."""
        if reason := super().unavailable():
            return reason
        if not importlib.util.find_spec("faiss"):
            return "faiss is not installed: install the index extra"
        return None

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session whose index reads as many lists as the options say."""
        return FaissSession(artifact, threads, options)


class FaissSession(OnnxRuntimeSession):
    """A network that ends at its state, and an index of the items by their products with it.

    `recommend` gives the best of the items in the lists that are read, and reads more lists where
    those do not hold k. `scores` has them too, and -inf for all other items. Which of several
    items with exactly the score of the k-th is taken is the index's choice.
    """

    def __init__(self, artifact: Artifact, threads: int, options: FaissOptions) -> None:
        super().__init__(artifact, threads, CPU, options)
        import faiss

        self.finds_best = True
        self._faiss = faiss
        self._index = self._read_index()
        lists = self._index.nlist
        self._nprobe = self._index.nprobe if options.nprobe is None else options.nprobe
        if not 1 <= self._nprobe <= lists:
            raise ProviderError(
                f"option nprobe: {artifact.path.name} has {lists} lists; expected 1 to {lists}, "
                f"got {self._nprobe}"
            )

    def placement(self) -> dict[str, int]:
        """Count the network's nodes per provider, and the index by its kind."""
        return super().placement() | {f"FAISS {type(self._index).__name__}": 1}

    def _model(self) -> bytes:
        with _member(self.artifact.path, ENCODER) as (member, _):
            content = member.read()
        try:
            check_whole(content, ENCODER)
        except ValueError as error:
            name = self.artifact.path.name
            raise FallbackError(f"{self.provider} does not run all of {name}: {error}") from error
        return content

    def _read_index(self) -> Any:
        path, items, faiss = self.artifact.path, self.artifact.model.items, self._faiss
        with _member(path, INDEX) as (member, size):
            # FAISS makes an array before it reads it, as large as the file says.
            faiss.set_deserialization_vector_byte_limit(size)
            faiss.set_deserialization_loop_limit(size)
            reader = faiss.PyCallbackIOReader(_without_other_files(member))
            try:
                index = faiss.read_index(reader, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
            except (RuntimeError, ValueError) as error:  # of FAISS, and of the reader
                raise ProviderError(f"{path}: FAISS cannot read {INDEX}; build it again") from error
        if not isinstance(index, faiss.IndexIVF) or index.d > size:
            raise ProviderError(f"{path}: {INDEX} is not an index of lists; build it again")
        if index.ntotal != items:
            raise ProviderError(
                f"{path}: {INDEX} has {index.ntotal} items, but the catalog has {items}; "
                "build it again"
            )
        return index

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        states = self._states(user, sequence)
        self._faiss.omp_set_num_threads(self.threads)  # of the calling thread's searches
        ends, found, ids = self._index.range_search(states, -np.inf, params=self._probing())
        scores = np.full((len(user), self.artifact.model.items + 1), -np.inf, np.float32)
        scores[np.repeat(np.arange(len(user)), np.diff(ends.astype(np.int64))), ids] = found
        return scores

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        states, nprobe = self._states(user, sequence), self._nprobe
        ids, scores = self._best(states, k, exclude, nprobe)
        while nprobe < self._index.nlist and (missing := np.isneginf(scores[:, -1])).any():
            nprobe = min(2 * nprobe, self._index.nlist)
            again = self._best(states[missing], k, exclude[missing], nprobe)
            ids[missing], scores[missing] = again
        return ids, scores

    def _best(self, states: Scores, k: int, exclude: Ids, nprobe: int) -> tuple[Ids, Scores]:
        """Search the k best in a number of lists; a score of -inf fills up a row."""
        items = self.artifact.model.items
        asked = min(k + exclude.shape[1], items)
        self._faiss.omp_set_num_threads(self.threads)
        scores, ids = self._index.search(states, asked, params=self._probing(nprobe))
        scores[ids < 0] = -np.inf
        if exclude.size:
            row = np.arange(len(ids))[:, None] * (items + 1)  # makes one set of all the rows'
            scores[np.isin(ids + row, exclude + row)] = -np.inf
        order = np.lexsort((ids, -scores))[:, :k]
        return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _probing(self, nprobe: int | None = None) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=nprobe or self._nprobe)

    def _states(self, user: Ids, sequence: Ids) -> Scores:
        """Compute the states float32[B, d], with zeros behind them as the index's rows have."""
        states = self._refusing(self._run_states, feeds(self.artifact.signature, user, sequence))
        padded = np.zeros((len(states), self._index.d), np.float32)
        padded[:, : states.shape[1]] = states
        return padded

    def _run_states(self, inputs: Feeds) -> Scores:
        states: Scores = self._session.run([STATE], inputs)[0]
        return states


@contextlib.contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file of the artifact's; yields its size too, which is no more than the artifact's.

    Raises:
        ProviderError: it is not there, or not as it was written: stored.
    """
    try:
        with opened_zip(path) as archive, archive.open(name) as member:
            about = archive.getinfo(name)
            if about.compress_type != zipfile.ZIP_STORED or about.file_size > path.stat().st_size:
                raise zipfile.BadZipFile(f"{name} is not stored")
            yield member, about.file_size
    except (OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ProviderError(
            f"{path}: not a zip file with {ENCODER} and {INDEX}; build it again"
        ) from error


def _without_other_files(member: IO[bytes]) -> Callable[[int], bytes]:
    """Return a reader for FAISS that refuses an index with lists in another file (`ilod`)."""

    def read(size: int) -> bytes:
        part = member.read(size)
        if len(part) == len(LISTS_INSIDE) and part[:2] == LISTS_INSIDE[:2] and part != LISTS_INSIDE:
            raise ValueError("the lists of the index are not in it")
        return part

    return read


cpu = Faiss("CPUExecutionProvider", "install the cpu extra", FaissOptions())
