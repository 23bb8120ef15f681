"""What waits for a session is run together, what cannot be run in time is refused."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssept
from ssept.serving.core.batcher import Batcher, Job, OverloadedError
from ssept.serving.core.engine import Engine
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import ITEMS, SECONDS, USERS, write_checkpoint

LONG, NO_TIME = 1000.0, 1e-9  # seconds


@dataclass
class Fake:
    """A session that works when it may, and remembers what it was given."""

    calls: list[list[Job]] = field(default_factory=list)
    may_work: threading.Event = field(default_factory=threading.Event)
    called: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    error: Exception | None = None

    @property
    def sizes(self) -> list[int]:
        return [sum(len(job.sequences) for job in jobs) for jobs in self.calls]

    async def is_called(self) -> None:
        assert await asyncio.to_thread(self.called.acquire, timeout=SECONDS)


def run(session: Any, jobs: Sequence[Job]) -> list[Any]:
    """The users of each job, for its answer."""
    session.calls.append(list(jobs))
    session.called.release()
    assert session.may_work.wait(SECONDS)
    if session.error:
        error, session.error = session.error, None
        raise error
    return [job.users for job in jobs]


@asynccontextmanager
async def batcher(
    *sessions: Fake, max_batch: int = 64, max_wait: float = LONG, seconds: float = NO_TIME
) -> AsyncIterator[Batcher]:
    """A batcher, closed in the end."""
    made = Batcher(run, sessions, max_batch, max_wait, seconds)
    try:
        yield made
    finally:
        for session in sessions:
            session.may_work.set()
        await asyncio.wait_for(made.close(), SECONDS)


def submit(made: Batcher, user: int = 1, rows: int = 1, k: int | None = 1) -> Job:
    return made.submit([user] * rows, [np.array([1])] * rows, k)


def wait_for(*jobs: Job) -> Coroutine[Any, Any, list[Any]]:
    gathered = asyncio.gather(*(job.answer for job in jobs), return_exceptions=True)
    return asyncio.wait_for(gathered, SECONDS)


def go(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_request_is_run_at_once_when_nothing_else_is_to_do() -> None:
    async def main() -> None:
        session = Fake()
        session.may_work.set()
        async with batcher(session) as made:
            loop, timers = asyncio.get_running_loop(), []
            loop.call_later = loop.call_at = lambda *_, **__: timers.append(1)  # type: ignore
            assert await submit(made, 5).answer == [5]
            del loop.call_later, loop.call_at
            assert session.sizes == [1]
            assert timers == []  # nobody else is waited for

    go(main)


def test_what_arrives_together_is_run_together() -> None:
    async def main() -> None:
        session = Fake()
        session.may_work.set()
        async with batcher(session) as made:
            jobs = [submit(made, user) for user in range(5)]
            assert await wait_for(*jobs) == [[user] for user in range(5)]
        assert session.sizes == [5]

    go(main)


def test_what_waits_is_the_next_batch_up_to_its_cap() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_batch=4) as made:
            first = submit(made, 100)
            await session.is_called()
            jobs = [submit(made, user) for user in range(10)]
            assert made.rows == 10
            session.may_work.set()
            assert await wait_for(first, *jobs) == [[100], *([user] for user in range(10))]
            assert made.rows == 0
        assert session.sizes == [1, 4, 4, 2]
        assert [job.users for jobs in session.calls for job in jobs] == [
            [100],
            *([user] for user in range(10)),
        ]

    go(main)


def test_a_request_is_one_call_also_if_it_is_longer_than_the_cap() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_batch=4) as made:
            jobs = [submit(made)]
            await session.is_called()
            jobs += [submit(made, rows=rows) for rows in (3, 2, 9, 1, 3)]
            session.may_work.set()
            await wait_for(*jobs)
        assert session.sizes == [1, 3, 2, 9, 4]

    go(main)


def test_a_request_that_was_accepted_is_not_refused_for_its_own_parts() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_batch=1, max_wait=0.05, seconds=0.04) as made:
            jobs = [submit(made)]
            jobs += [made.submit([user], [np.array([1])], 1, first=jobs[0]) for user in (2, 3, 4)]
            with pytest.raises(OverloadedError):
                submit(made, 5)  # another request, which would wait for these
            await session.is_called()
            await asyncio.sleep(0.1)  # twice the age cap
            session.may_work.set()
            assert await wait_for(*jobs) == [[1], [2], [3], [4]]

    go(main)


def test_parts_of_a_request_that_waited_too_long_are_refused_with_it() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_wait=0.05) as made:
            before = submit(made)
            await session.is_called()
            first = submit(made, 2)
            rest = made.submit([3], [np.array([1])], 1, first=first)
            await asyncio.sleep(0.1)
            session.may_work.set()
            assert await wait_for(before) == [[1]]
            found = await wait_for(first, rest)
            assert [type(one) for one in found] == [OverloadedError] * 2
        assert session.sizes == [1]

    go(main)


def test_all_scores_and_the_best_are_never_in_one_call() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session) as made:
            jobs = [submit(made)]
            await session.is_called()
            jobs += [submit(made, user, k=k) for user, k in enumerate((1, 7, None, None, 3))]
            session.may_work.set()
            await wait_for(*jobs)
        kinds = [[job.k for job in jobs] for jobs in session.calls]
        assert kinds == [[1], [1, 7], [None, None], [3]]

    go(main)


def test_each_session_works_in_its_turn_and_side_by_side() -> None:
    async def main() -> None:
        sessions = [Fake(), Fake()]
        async with batcher(*sessions, max_batch=1) as made:
            jobs = [submit(made, user) for user in range(3)]
            for session in sessions:
                await session.is_called()
            assert made.rows == 1
            for session in sessions:
                session.may_work.set()
            assert await wait_for(*jobs) == [[0], [1], [2]]

    go(main)


def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_wait=40, seconds=3) as made:  # 10 are accepted
            jobs = [submit(made)]  # an idle session takes anything
            await session.is_called()
            jobs += [submit(made), submit(made, rows=2)]  # 3 and 6 seconds are in front of them
            with pytest.raises(OverloadedError):
                submit(made)  # 12 seconds
            assert made.rows == 3
            session.may_work.set()
            assert await wait_for(*jobs) == [[1], [1], [1, 1]]
            jobs = [submit(made)]
            assert await wait_for(*jobs) == [[1]]

    go(main)


def test_a_slow_call_alone_is_waited_for_when_it_is_over() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_wait=10, seconds=11) as made:
            first = submit(made)
            await session.is_called()
            with pytest.raises(OverloadedError):
                submit(made)
            session.may_work.set()
            await wait_for(first)
            # Calls are quick now, and that is noticed: what was refused is taken again.
            for _ in range(100):
                await wait_for(submit(made))
            session.may_work.clear()
            jobs = [submit(made)]
            await asyncio.to_thread(lambda: [session.called.acquire() for _ in range(101)])
            jobs.append(submit(made))
            session.may_work.set()
            assert await wait_for(*jobs) == [[1], [1]]

    go(main)


def test_a_request_that_has_waited_too_long_is_not_run_any_more() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session, max_wait=LONG) as made:
            first = submit(made)
            await session.is_called()
            old, young = submit(made, 2), submit(made, 3)
            old.arrived -= 2 * LONG
            session.may_work.set()
            answers = await wait_for(first, old, young)
        assert [type(answer) for answer in answers] == [list, OverloadedError, list]
        assert [job.users for job in session.calls[1]] == [[3]]

    go(main)


def test_a_call_that_fails_fails_only_what_was_in_it() -> None:
    async def main() -> None:
        session = Fake(error=ArithmeticError("the moon is full"))
        async with batcher(session, max_batch=2) as made:
            jobs = [submit(made, user) for user in range(3)]
            session.may_work.set()
            answers = await wait_for(*jobs)
            assert [str(answer) for answer in answers] == ["the moon is full"] * 2 + ["[2]"]
            assert await wait_for(submit(made, 7)) == [[7]]

    go(main)


def test_requests_whose_clients_have_gone_are_not_run() -> None:
    async def main() -> None:
        session = Fake()
        async with batcher(session) as made:
            first = submit(made)
            await session.is_called()
            gone, there = submit(made, 2), submit(made, 3)
            gone.answer.cancel()
            first.answer.cancel()  # while it is run
            session.may_work.set()
            assert await wait_for(there) == [[3]]
            assert made.rows == 0
        assert [job.users for job in session.calls[1]] == [[3]]

    go(main)


def test_the_end_answers_all_that_waits() -> None:
    async def main() -> None:
        session = Fake()
        made = Batcher(run, [session], 2, LONG, NO_TIME)
        jobs = [submit(made, user) for user in range(7)]
        await session.is_called()
        closing = asyncio.create_task(made.close())
        session.may_work.set()
        await asyncio.wait_for(closing, SECONDS)
        assert [job.answer.result() for job in jobs] == [[user] for user in range(7)]
        assert not [one for one in threading.enumerate() if one.name.startswith("session")]

    go(main)


def test_the_end_does_not_wait_for_those_who_have_gone() -> None:
    async def main() -> None:
        made = Batcher(run, [Fake()], 2, LONG, NO_TIME)
        closing = asyncio.create_task(made.close())
        submit(made).answer.cancel()
        await asyncio.wait_for(closing, SECONDS)

    go(main)


def test_the_batches_are_told_with_their_times() -> None:
    async def main() -> None:
        told: list[tuple[int, float]] = []
        session = Fake()
        session.may_work.set()
        made = Batcher(
            run, [session], 2, LONG, NO_TIME, lambda jobs, took: told.append((len(jobs), took))
        )
        jobs = [submit(made) for _ in range(3)]
        await wait_for(*jobs)
        await made.close()
        assert [count for count, _ in told] == [2, 1]
        for job in jobs:
            assert job.arrived <= job.started <= job.ended
        assert told[0][1] == jobs[0].ended - jobs[0].started

    go(main)


def test_a_short_call_is_made_where_it_is_asked_for_and_a_long_one_is_not() -> None:
    threads: list[threading.Thread] = []

    def where(_: object, jobs: Sequence[Job]) -> list[Any]:
        threads.append(threading.current_thread())
        return [job.users for job in jobs]

    async def main() -> None:
        for count in (2, 3):
            made = Batcher(where, [Fake()], 4, LONG, 1.0, short=2.5)
            await wait_for(*[submit(made) for _ in range(count)])
            await made.close()

    go(main)
    assert threads[0] is threading.main_thread()
    assert threads[1].name.startswith("session")


def test_short_calls_of_many_kinds_are_all_made() -> None:
    async def main() -> None:
        session = Fake()
        session.may_work.set()
        made = Batcher(run, [session], 4, LONG, NO_TIME, short=LONG)
        jobs = [submit(made, k=(None, 1)[user % 2], user=user) for user in range(3000)]
        await wait_for(*jobs)
        await made.close()
        assert session.sizes == [1] * 3000

    go(main)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_jobs_of_all_kinds_get_in_a_batch_what_they_get_alone(
    provider: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny.safetensors")
    # OpenVINO's sessions compile each shape, so its batches are padded.
    settings = ServerSettings(
        model=checkpoint, provider=provider, max_batch=16, max_top_k=20, max_wait_ms=60_000
    )
    session = ssept.load(checkpoint, variant="fused_topk", provider=provider)
    random = np.random.default_rng(0)

    async def main() -> None:
        engine, sizes = Engine(settings, "fused_topk"), []
        engine.start(lambda jobs, _: sizes.append(len(jobs)))
        jobs = []
        for number in range(60):
            rows = 1 + number % 3
            users = random.integers(0, USERS + 1, rows).tolist()
            lengths = random.integers(0, 70, rows)
            items = [random.integers(1, ITEMS + 1, length) for length in lengths]
            exclude = [np.unique(row) for row in items] if number % 4 == 0 else None
            k = None if number % 10 == 9 else int(random.integers(1, 11))
            jobs.append(engine.batcher.submit(users, items, k, exclude))
        answers = await wait_for(*jobs)
        await engine.stop()
        assert max(sizes) > 2
        for job, answer in zip(jobs, answers, strict=True):
            for row, (user, items) in enumerate(zip(job.users, job.sequences, strict=True)):
                sequence = [items.tolist() or [0]]
                if job.k is None:
                    alone = session.scores([user], sequence)[0]
                    np.testing.assert_allclose(answer[row], alone, rtol=1e-4, atol=1e-4)
                    continue
                exclude = [job.exclude[row].tolist()] if job.exclude else None
                exclude = exclude if exclude and exclude[0] else None
                ids, best = session.recommend([user], sequence, job.k, exclude)
                np.testing.assert_array_equal(answer[0][row], ids[0])
                np.testing.assert_allclose(answer[1][row], best[0], rtol=1e-4, atol=1e-4)

    go(main)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="this machine has one CPU")
@pytest.mark.parametrize("cpus", [1, 2])
def test_with_one_cpu_a_call_is_made_where_it_is_asked_for(
    cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(model=write_checkpoint(tmp_path / "tiny.safetensors"))
    engine = Engine(settings, "fused_topk")
    threads: list[str] = []
    monkeypatch.setattr(engine, "_seconds", 0.002)  # more than is short beside other CPUs
    monkeypatch.setattr(
        Engine, "_run", lambda *_: threads.append(threading.current_thread().name) or [None]
    )

    async def main() -> None:
        engine.start()
        await engine.batcher.submit([1], [np.array([1])], 1).answer
        await engine.stop()

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cpus])
    try:
        go(main)
    finally:
        os.sched_setaffinity(0, allowed)
    assert threads == ["MainThread" if cpus == 1 else "session 0"]
