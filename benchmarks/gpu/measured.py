"""One cell measured: its answers against the CPU's, its times beside the baseline's, its power."""

import importlib.util
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.chip import Chip, synchronize
from benchmarks.gpu.networks import Catalog
from benchmarks.gpu.plan import BASELINE, BUDGETS, GpuCell
from benchmarks.gpu.session import GpuSession
from ssept.errors import AnswerError
from ssept.measure.answers import difference, overlap
from ssept.measure.calls import INPUTS, CheckedCall
from ssept.measure.golden import drift
from ssept.measure.gpu import gpu_sampler
from ssept.measure.latency import PERCENTILES, session_times, summarize

TOP_K = 10
SESSIONS = 8  # pairs of fresh ones: the fewest with an interval at 99 %
LEAST_PAIRS = 4  # of timed calls of each session
POWER_SECONDS = 1.0  # of a cell alone: the counter of the energy moves in steps of a tenth of it
CHECKED_BATCH = 32
CHECKED_ROWS = (0, 1, 2, 3, -4, -3, -2, -1)  # of a larger batch
LARGE_BATCH, LARGE_INPUTS = 512, 3  # from which on a call has fewer inputs
SELF_ERROR = 1e-3  # of a score, between two calls of one session


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


def agreement(catalog: Catalog, cell: GpuCell, device: str) -> tuple[Agreement, str]:
    """Compare a cell's answers with the CPU's.

    Returns:
        how near they are, and why that is not enough for the precision's budget, or "".
    """
    most, least = BUDGETS[cell.precision]
    session = session_of(catalog, cell, device)
    user, sequence = catalog.model.random_inputs(CHECKED_BATCH)
    scores, best = session.scores(user, sequence), session.recommend(user, sequence, TOP_K)
    wanted, right = catalog.exact(CHECKED_BATCH, TOP_K)
    share = overlap(best, right)
    golden = drift(session, catalog.golden) if catalog.golden else None
    found = Agreement(
        top10_overlap=share,
        score_error=float(np.abs(scores - wanted)[:, 1:].max()),
        golden=golden and (golden[0], golden[1]),
    )
    why = difference(scores, wanted, most) or difference(best, right, most) or ""
    # Of random weights many scores are nearly equal, and which of them are the best is chance.
    if not why and catalog.golden and share < least:
        why = f"{share:.3f} of the CPU's best {TOP_K}; expected {least} or more"
    return found, why and f"not the CPU's answers: {why}"


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
        AnswerError: a timed call was answered differently than before, or than on the CPU.
    """
    count = INPUTS if batch < LARGE_BATCH else LARGE_INPUTS
    inputs = catalog.model.random_batches(count, batch)
    known: dict[GpuCell, Any] = {}

    def started(one: GpuCell) -> CheckedCall:
        session = session_of(catalog, one, device)
        call = CheckedCall(
            lambda user, sequence: session.recommend(user, sequence, TOP_K),
            inputs,
            name=one.name(device),
            max_error=SELF_ERROR,
            expected=known.get(one),
        )
        if one in known:
            call.warm_up()
        else:
            _check_rows(catalog, one, inputs[0], call.expected[0])
            known[one] = call.expected
        return call

    times = session_times(
        lambda: started(cell),
        lambda: started(BASELINE),
        seconds=seconds,
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
        | {"gpu": {"peak_memory_bytes": peak_memory(session, inputs, device)}}
    )


def _check_rows(catalog: Catalog, cell: GpuCell, given: Any, answer: Any) -> None:
    """Compare some rows of a batch with the CPU's answers: other kernels run large batches."""
    user, sequence = given
    rows = np.array(sorted({row % len(user) for row in CHECKED_ROWS}))
    right = catalog.on_cpu.recommend(user[rows], sequence[rows], TOP_K)
    most, _ = BUDGETS[cell.precision]
    if why := difference(tuple(each[rows] for each in answer), right, most):
        raise AnswerError(f"batch {len(user)}: the answers differ from the CPU's: {why}")


def least_time(catalog: Catalog, cell: GpuCell, batch: int, chip: Chip) -> float:
    """Compute the seconds that no call of a cell can be below on this chip.

    Its products are counted in a call of the rewritten network with all scores. Its bytes are the
    item table and the layers, read once from the GPU's memory, and what the host sends and gets; a
    table that fits the GPU's cache is read faster.
    """
    user, sequence = catalog.model.random_inputs(batch)
    moved = catalog.read_parameters * cell.dtype.itemsize
    moved += user.nbytes + sequence.nbytes + batch * TOP_K * (8 + 4)
    return chip.least_s(cell.precision, catalog.operations * batch, moved)


def peak_memory(session: GpuSession, inputs: Any, device: str) -> int | None:
    """Return the most bytes that torch's tensors take in a call, the network's among them."""
    if device == "cpu":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    user, sequence = inputs[0]
    session.recommend(user, sequence, TOP_K)
    return torch.cuda.max_memory_allocated()


def energy(catalog: Catalog, cell: GpuCell, batch: int, device: str) -> dict[str, Any]:
    """Run a cell alone; what its board used, nothing where that is not counted."""
    inputs = catalog.model.random_batches(LARGE_INPUTS, batch)
    session = session_of(catalog, cell, device)
    user, sequence = inputs[0]
    session.recommend(user, sequence, TOP_K)
    synchronize(device)
    with gpu_sampler() as sampler:
        if sampler is None or math.isnan(before := sampler.joules()):
            return {}
        start, calls = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < POWER_SECONDS:
            user, sequence = inputs[calls % len(inputs)]
            session.recommend(user, sequence, TOP_K)
            calls += 1
        joules = sampler.joules() - before
    return {
        "measure": "energy",
        "batch": batch,
        "joules_per_thousand": joules / (calls * batch) * 1000,
        "source": "GPU board (NVML)",
        "seconds": [passed],
    }
