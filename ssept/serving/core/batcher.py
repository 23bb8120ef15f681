"""Micro-batching: requests that wait for a session are run together, and never wait for others."""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssept.providers.session import Ids, Session

FOLLOW = 0.1  # the weight of the newest call
# What waits unread in sockets, and for a turn on the CPU, cannot be seen from here: under twice the
# load that could be served, answers took a multiple of the predicted time.
FORESEEN_SHARE = 0.25


class OverloadedError(Exception):
    """A request that would wait, or has waited, longer than the age cap."""


@dataclass(slots=True)
class Job:
    """Sequences of one request, in the catalog's own ids; they are run in one call.

    Attributes:
        users: int64[n].
        sequences: n arrays of int64, in time order, the last ones read.
        k: how many best items; None for the scores of all of them.
        exclude: n arrays of int64, items to leave out; None for nothing.
        answer: ids int64[n, k] and scores float32[n, k]; for all scores, float32[n, items + 1]
            alone.
        first: the first job of the same request; None for itself.
        taken: whether it is in a call, or was.
        arrived: on the clock of `time.perf_counter`, seconds.
        started, ended: when its call began and ended, on the same clock.
    """

    users: Sequence[int] | Ids
    sequences: Sequence[npt.NDArray[np.int64]] | Ids
    k: int | None
    exclude: Sequence[npt.NDArray[np.int64]] | None
    answer: "asyncio.Future[Any]"
    first: "Job | None" = None
    taken: bool = False
    arrived: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    ended: float = 0.0


Observer = Callable[[Sequence[Job], float], None]


class Call(NamedTuple):
    """The outcome of a call of a session.

    Attributes:
        answers: of each job, or the error of all.
        started, ended: on the clock of `time.perf_counter`, seconds.
    """

    answers: list[Any] | Exception
    started: float
    ended: float


class Batcher:
    """Runs waiting jobs in sessions, each in a thread of its own, as soon as one is idle.

    Requests that arrive while a session works are its next batch. So no request waits when there is
    little to do, and batches grow with the load. All methods are called on the event loop's thread.

    The wait of a new request is predicted from the queue before it and from how long a sequence
    has taken lately, with all that the process has to do for it. That bounds the queue by time, on
    fast and slow machines alike.

    Attributes:
        max_batch: the most sequences in one call (a request of more is a call of its own).
        max_wait: seconds, the age cap. A request is refused at once when the predicted wait is
            above a quarter of that, so the cap itself is rarely reached.
    """

    def __init__(
        self,
        run: Callable[[Session, Sequence[Job]], list[Any]],
        sessions: Sequence[Session],
        max_batch: int,
        max_wait: float,
        seconds_per_sequence: float,
        observe: Observer = lambda *_: None,
        short: float = 0.0,
    ) -> None:
        """Start a thread for each session.

        Args:
            run: gives each job's answer from a session; a session's calls come one at a time.
            sessions: one for each thread.
            max_batch, max_wait: see the attributes.
            seconds_per_sequence: what one took in the warm-up, to begin with.
            observe: called after each batch, with the seconds of its call.
            short: a call that is predicted to take fewer seconds runs on the event loop's own
                thread: the way to another one and back would cost nearly as much.
        """
        self.max_batch = max_batch
        self.max_wait = max_wait
        self._run = run
        self._observe = observe
        self._short = short
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._rows = 0  # waiting
        self._running = 0  # sequences in calls
        self._seconds = seconds_per_sequence  # in a call
        self._besides = 0.0  # seconds from one call to the next, while there is work
        self._last = 0.0  # when the last call was over
        self._orders: list[queue.SimpleQueue[list[Job] | None]] = []
        self._idle: list[int] = []
        self._threads: list[threading.Thread] = []
        self._soon = False
        self._looked = 0  # how many sequences waited when the loop was last asked for more
        self._closing: asyncio.Future[None] | None = None
        for number in range(len(sessions)):
            orders: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._work,
                args=(number, orders),
                name=f"session {number}",
                daemon=True,
            )
            self._orders.append(orders)
            self._idle.append(number)
            self._threads.append(thread)
            thread.start()

    @property
    def rows(self) -> int:
        """How many sequences wait."""
        return self._rows

    @property
    def is_full(self) -> bool:
        """Whether a new request would wait too long."""
        sessions = len(self._orders)
        calls = sessions - len(self._idle) - (-self._rows // self.max_batch)
        ahead = (self._rows + self._running) * self._seconds + calls * self._besides
        return ahead / sessions > FORESEEN_SHARE * self.max_wait

    def submit(
        self,
        users: Sequence[int] | Ids,
        sequences: Sequence[npt.NDArray[np.int64]] | Ids,
        k: int | None,
        exclude: Sequence[npt.NDArray[np.int64]] | None = None,
        first: Job | None = None,
    ) -> Job:
        """Queue a request, or with its first job another part of it; await its `answer`.

        A request that was accepted is accepted whole: its parts wait for one another.

        Raises:
            OverloadedError: it would wait too long.
        """
        if first is None and self.is_full:
            raise OverloadedError
        job = Job(users, sequences, k, exclude, self._loop.create_future(), first)
        self._waiting.append(job)
        self._rows += len(sequences)
        # Not at once: what has been read from other connections by now belongs to the batch.
        self._dispatch_soon()
        return job

    async def close(self) -> None:
        """Answer all waiting jobs, then end the threads."""
        if self._rows or self._running:
            self._closing = self._loop.create_future()
            await self._closing
        for orders in self._orders:
            orders.put(None)
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)

    def _dispatch(self) -> None:
        """Pass waiting jobs to idle sessions."""
        self._soon = False
        if self._looked < self._rows < self.max_batch and self._is_short(self._rows):
            # Some have come since the last look: there may be more to read, at no wait.
            self._looked = self._rows
            self._dispatch_soon()
            return
        self._looked = 0
        while self._idle and (jobs := self._take()):
            rows = sum(len(job.sequences) for job in jobs)
            self._running += rows
            number = self._idle.pop()
            if self._is_short(rows):
                self._finish(number, jobs, self._call(number, jobs))
                self._dispatch_soon()  # behind its answers, which are only about to be written
                break
            self._orders[number].put(jobs)
        if self._closing and not (self._rows or self._running):
            self._closing.set_result(None)
            self._closing = None

    def _dispatch_soon(self) -> None:
        if self._idle and not self._soon:
            self._soon = True
            self._loop.call_soon(self._dispatch)

    def _is_short(self, rows: int) -> bool:
        return rows * self._seconds < self._short

    def _take(self) -> list[Job]:
        """Take the next batch from the queue: jobs of one kind that fit, none too old."""
        jobs: list[Job] = []
        rows = 0
        oldest = time.perf_counter() - self.max_wait
        while self._waiting:
            job = self._waiting[0]
            count = len(job.sequences)
            gone = job.answer.done()  # its client has gone, or its deadline has passed
            if gone or (job.arrived < oldest and not (job.first and job.first.taken)):
                self._waiting.popleft()
                self._rows -= count
                if not gone:
                    job.answer.set_exception(OverloadedError())
                continue
            full = rows + count > self.max_batch
            if jobs and (full or (job.k is None) != (jobs[0].k is None)):
                break
            self._waiting.popleft()
            self._rows -= count
            job.taken = True
            jobs.append(job)
            rows += count
        return jobs

    def _work(self, number: int, orders: "queue.SimpleQueue[list[Job] | None]") -> None:
        """Run a session's calls in its thread, until there is None instead of jobs."""
        while (jobs := orders.get()) is not None:
            call = self._call(number, jobs)
            self._loop.call_soon_threadsafe(self._done, number, jobs, call)

    def _call(self, number: int, jobs: Sequence[Job]) -> Call:
        started = time.perf_counter()
        try:
            answers: list[Any] | Exception = self._run(self._sessions[number], jobs)
        except Exception as error:  # noqa: BLE001  # raised in those who wait for it
            answers = error
        return Call(answers, started, time.perf_counter())

    def _done(self, number: int, jobs: list[Job], call: Call) -> None:
        """Deliver the answers of a call in a session's thread, and start the next batch."""
        self._finish(number, jobs, call)
        if self._is_short(self._rows):
            self._dispatch_soon()
        else:
            self._dispatch()  # before the answers are written: the session need not wait for that

    def _finish(self, number: int, jobs: list[Job], call: Call) -> None:
        """Deliver the answers of a call, and mark its session as idle."""
        answers, started, ended = call
        rows = sum(len(job.sequences) for job in jobs)
        self._running -= rows
        self._seconds = _followed(self._seconds, (ended - started) / max(rows, 1))
        now = time.perf_counter()  # after the other work of the loop
        took = now - max(self._last, jobs[0].arrived)
        self._besides += FOLLOW * (
            min(max(took - (ended - started), 0), self.max_wait) - self._besides
        )
        self._last = now
        self._idle.append(number)
        for index, job in enumerate(jobs):
            job.started, job.ended = started, ended
            if job.answer.done():
                continue
            if isinstance(answers, Exception):
                job.answer.set_exception(answers)
            else:
                job.answer.set_result(answers[index])
        self._observe(jobs, ended - started)


def _followed(before: float, now: float) -> float:
    """Update a running geometric mean; a single slow call changes it little."""
    return float(before * min(max(now / before, 0.5), 2.0) ** FOLLOW)
