"""The open connections of each worker, in memory that all workers see."""

import os
from collections.abc import Callable

import numpy as np

from ssept.serving.core.registry import counted_bytes
from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.settings import ServerSettings

PID, ACCEPTED, CLOSED = range(3)  # of each worker; the first is 0 unless it accepts its share
NUMBERS = 3


def shared_bytes(settings: ServerSettings) -> int:
    """Return the size of a worker's part of the memory: what it counts, and its connections."""
    return counted_bytes(settings) + NUMBERS * np.dtype(np.int64).itemsize


class OpenConnections(set[object]):
    """The connections of a worker, as uvicorn keeps them; their number is there for the others."""

    def __init__(self, memory: WorkerMemory, ended: Callable[[], None]) -> None:
        """Prepare it, empty.

        Args:
            memory: all workers take from theirs in the same order.
            ended: called at the end of each.
        """
        super().__init__()
        self._ended = ended
        own, self._every = memory.take(np.dtype(np.int64), NUMBERS)
        self._own = own.cast("q")
        # What a killed worker had accepted in this place has ended with it.
        self._own[PID], self._own[CLOSED] = 0, self._own[ACCEPTED]

    def discard(self, one: object) -> None:
        """Remove a connection, and count its end."""
        if one in self:
            super().discard(one)
            self._own[CLOSED] += 1
            self._ended()

    def count_accepted(self) -> None:
        """Count a connection that is added later."""
        self._own[ACCEPTED] += 1

    def accepted(self) -> int:
        """Return how many connections the workers have accepted since the first start."""
        return int(self._every[:, ACCEPTED].sum())

    def share(self, accepts: bool) -> None:
        """Say whether this worker accepts its share from now on."""
        self._own[PID] = os.getpid() if accepts else 0

    def lacking(self) -> int:
        """Return how many connections the other workers lack to have as many as this one each.

        Workers that have ended, or accept no share, lack none.
        """
        own = self._own[ACCEPTED] - self._own[CLOSED]
        numbers = ((pid, own - accepted + closed) for pid, accepted, closed in self._every.tolist())
        return sum(fewer for pid, fewer in numbers if fewer > 0 and pid and _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
