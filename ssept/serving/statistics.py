"""What a variant has done, as the statistics extension of the Open Inference Protocol tells it."""

import time
from collections.abc import Sequence
from typing import Any

from ssept.serving.batcher import Job


class Statistics:
    """Counts and times of a variant's calls since the server started, reloads included.

    As in Triton, each request of a batch counts the whole time of its call. What that takes to put
    a batch together and to divide its answers is part of `compute_infer`; `success` lasts until the
    event loop has the answer, without reading the request and sending the answer.
    """

    def __init__(self) -> None:
        self._last_s = 0.0  # on the wall clock
        self._sequences = self._requests = self._failed = 0
        self._success_s = self._fail_s = self._queue_s = self._infer_s = 0.0
        self._batches: dict[int, tuple[int, float]] = {}  # by size: calls, and their seconds

    def record(self, jobs: Sequence[Job], seconds: float) -> None:
        """Count a call that has just ended."""
        arrived, started = sum(job.arrived for job in jobs), jobs[0].started
        lived_s = len(jobs) * time.perf_counter() - arrived
        answers = [job.answer for job in jobs if not job.answer.cancelled()]
        if answers and answers[0].exception():
            self._failed += len(jobs)
            self._fail_s += lived_s
            return
        self._last_s = time.time()
        self._requests += len(jobs)
        self._success_s += lived_s
        self._queue_s += len(jobs) * started - arrived
        self._infer_s += len(jobs) * seconds
        size = sum(len(job.sequences) for job in jobs)
        self._sequences += size
        calls, calls_s = self._batches.get(size, (0, 0.0))
        self._batches[size] = calls + 1, calls_s + seconds

    def of_model(self, name: str, version: str) -> dict[str, Any]:
        """What the protocol tells of a model: counts, and times in nanoseconds."""
        requests, batches = self._requests, sorted(self._batches.items())
        return {
            "name": name,
            "version": version,
            "last_inference": round(self._last_s * 1000),
            "inference_count": self._sequences,
            "execution_count": sum(calls for _, (calls, _) in batches),
            "inference_stats": {
                "success": _duration(requests, self._success_s),
                "fail": _duration(self._failed, self._fail_s),
                "queue": _duration(requests, self._queue_s),
            }
            | _compute(requests, self._infer_s),
            "batch_stats": [
                {"batch_size": size} | _compute(calls, seconds)
                for size, (calls, seconds) in batches
            ],
        }


def _compute(count: int, seconds: float) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(count, 0),
        "compute_infer": _duration(count, seconds),
        "compute_output": _duration(count, 0),
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
