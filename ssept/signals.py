"""Signal handlers that hold for the time of a block."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
