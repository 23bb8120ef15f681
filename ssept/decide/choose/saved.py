"""The choice out of a saved run of the matrix."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from ssept.decide.choose.candidates import Candidate, Goal, Promises
from ssept.decide.choose.ranking import Recommendation, choose
from ssept.decide.choose.servers import choose_server
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.results.cells import Combination, MatrixRun
from ssept.results.schema import LATENCY, Budget, Facts, Footprint, ServedRate, Timed

MS_PER_S = 1e3


def recommend(
    run: MatrixRun,
    goal: Goal,
    promises: Promises,
    batch: int = 1,
    others: Sequence[MatrixRun] = (),
) -> Recommendation:
    """Choose among the cells of a saved run, or for requests among its servers.

    Args:
        run: of the matrix.
        goal: what is best; for the throughput and the cost each measured batch size competes.
        promises: that must not be broken.
        batch: sequences in a call, for the other goals.
        others: runs that know the accuracy of the served cells.

    Raises:
        SseptError: the run has no latency at that batch size, or no servers.
    """
    if goal is Goal.REQUESTS:
        return choose_server(run, promises, others)
    candidates = candidates_of(run, goal, batch)
    if not candidates:
        measured = batches_of(run)
        has = f"expected one of {', '.join(map(str, measured))}" if measured else "it contains none"
        if any(isinstance(facts, ServedRate) for facts in run.facts):
            has += "; use --goal=requests to choose among its servers"
        raise SseptError(f"{run.path}: no latency at batch {batch}: {has}")
    return choose(candidates, goal, promises)


def batches_of(run: MatrixRun) -> list[int]:
    """Return the batch sizes of a run's latencies, the smallest first."""
    return sorted({each.batch for each in _timed(run)})


def candidates_of(run: MatrixRun, goal: Goal, batch: int) -> list[Candidate]:
    """Return the cells of a run that compete for a goal, with their figures."""
    timed = _timed(run)
    if goal in (Goal.THROUGHPUT, Goal.COST):
        rates = _against_best_batch(timed)
        return [
            replace(_candidate(each, run.facts), rate=rate)
            for each, rate in zip(timed, rates, strict=True)
        ]
    return [_candidate(each, run.facts) for each in timed if each.batch == batch]


def _timed(run: MatrixRun) -> list[Timed]:
    return [facts for facts in run.facts if isinstance(facts, Timed) and facts.measure == LATENCY]


def _candidate(timed: Timed, facts: Sequence[Facts]) -> Candidate:
    same = [
        each
        for each in facts
        if (each.variant, each.provider, each.threads, each.options)
        == (timed.variant, timed.provider, timed.threads, timed.options)
    ]
    budget = next((each for each in same if isinstance(each, Budget)), None)
    footprint = next((each for each in same if isinstance(each, Footprint)), None)
    return Candidate(
        cell=Combination(timed.variant, timed.provider),
        threads=timed.threads,
        batch=timed.batch,
        size_bytes=timed.size_bytes,
        rate=timed.speedup,
        p50_ms=timed.p50_ms,
        p99_ms=timed.p99_ms,
        fps=timed.fps,
        ndcg_change=budget.ndcg_change if budget else None,
        memory_bytes=int(footprint.peak_rss_bytes) if footprint else None,
    )


def _against_best_batch(timed: Sequence[Timed]) -> list[Estimate | None]:
    """Compare sequences a second of all batch sizes with the baseline's at its best one.

    Saved ratios are relative to the baseline at the same batch size, so only those at its best one
    serve; the others are compared by the median call.
    """
    base: dict[int, list[float]] = {}  # by batch, what the loop of each cell says of it
    for each in timed:
        if each.p50_ms and each.speedup:
            fps = each.batch * MS_PER_S / each.p50_ms.value
            base.setdefault(each.batch, []).append(fps / each.speedup.value)
    best, base_fps = max(
        ((batch, median(found)) for batch, found in base.items()),
        key=lambda pair: pair[1],
        default=(0, 1.0),
    )
    return [each.speedup if each.batch == best else _over(each, base_fps) for each in timed]


def _over(timed: Timed, base_fps: float) -> Estimate | None:
    p50 = timed.p50_ms
    if p50 is None:
        return None
    fps = (timed.batch * MS_PER_S / ms for ms in (p50.value, p50.high, p50.low))
    return Estimate(*(each / base_fps for each in fps))
