"""Several sessions in one process, each in a thread of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ssept.providers.session import Session


class SessionPool:
    """Sessions that work side by side; a context manager, which ends their threads."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = sessions
        self._executor = ThreadPoolExecutor(len(sessions))

    def __enter__(self) -> "SessionPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def run(self, call: Callable[[Session], Any], calls: int) -> None:
        """Make a number of calls with each session, all sessions at once; returns after the last.

        Raises:
            Exception: whatever a call raised.
        """

        def repeat(session: Session) -> None:
            for _ in range(calls):
                call(session)

        for _ in self._executor.map(repeat, self.sessions):
            pass
