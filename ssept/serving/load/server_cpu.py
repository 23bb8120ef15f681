"""The CPU time and memory that a server of this machine uses under a load."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import psutil

from ssept.serving.load.result import Result


def with_server_cpu(load: Callable[[], Result], pid: int) -> Result:
    """Measure a load, and how many CPU cores the server used meanwhile.

    Args:
        load: what is measured.
        pid: of the server; its child processes are counted too.
    """
    before = cpu_seconds(pid)
    result = load()
    return replace(result, server_cpu=max(0.0, cpu_seconds(pid) - before) / result.seconds)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used, those of the kernel too.

    A child that has ended counts no more, but a server's workers live as long as it does.
    """
    total = 0.0
    for each in _processes(pid):
        with suppress(psutil.Error):  # it has just ended
            times = each.cpu_times()
            total += times.user + times.system
    return total


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and its children; pages that they share count in each."""
    total = 0
    for each in _processes(pid):
        with suppress(psutil.Error):  # as above
            total += each.memory_info().rss
    return total


def _processes(pid: int) -> list[psutil.Process]:
    """Return a process and its children; none where it has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
