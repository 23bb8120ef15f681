"""Latency of a cell, each call paired with a call of the baseline right before or after it."""

import math
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ssept.estimate import Estimate
from ssept.measure.calls import SESSIONS, CheckedCall, collection_off, fresh_pairs
from ssept.measure.statistics import (
    METHOD,
    MINIMUM_SAMPLES,
    ONE_SESSION,
    SESSION_PAIRS,
    block_count,
    hodges_lehmann,
    one_session_ratio,
    percentile,
    session_ratio,
)
from ssept.results.schema import Interval

Call = Callable[[], Any]
Nanoseconds = npt.NDArray[np.float64]
Pair = tuple[CheckedCall, CheckedCall]  # of a cell and of the baseline

PERCENTILES = (50, 95, 99)
LEAST_SESSION_PAIRS = 10
CONFIDENCE = 0.99  # of all intervals here
SECONDS_PER_HOUR = 3600


class Benchmark(Protocol):
    """The part of pytest-benchmark's fixture that is used here."""

    stats: Any

    def pedantic(self, target: Call, *, setup: Call, teardown: Call, rounds: int) -> Any:
        """Time `target` in a number of rounds, with `setup` before and `teardown` after each."""


@dataclass(frozen=True)
class Latency:
    """The figures of the timed calls of a cell.

    Attributes:
        calls: how many were timed.
        sessions: pairs of fresh sessions that they are of.
        percentiles_ms: of one call, by percent; None where `calls` is too few for it. The median's
            interval is over sessions, if there are several; that of the others is of these calls.
        fps: sequences a second in the timed calls.
        speedup: how many times faster than the baseline, over the pairs of sessions.
        interval: how that of the speedup was made.
        fps_interval: of the sequences a second, over sessions; None of one session.
        baseline_ms: the baseline's median in the same loop.
    """

    calls: int
    sessions: int
    percentiles_ms: dict[int, Estimate | None]
    fps: float
    speedup: Estimate
    interval: Interval
    baseline_ms: float
    fps_interval: Estimate | None = None

    def facts(self, price_per_hour: float | None = None) -> dict[str, Any]:
        """Return plain JSON values; a figure that needs more calls is null.

        Args:
            price_per_hour: of the cores that a call uses, for the cost of a million sequences.
        """
        percentiles = {
            f"p{q}_ms": asdict(estimate) if estimate else None
            for q, estimate in self.percentiles_ms.items()
        }
        return percentiles | {
            "calls": self.calls,
            "sessions": self.sessions,
            "fps": self.fps,
            "fps_interval": self.fps_interval and asdict(self.fps_interval),
            "interval": asdict(self.interval),
            "speedup": asdict(self.speedup) if math.isfinite(self.speedup.high) else None,
            "baseline_ms": self.baseline_ms,
            "cost_per_million": (
                price_per_hour / SECONDS_PER_HOUR * 1e6 / self.fps if price_per_hour else None
            ),
        }


class PairedLoop:
    """Setup and teardown that time the baseline, alternately before and after the target.

    Each timed call follows an untimed one of the same session, so that it finds its own weights
    in the caches and not the other session's. Swapping the order takes out what the first place
    or the second does to a time; which side is first of all is drawn for each pair of sessions.
    The untimed call has another input: an answer that is kept from it is the wrong one. Answers
    are compared outside of the timed sections.
    """

    def __init__(self, pairs: Sequence[Pair], turns: int = sys.maxsize) -> None:
        """Begin with the first pair.

        Args:
            pairs: calls of a cell and of the baseline, in the order of their turns.
            turns: timed calls of each pair.
        """
        self._pairs = iter(pairs)
        self._turns = turns
        self.baseline_ns: list[int] = []
        self._turn = 0
        self._baseline_first = True

    def call(self) -> None:
        """Make the call of the cell that is to be timed."""
        self._cell()

    def setup(self) -> None:
        """Prepare a timed call of the cell."""
        if self._turn % self._turns == 0:
            self._start_pair()
        if self._baseline_first:
            self._time_baseline()
        self._cell()
        self._cell.take(self._place)

    def teardown(self) -> None:
        """Finish a timed call of the cell."""
        self._cell.check()
        if not self._baseline_first:
            self._time_baseline()
        self._baseline_first = not self._baseline_first
        self._turn += 1
        self._place = self._cell.other_place()

    def _start_pair(self) -> None:
        self._cell, self._baseline = next(self._pairs)
        self._place = self._cell.other_place()
        self._baseline_first = bool(secrets.randbelow(2))

    def _time_baseline(self) -> None:
        self._baseline()
        self._baseline.take(self._place)
        start = time.perf_counter_ns()
        self._baseline()
        self.baseline_ns.append(time.perf_counter_ns() - start)
        self._baseline.check()


def paired_latency(
    benchmark: Benchmark,
    pairs: Sequence[Pair],
    *,
    rounds: int,
    batch_size: int,
    max_seconds: float = math.inf,
) -> Latency:
    """Time `rounds` calls of a cell, each paired with one of the baseline.

    Where that would take longer than `max_seconds`, fewer are timed, but as many as p95 needs.

    Args:
        benchmark: pytest-benchmark's fixture, which keeps the cell's times.
        pairs: a call of the cell and one of the baseline, with the same inputs, for each pair of
            fresh sessions; one pair where there is one session only.
        rounds: timed calls of all pairs together; a few more, so that all have as many.
        batch_size: sequences in a call, for the FPS.
        max_seconds: of the timed loop.

    Raises:
        AnswerError: a timed call was answered differently than before the load.
    """
    pair_s = _timed_pair_s(*pairs[0])
    affordable = max_seconds / (2 * pair_s)  # half of all calls are timed
    if affordable < rounds:
        rounds = min(rounds, max(MINIMUM_SAMPLES[95], int(affordable)))
    turns = 2 * math.ceil(rounds / len(pairs) / 2)  # even: both orders count alike
    loop = PairedLoop(pairs, turns)
    with collection_off():
        benchmark.pedantic(
            loop.call, setup=loop.setup, teardown=loop.teardown, rounds=turns * len(pairs)
        )
    # --benchmark-disable calls the cell once, untimed: a warm-up's time stands in, never saved.
    off = benchmark.stats is None
    cell_ns = np.asarray([pair_s] if off else benchmark.stats.stats.data) * 1e9
    baseline_ns = cell_ns if off else np.asarray(loop.baseline_ns, dtype=np.float64)
    starts = range(0, len(cell_ns), turns)
    times = [(baseline_ns[at : at + turns], cell_ns[at : at + turns]) for at in starts]
    return summarize(times, batch_size)


def _timed_pair_s(cell: CheckedCall, baseline: CheckedCall) -> float:
    """Call both once; returns the seconds that it took."""
    start = time.perf_counter()
    cell()
    baseline()
    return time.perf_counter() - start


def paired_times(
    cell: CheckedCall, baseline: CheckedCall, *, seconds: float, least_pairs: int = 40
) -> tuple[Nanoseconds, Nanoseconds]:
    """Time `cell` and `baseline`, paired as in `paired_latency`, without pytest.

    Args:
        cell, baseline: one call each, with as many inputs as the other.
        seconds: measure at least this long,
        least_pairs: and at least this number of pairs.

    Returns:
        float64[n] each, nanoseconds, in the order of measuring.

    Raises:
        AnswerError: a timed call was answered differently than before the load.
    """
    loop = PairedLoop([(cell, baseline)])
    cell_ns: list[int] = []
    with collection_off():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(cell_ns) < least_pairs:
            loop.setup()
            start = time.perf_counter_ns()
            cell()
            cell_ns.append(time.perf_counter_ns() - start)
            loop.teardown()
    return np.asarray(cell_ns, dtype=np.float64), np.asarray(loop.baseline_ns, dtype=np.float64)


def session_times(
    cell: Callable[[], CheckedCall],
    baseline: Callable[[], CheckedCall],
    *,
    seconds: float,
    sessions: int = SESSIONS,
    least_pairs: int = LEAST_SESSION_PAIRS,
) -> list[tuple[Nanoseconds, Nanoseconds]]:
    """Time fresh sessions of both sides, pair by pair; `session_ratio` takes what it returns.

    Args:
        cell, baseline: start a fresh session; return a call of it.
        seconds: of the timed calls of all sessions together, at least.
        sessions: pairs of sessions.
        least_pairs: timed calls of each session, at least.

    Returns:
        The times of the baseline and of the cell of each pair of sessions, as `paired_times`.
    """
    times = []
    for timed, other in fresh_pairs(cell, baseline, sessions):
        cell_ns, baseline_ns = paired_times(
            timed, other, seconds=seconds / sessions, least_pairs=least_pairs
        )
        times.append((baseline_ns, cell_ns))
    return times


def summarize(
    sessions: Sequence[tuple[Nanoseconds, Nanoseconds]],
    batch_size: int,
    percents: Sequence[int] = PERCENTILES,
) -> Latency:
    """Summarize the times of the baseline and of the cell in each pair of sessions.

    Args:
        sessions: float64[n] each, in the order of measuring.
        batch_size: sequences in a call.
        percents: which percentiles of single calls to give; they need SciPy. The median over
            several sessions is given in any case, and does not.
    """
    baseline_ns, cell_ns = (np.concatenate(side) for side in zip(*sessions, strict=True))
    percentiles = {q: percentile(cell_ns / 1e6, q) for q in percents}
    fps = None
    if len(sessions) == 1:
        speedup = one_session_ratio(baseline_ns, cell_ns)
        unit, n = ONE_SESSION, block_count(len(cell_ns))
    else:
        speedup = session_ratio(sessions)
        unit, n = SESSION_PAIRS, len(sessions)
        medians, means = (
            np.array([centre(own_ns) for _, own_ns in sessions]) for centre in (np.median, np.mean)
        )
        percentiles[50] = hodges_lehmann(medians / 1e6)
        fps = hodges_lehmann(batch_size / (means / 1e9))
    return Latency(
        calls=len(cell_ns),
        sessions=len(sessions),
        percentiles_ms=percentiles,
        fps=batch_size * len(cell_ns) / (cell_ns.sum() / 1e9),
        speedup=speedup,
        interval=Interval(method=METHOD, unit=unit, n=n, confidence=CONFIDENCE),
        baseline_ms=float(np.median(baseline_ns)) / 1e6,
        fps_interval=fps if fps and math.isfinite(fps.high) else None,
    )
