"""One cell measured: its answers against the CPU's, its times beside the baseline's, its power."""

import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.chip import Chip, operations, power, synchronize
from benchmarks.gpu.networks import PLAIN, Catalog
from benchmarks.gpu.plan import BASELINE, BUDGETS, GpuCell
from benchmarks.gpu.session import GpuSession, Way
from ssept.errors import AnswerError
from ssept.measure.answers import difference, overlap
from ssept.measure.calls import INPUTS, CheckedCall
from ssept.measure.golden import drift
from ssept.measure.latency import PERCENTILES, session_times, summarize

TOP_K = 10
SESSIONS = 8  # pairs of fresh ones: the fewest with an interval at 99 %
LEAST_PAIRS = 4  # of timed calls of each session
POWER_SHARE = 0.25  # of a cell's time
CHECKED_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How near a cell's answers are to those of the same weights on the CPU in float32.

    Attributes:
        top10_overlap: the mean share of the CPU's best ten.
        score_error: the largest difference of a score.
        golden: the same two against the golden outputs; None of random weights.
    """

    top10_overlap: float
    score_error: float
    golden: tuple[float, float] | None


def session_of(catalog: Catalog, cell: GpuCell, device: str) -> GpuSession:
    """Start a fresh session of a cell."""
    return catalog.session(cell.network, device, cell.dtype, cell.way)


def agreement(catalog: Catalog, cell: GpuCell, device: str) -> Agreement:
    """Compare a cell's answers with the CPU's.

    Raises:
        AnswerError: they differ by more than the precision's budget.
    """
    most, least = BUDGETS[cell.precision]
    session = session_of(catalog, cell, device)
    exact = catalog.session(PLAIN, "cpu", torch.float32, Way())
    user, sequence = catalog.model.random_inputs(CHECKED_BATCH)
    scores, wanted = (each.scores(user, sequence) for each in (session, exact))
    best, right = (each.recommend(user, sequence, TOP_K) for each in (session, exact))
    error, share = float(np.abs(scores - wanted).max()), overlap(best, right)
    golden = drift(session, catalog.golden) if catalog.golden else None
    if why := difference(scores, wanted, most) or difference(best, right, most):
        raise AnswerError(f"{cell.name(device)}: not the CPU's answers: {why}")
    if share < least:
        raise AnswerError(
            f"{cell.name(device)}: {share:.3f} of the CPU's best {TOP_K}; expected {least} or more"
        )
    return Agreement(
        top10_overlap=share, score_error=error, golden=golden and (golden[0], golden[1])
    )


def measure(
    catalog: Catalog, cell: GpuCell, batch: int, device: str, chip: Chip, seconds: float
) -> dict[str, Any]:
    """Time a cell beside the baseline, in pairs of fresh sessions.

    Args:
        catalog: what is recommended from.
        cell: what is timed.
        batch: sequences in a call.
        device: where.
        chip: its limits.
        seconds: about this long, and at least a few calls of each session.

    Returns:
        what a saved run says of the cell.

    Raises:
        AnswerError: a timed call was answered differently than before.
    """
    inputs = catalog.model.random_batches(INPUTS, batch)

    def started(one: GpuCell) -> CheckedCall:
        session = session_of(catalog, one, device)
        return CheckedCall(
            lambda user, sequence: session.recommend(user, sequence, TOP_K),
            inputs,
            name=one.name(device),
            max_error=BUDGETS[one.precision][0],
        )

    times = session_times(
        lambda: started(cell),
        lambda: started(BASELINE),
        seconds=seconds * (1 - POWER_SHARE),
        sessions=SESSIONS,
        least_pairs=LEAST_PAIRS,
    )
    percents = PERCENTILES if importlib.util.find_spec("scipy") else ()
    latency = summarize(times, batch, percents)
    session = session_of(catalog, cell, device)
    own_s = np.concatenate([cell_ns for _, cell_ns in times]) / 1e9
    least_s = least_time(catalog, cell, batch, chip)
    return (
        latency.facts()
        | {"measure": "latency", "batch": batch, "call": "recommend"}
        | {"length": catalog.model.max_length, "placement": session.placement()}
        | {"least_ms": least_s * 1e3, "seconds": own_s.tolist()}
        | powered(session, inputs, device, seconds * POWER_SHARE)
    )


def least_time(catalog: Catalog, cell: GpuCell, batch: int, chip: Chip) -> float:
    """Compute the seconds that no call of a cell can be below on this chip.

    Its products are counted in a call of the rewritten network with all scores; its bytes are the
    weights, read once, and what the host sends and gets.
    """
    user, sequence = catalog.model.random_inputs(batch)
    network = catalog.rewritten
    with torch.inference_mode():
        given = torch.from_numpy(user[:1]), torch.from_numpy(sequence[:1])
        each = operations(lambda: network(*given) @ network.items.T)
    weights = sum(one.numel() for one in network.buffers()) * cell.dtype.itemsize
    moved = weights + user.nbytes + sequence.nbytes + batch * TOP_K * 12
    return chip.least_s(cell.precision, each * batch, moved)


def powered(session: GpuSession, inputs: Any, device: str, seconds: float) -> dict[str, Any]:
    """Run a session alone, and return the mean power and the energy; nothing where unknown."""
    with power(device) as sampler:
        if sampler is None:
            return {}
        user, sequence = inputs[0]
        session.recommend(user, sequence, TOP_K)
        synchronize(device)
        sampler.restart()
        start, calls = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            user, sequence = inputs[calls % len(inputs)]
            session.recommend(user, sequence, TOP_K)
            calls += 1
        use = sampler.use()
    if not use.power_w or use.samples < 2:
        return {}
    sequences = calls * len(user)
    return {
        "gpu": {
            "power_w": use.power_w,
            "peak_memory_bytes": use.peak_memory_bytes,
            "joules_per_thousand": use.power_w * passed / sequences * 1000,
        }
    }
