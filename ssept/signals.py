"""Signal handlers that hold for the time of a block.

Imports the standard library alone: a command handles signals before its other imports.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt, SystemExit):
    """A signal asked the process to end, as Ctrl-C does.

    A program that does not catch it ends without a traceback, with the code that a shell gives.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.code = number, 128 + number


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object], *numbers: int) -> Iterator[None]:
    """Handle signals in the block, and restore their handlers after it; main thread only."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def interrupted_by(*numbers: int) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on any of these signals, as Ctrl-C does."""
    with handled(signal.default_int_handler, *numbers):
        yield


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that temporary files are removed.

    One that is ignored, as under `nohup`, or that has a handler stays so. The second signal is
    ignored: it must not interrupt the removal.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    both = (signal.SIGTERM, signal.SIGHUP)
    main_thread = threading.current_thread() is threading.main_thread()
    ours = [n for n in both if main_thread and signal.getsignal(n) is signal.SIG_DFL]
    with handled(end, *ours):
        yield
