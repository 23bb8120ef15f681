"""A program that burns a CPU in random bursts, and dies with the process that started it.

It is started as a file, with that process's number, and uses nothing but the standard library.
"""

import ctypes
import os
import random
import signal
import sys
import time

# Of a burst and of the pause after it.
SHORTEST_SECONDS, MEAN_SECONDS, LONGEST_SECONDS = 0.05, 0.2, 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Alternate between bursts and pauses."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = int(sys.argv[1])
    while os.getppid() == parent:  # it may have ended before the system was told
        end = time.monotonic() + _seconds()
        while time.monotonic() < end:
            pass
        time.sleep(_seconds())


def _seconds() -> float:
    """Draw an exponential length between a noticeable time and the length of a stretch."""
    seconds = random.expovariate(1 / MEAN_SECONDS)
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


if __name__ == "__main__":
    main()
