"""The CPU time that a server of this machine uses under a load."""

from collections.abc import Callable
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
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
