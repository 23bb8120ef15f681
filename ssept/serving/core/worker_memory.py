"""Memory that the workers of a server share: each of them counts in its own part and sums all."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import numpy as np
import numpy.typing as npt

from ssept.errors import ServerError


class WorkerMemory:
    """The parts of all workers, of which this process writes one alone.

    The part of a worker that has ended stays, and the worker that replaces it counts on in there.

    Attributes:
        place: which part is this worker's.
        workers: how many parts there are.
    """

    def __init__(
        self, part_bytes: int, place: int = 0, workers: int = 1, descriptor: int = -1
    ) -> None:
        """Map it; its bytes are 0 at first.

        Args:
            part_bytes: of each worker's part.
            place, workers: see the attributes.
            descriptor: of `allocated`; -1 for memory of this process alone.
        """
        self.place, self.workers = place, workers
        self._part_bytes = part_bytes
        self._memory = mmap.mmap(descriptor, workers * part_bytes)
        self._taken = 0

    def take(self, kind: np.dtype, count: int) -> tuple[memoryview, npt.NDArray[np.void]]:
        """Take the next piece of each part; all workers take the same ones in the same order.

        Returns:
            The bytes of this worker's, and an array [workers, count] of that type with all of them.
        """
        start, size = self._taken, kind.itemsize * count
        self._taken += size
        strides = self._part_bytes, kind.itemsize
        every = np.ndarray((self.workers, count), kind, self._memory, start, strides)
        own = self.place * self._part_bytes + start
        return memoryview(self._memory)[own : own + size], every


@contextmanager
def allocated(size: int) -> Iterator[int]:
    """Allocate memory for processes that inherit its file descriptor; yields that.

    No folder is needed, and nothing that fills or empties one reaches it. Where a sandbox refuses
    `memfd_create`, it is a file without a name. All of it is allocated now: a page that a full
    disk has no room for would end the process that writes to it.

    Raises:
        ServerError: there is no room for it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_nameless())
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise ServerError(
                f"no room for {size} bytes of the workers' counters: {error.strerror}; free some "
                "memory or space in TMPDIR, or serve with --workers=1"
            ) from error
        yield file.fileno()


def _nameless() -> IO[bytes]:
    try:
        return os.fdopen(os.memfd_create("ssept-counters"), "w+b")
    except OSError:
        return tempfile.TemporaryFile()
