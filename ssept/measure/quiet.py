"""Noise of a machine, from one fixed piece of work that is timed repeatedly."""

import gc
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from ssept.measure.machine import read_text
from ssept.measure.statistics import MINIMUM_SAMPLES

Nanoseconds = NDArray[np.float64]
Processes = dict[tuple[int, str], float]

CALL_NS = 1e6
WARMUP_CALLS = 50  # 50 ms, in which a governor raises the clock
# Integers: NumPy multiplies them in a loop of its own, on one thread, where a product of floats
# would start the threads of a BLAS.
MATRIX = (np.arange(64 * 64, dtype=np.int32) % 7).reshape(64, 64)
# Less than a fifth of one CPU disturbs no more than the desktop and the kernel always do.
BUSY_SHARE = 0.2
NAMED_PROCESSES = 3
# Fields of a "cpu" line of /proc/stat: user nice system idle iowait irq softirq steal. Guests'
# time, which follows, is counted in user and nice already.
WAITING = (3, 4)
STEAL = 7
FIELDS = 8
NOISY = "noisy"


@dataclass(frozen=True)
class Bounds:
    """Bounds on the spread of the times of fixed work, for a verdict.

    Attributes:
        p95_ratio, p99_ratio: percentile over median.
        stall_ms: by how much the longest call may exceed the median.
        steal_share: the time that a hypervisor took, of the time that the CPUs wanted to run.
    """

    p95_ratio: float
    p99_ratio: float
    stall_ms: float
    steal_share: float


QUIET = Bounds(
    p95_ratio=1.05,  # 5 % is about the smallest difference between cells that one would act on
    p99_ratio=1.25,  # a cell's own p99 is seldom nearer to its median than that
    stall_ms=10,  # Linux's scheduler gives a turn of some 3 ms: others had several of them
    steal_share=0.03,  # a single tick of 10 ms in the 0.36 s of a short check on one CPU
)
USABLE = Bounds(
    # Normal times of this p95 have a deviation of 0.15, so a ratio of two of 0.21, and the median
    # of 700 ratios a 99 % interval of 2.58 × 1.25 × 0.21 / √700 = 2.6 %: still worth reading.
    p95_ratio=1.25,
    p99_ratio=2.0,  # the machine doubles a p99: nothing is left of the cell's own
    stall_ms=100,  # a period of the cgroup's CPU quota: whole periods are lost
    steal_share=0.1,  # a tenth of all calls, so p95 is the hypervisor's
)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The spread of the times of equal work.

    Attributes:
        calls: how many were timed.
        median_ms: of one call.
        p95_ratio, p99_ratio: percentile over median; None from too few calls for it.
        longest_stall_ms: by how much the longest call exceeds the median.
        steal_share: the time that a hypervisor took, of the time that the CPUs wanted to run.
    """

    calls: int
    median_ms: float
    p95_ratio: float | None
    p99_ratio: float | None
    longest_stall_ms: float
    steal_share: float


@dataclass(frozen=True)
class BusyProcess:
    """Another process that was running; `cpus` is its CPU time over the time that passed."""

    pid: int
    name: str
    cpus: float

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}, {self.cpus:.1f} CPUs)"


@dataclass(frozen=True)
class Quietness:
    """Whether times measured now can be trusted.

    Attributes:
        verdict: "quiet", "usable: trust ratios, not times", or "noisy: …" with what is wrong.
        disturbances: what is not quiet, in words.
        spread: the figures behind it.
        busy: the other processes that took most CPU time, the first one the most.
    """

    verdict: str
    disturbances: tuple[str, ...]
    spread: Spread
    busy: tuple[BusyProcess, ...]

    @property
    def noisy(self) -> bool:
        """Whether not even ratios can be trusted without many more calls."""
        return self.verdict.startswith(NOISY)


def listen(seconds: float) -> Quietness:
    """Time fixed work for some seconds, and note which other processes run meanwhile."""
    processes, stat, start = _processes(), _stat(), time.perf_counter()
    times_ns = timed_calls(seconds)
    elapsed = time.perf_counter() - start
    share = steal_share(stat, _stat())
    return judge(spread_of(times_ns, share), busy_processes(processes, _processes(), elapsed))


def timed_calls(seconds: float) -> Nanoseconds:
    """Time successive calls of about a millisecond, float64[n].

    From the end of one to the end of the next, so no gap is lost between them. It takes longer
    than `seconds` where that is too short for a p95.
    """
    once_ns = min(_work(1) for _ in range(WARMUP_CALLS))
    repeats = max(1, round(CALL_NS / once_ns))
    for _ in range(WARMUP_CALLS):
        _work(repeats)
    collecting = gc.isenabled()
    gc.disable()
    try:
        ends = [time.perf_counter_ns()]
        while ends[-1] < ends[0] + seconds * 1e9 or len(ends) <= MINIMUM_SAMPLES[95]:
            _work(repeats)
            ends.append(time.perf_counter_ns())
    finally:
        if collecting:
            gc.enable()
    return np.diff(np.asarray(ends, dtype=np.float64))


def spread_of(times_ns: Nanoseconds, steal_share: float) -> Spread:
    """Summarize float64[n] times of equal work, n >= 1."""
    median = float(np.median(times_ns))
    ratios = {
        q: float(np.percentile(times_ns, q)) / median
        for q in (95, 99)
        if len(times_ns) >= MINIMUM_SAMPLES[q]
    }
    return Spread(
        calls=len(times_ns),
        median_ms=median / 1e6,
        p95_ratio=ratios.get(95),
        p99_ratio=ratios.get(99),
        longest_stall_ms=(float(times_ns.max()) - median) / 1e6,
        steal_share=steal_share,
    )


def judge(spread: Spread, busy: tuple[BusyProcess, ...]) -> Quietness:
    """Judge a spread: quiet, usable, or noisy."""
    disturbances = _beyond(spread, QUIET)
    if too_much := _beyond(spread, USABLE):
        verdict = f"{NOISY}: {', '.join(too_much)}"
    elif disturbances:
        verdict = "usable: trust ratios, not times"
    else:
        verdict = "quiet"
    return Quietness(verdict, tuple(disturbances), spread, busy)


def steal_share(before: str, after: str) -> float:
    """Return the stolen part of the time that the CPUs wanted to run, from two /proc/stat texts.

    Idle time is left out: on a large idle machine it would hide what a busy CPU loses.
    """
    ticks = np.subtract(_ticks(after), _ticks(before))
    wanted = int(np.delete(ticks, WAITING).sum())
    return float(ticks[STEAL]) / wanted if wanted > 0 else 0.0


def busy_processes(
    before: Mapping[tuple[int, str], float], after: Mapping[tuple[int, str], float], seconds: float
) -> tuple[BusyProcess, ...]:
    """Return the processes that took most of a CPU in the `seconds` between two looks.

    Args:
        before, after: CPU seconds so far, by process id and name.
        seconds: between the looks.
    """
    busy = [
        BusyProcess(pid, name, (after[pid, name] - spent) / seconds)
        for (pid, name), spent in before.items()
        if (pid, name) in after
    ]
    busy = [process for process in busy if process.cpus >= BUSY_SHARE]
    return tuple(sorted(busy, key=lambda process: -process.cpus)[:NAMED_PROCESSES])


def _beyond(spread: Spread, bounds: Bounds) -> list[str]:
    """Name the figures of a spread that are beyond the bounds."""
    found = []
    for q, ratio, bound in (
        (95, spread.p95_ratio, bounds.p95_ratio),
        (99, spread.p99_ratio, bounds.p99_ratio),
    ):
        if ratio is not None and ratio > bound:
            found.append(f"p{q} is {ratio:.2f} times the median")
    if spread.longest_stall_ms > bounds.stall_ms:
        found.append(f"a stall of {spread.longest_stall_ms:.0f} ms")
    if spread.steal_share > bounds.steal_share:
        found.append(f"{spread.steal_share:.0%} of CPU time stolen by the hypervisor")
    return found


def _work(repeats: int) -> int:
    """Multiply `repeats` times; returns the nanoseconds that it took."""
    start = time.perf_counter_ns()
    for _ in range(repeats):
        np.matmul(MATRIX, MATRIX)
    return time.perf_counter_ns() - start


def _stat() -> str:
    return read_text(Path("/proc/stat")) or ""


def _ticks(stat: str) -> list[int]:
    """Return the first FIELDS counts of all CPUs together; zeros without /proc/stat."""
    counts = stat.split("\n", 1)[0].split()[1 : FIELDS + 1]
    return [int(count) for count in counts] or [0] * FIELDS


def _processes() -> Processes:
    """Return the CPU seconds so far of every other visible process."""
    return {
        (process.pid, process.info["name"]): times.user + times.system
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.pid != os.getpid() and (times := process.info["cpu_times"])
    }
