"""Counts and times of a variant's calls, for the Open Inference Protocol's statistics."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.serving.core.batcher import Job
from ssept.serving.core.worker_memory import WorkerMemory

# Places of the numbers, all float64. Sequences of a call and its seconds follow, for each size.
LAST, SEQUENCES, REQUESTS, FAILED, SUCCESS_S, FAIL_S, QUEUE_S, INFER_S = range(8)
SIZES = 8
LARGEST = 4095  # sequences in a call; more count as this
NUMBERS = SIZES + 2 * (LARGEST + 1)
STATISTICS_BYTES = 8 * NUMBERS


class CallStatistics:
    """Counts and times of a variant's calls since the server started, reloads included.

    As in Triton, each request of a batch counts the whole time of its call. What that takes to put
    a batch together and to divide its answers is part of `compute_infer`; `success` lasts until the
    event loop has the answer, without reading the request and sending the answer.
    """

    def __init__(self, memory: WorkerMemory) -> None:
        """Count in the next piece of a worker's memory."""
        own, self._every = memory.take(np.dtype(np.float64), NUMBERS)
        self._own = own.cast("d")

    def record(self, jobs: Sequence[Job], seconds: float) -> None:
        """Count a call that has just ended."""
        own, count = self._own, len(jobs)
        arrived, started = sum(job.arrived for job in jobs), jobs[0].started
        lived_s = count * time.perf_counter() - arrived
        answers = [job.answer for job in jobs if not job.answer.cancelled()]
        if answers and answers[0].exception():
            own[FAILED] += count
            own[FAIL_S] += lived_s
            return
        size = sum(len(job.sequences) for job in jobs)
        own[LAST] = time.time()
        own[SEQUENCES] += size
        own[REQUESTS] += count
        own[SUCCESS_S] += lived_s
        own[QUEUE_S] += count * started - arrived
        own[INFER_S] += count * seconds
        place = SIZES + 2 * min(size, LARGEST)
        own[place] += 1
        own[place + 1] += seconds

    def of_model(self, name: str, version: str) -> dict[str, Any]:
        """Return the statistics of a model in the protocol's form; times in nanoseconds."""
        last, numbers = self._sum()
        sequences, requests, failed, success_s, fail_s, queue_s, infer_s = numbers[1:SIZES].tolist()
        batches = numbers[SIZES:].reshape(-1, 2)
        return {
            "name": name,
            "version": version,
            "last_inference": round(last * 1000),
            "inference_count": int(sequences),
            "execution_count": int(batches[:, 0].sum()),
            "inference_stats": {
                "success": _duration(requests, success_s),
                "fail": _duration(failed, fail_s),
                "queue": _duration(requests, queue_s),
            }
            | _compute(requests, infer_s),
            "batch_stats": [
                {"batch_size": size} | _compute(*batches[size].tolist())
                for size in np.flatnonzero(batches[:, 0]).tolist()
            ],
        }

    def _sum(self) -> tuple[float, npt.NDArray[np.float64]]:
        """Return the time of the last call, and the sums over all workers."""
        return float(self._every[:, LAST].max()), self._every.sum(axis=0)


def _compute(count: float, seconds: float) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(count, 0),
        "compute_infer": _duration(count, seconds),
        "compute_output": _duration(count, 0),
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": int(count), "ns": round(seconds * 1e9)}
