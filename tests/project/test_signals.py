"""Signal handlers hold for their block only.

Signals are raised in this thread: one sent to the process may reach another thread after the block,
when its default action ends the process.
"""

import signal

import pytest

from ssept.signals import handled, interrupted_by

NUMBERS = (signal.SIGUSR1, signal.SIGTERM)


def test_handlers_are_restored_also_after_an_error() -> None:
    seen: list[int] = []
    before = [signal.getsignal(number) for number in NUMBERS]

    def fail() -> None:
        with handled(lambda number, _: seen.append(number), *NUMBERS):
            for number in NUMBERS:
                signal.raise_signal(number)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [*NUMBERS]
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_signal_interrupts_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by(signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
