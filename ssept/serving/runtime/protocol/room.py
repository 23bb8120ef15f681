"""Room for a new connection, where there are as many as there may be."""

import heapq
from collections.abc import Iterable
from typing import Protocol, TypeVar

AT_ONCE = 64  # the part of the connections that may be closed together is 1 / AT_ONCE


class Closable(Protocol):
    """A connection that may be closed."""

    @property
    def is_free(self) -> bool:
        """Whether no request waits for an answer."""

    def waiting_since(self) -> float:
        """Return when it began to wait for its client."""


Connection = TypeVar("Connection", bound=Closable)


def longest_waiting(connections: Iterable[Connection], most: int) -> list[Connection]:
    """Return the connections that have waited longest for their clients, to be closed.

    A client whose connection is closed between requests opens a new one, and an idle client keeps
    nobody out. Several are closed together, because the search for them takes a while.

    Args:
        connections: all but the new one.
        most: the largest number of connections.
    """
    free = (one for one in connections if one.is_free)
    return heapq.nsmallest(max(1, most // AT_ONCE), free, key=lambda one: one.waiting_since())
