"""CPUs of workers: each gets some of its own where nothing else needs them."""

from pathlib import Path

import psutil

from ssept.measure.machine import allowed_cpus, cgroup_limits, read_text

LOOK_SECONDS = 0.1
BUSY_PERCENT = 50


def cpus_of_workers(count: int) -> list[list[int]]:
    """Return the CPUs of each worker; none to let the kernel choose.

    Workers that the kernel moves between CPUs lose their caches and wait for one another. But one
    that is kept on a CPU waits for whatever else runs there. So the kernel chooses where a CPU is
    busy already, where a quota shows that others share the CPUs, and where workers outnumber them.
    """
    cpus = allowed_cpus()
    each = len(cpus) // count
    if not each or _quota() is not None or _any_is_busy(cpus):
        return [[] for _ in range(count)]
    return [cpus[place * each : (place + 1) * each] for place in range(count)]


def _quota() -> float | None:
    return cgroup_limits(read_text(Path("/proc/self/cgroup")) or "").cpus


def _any_is_busy(cpus: list[int]) -> bool:
    percents = psutil.cpu_percent(LOOK_SECONDS, percpu=True)
    return any(percents[cpu] > BUSY_PERCENT for cpu in cpus if cpu < len(percents))
