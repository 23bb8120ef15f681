"""A variant on a provider, ready to answer: sessions that are warm, behind a batcher."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import ssept
from ssept.measure.machine import allowed_cpus
from ssept.providers import PROVIDERS
from ssept.providers.onnx.names import read_names
from ssept.providers.session import Ids, Session
from ssept.serving.core.batcher import Batcher, Job, Observer
from ssept.serving.settings import ServerSettings

WARM_CALLS = 3  # of each shape
# A call that takes less does not hold up the event loop more than reading some requests does.
SHORT_SECONDS = 0.0005
# The same where the process is bound to one CPU, so that a session's thread would take turns with
# the loop. Whatever else the loop does waits as long.
SHORT_SECONDS_ON_ONE_CPU = 0.01


class Engine:
    """Answers requests with one variant, in batches; long calls are made off the event loop.

    Attributes:
        variant: its name.
        artifact: the model file that its sessions run.
        version: of the model: the checkpoint's name and the beginning of the file's hash.
        batcher: takes the requests, once `start` was called.
    """

    batcher: Batcher

    def __init__(self, settings: ServerSettings, variant: str) -> None:
        """Load sessions and run every shape that requests will have; takes seconds.

        Raises:
            SseptError: the model cannot be built or read, or would not run on that provider.
        """
        chosen = settings.session(variant)
        self.variant = variant
        # A file tuned for latency has batch 1, which is no limit on batching.
        self.max_batch = chosen.batch if chosen.batch > 1 else settings.max_batch
        self._settings = settings
        self._sessions = [
            ssept.load(
                settings.model,
                variant,
                settings.provider,
                chosen.threads,
                chosen.options,
                read_names(settings.onnx_names),
            )
            for _ in range(settings.sessions)
        ]
        first = self._sessions[0]
        self.artifact = first.artifact
        self.version = f"{self.artifact.model.checkpoint}-{self.artifact.sha256[:12]}"
        self._sizes = _sizes(self.max_batch) if first.compiles_shapes else None
        self._seconds = max(self._warm(session) for session in self._sessions)

    @property
    def max_length(self) -> int:
        """How many of the last items of a sequence the model reads."""
        return self.artifact.model.max_length

    def start(self, observe: Observer = lambda *_: None) -> None:
        """Accept requests, on the running event loop."""
        wait = self._settings.max_wait_ms / 1000
        on_one_cpu = len(allowed_cpus()) == 1 and not PROVIDERS[self._settings.provider].nvidia
        short = SHORT_SECONDS_ON_ONE_CPU if on_one_cpu else SHORT_SECONDS
        self.batcher = Batcher(
            self._run, self._sessions, self.max_batch, wait, self._seconds, observe, short
        )

    async def stop(self) -> None:
        """Answer all waiting requests, then end the threads."""
        await self.batcher.close()

    def _run(self, session: Session, jobs: Sequence[Job]) -> list[Any]:
        """Answer jobs of one kind with a single call; one answer for each job."""
        users, sequences = self._inputs(jobs)
        ks = [job.k or 0 for job in jobs]
        if all_scores := jobs[0].k is None:
            scores = session.scores(users, sequences)
        else:
            ids, best = session.recommend(users, sequences, max(ks), _excluded(jobs, len(users)))
        start, answers = 0, list[Any]()
        for job, k in zip(jobs, ks, strict=True):
            end = start + len(job.sequences)
            answers.append(
                scores[start:end] if all_scores else (ids[start:end, :k], best[start:end, :k])
            )
            start = end
        return answers

    def _inputs(self, jobs: Sequence[Job]) -> tuple[Ids, Ids]:
        """Join the jobs' sequences into one batch, padded on the left."""
        rows = [row for job in jobs for row in job.sequences]
        if self._sizes is None:
            size, length = len(rows), min(max(1, *(len(row) for row in rows)), self.max_length)
        else:
            size = next((size for size in self._sizes if size >= len(rows)), len(rows))
            length = self.max_length
        users = np.zeros(size, np.int64)
        sequences = np.zeros((size, length), np.int64)
        users[: len(rows)] = [user for job in jobs for user in job.users]
        for place, row in zip(sequences, rows, strict=False):
            if len(row):
                last = row[-length:]
                place[length - len(last) :] = last
        return users, sequences

    def _warm(self, session: Session) -> float:
        """Run all shapes; returns the seconds that a sequence takes alone."""
        model = self.artifact.model
        seconds: list[float] = []
        for size in reversed(self._sizes or (1, self.max_batch)):
            users, sequences = model.random_inputs(size)
            k = min(self._settings.max_top_k, model.items)
            for _ in range(WARM_CALLS):
                start = time.perf_counter()
                session.recommend(users, sequences, k)
                seconds.append(time.perf_counter() - start)
            if self._settings.all_scores:
                session.scores(users, sequences)
        return min(seconds[-WARM_CALLS:])  # the last size is 1


def _sizes(largest: int) -> list[int]:
    """Return the batch sizes for a provider that compiles each shape: powers of two."""
    sizes = [1]
    while sizes[-1] < largest:
        sizes.append(min(2 * sizes[-1], largest))
    return sizes


def _excluded(jobs: Sequence[Job], size: int) -> Ids | None:
    """Return the items to exclude, int64[size, E], or None if there are none."""
    widest = max((len(row) for job in jobs for row in job.exclude or ()), default=0)
    if not widest:
        return None
    excluded = np.zeros((size, widest), np.int64)
    start = 0
    for job in jobs:
        for place, row in zip(excluded[start:], job.exclude or (), strict=False):
            place[: len(row)] = row
        start += len(job.sequences)
    return excluded
