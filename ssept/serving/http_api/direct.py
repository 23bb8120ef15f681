"""The routes under load: what they answer, whether they are called through ASGI or without it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssept.serving.core.batcher import Job
from ssept.serving.http_api.asgi import (
    JSON,
    Headers,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
)


class Answer(NamedTuple):
    """An answer with status 200."""

    body: bytes
    headers: Headers = (JSON,)


@dataclass(slots=True)
class Pending:
    """A request that waits for its jobs.

    Attributes:
        jobs: one or more, of the batcher.
        finish: makes the answer of what they give.
    """

    jobs: Sequence[Job]
    finish: Callable[[list[Any]], Answer]

    @property
    def is_done(self) -> bool:
        """Whether nothing more is waited for."""
        return all(job.answer.done() for job in self.jobs)

    def answer(self) -> Answer:
        """Return the answer, once all jobs are done; raises the error of the first that failed."""
        return self.finish([job.answer.result() for job in self.jobs])

    def end(self) -> None:
        """Take back those jobs that no call has taken."""
        end(self.jobs)


@dataclass(frozen=True)
class Route:
    """What a POST to a path does.

    Attributes:
        name: of the route in the metrics.
        limit: gives the largest size of a body, bytes.
        media_type: what the body must be said to be, if anything is said; None for anything.
        begin: queues what a body with its headers asks for; raises RefusedError.
    """

    name: str
    limit: Callable[[], int]
    media_type: bytes | None
    begin: Callable[[bytes, Headers], Pending]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Answer a request of ASGI; raises RefusedError, or OverloadedError for one too old."""
        body = await read_body(scope, receive, self.limit(), self.media_type)
        pending = self.begin(body, scope["headers"])
        try:
            for job in pending.jobs:
                await job.answer
            answer = pending.answer()
        finally:
            pending.end()
        return await respond(send, 200, *answer)


# By method and path.
Routes = dict[tuple[str, str], Route]


def end(jobs: Iterable[Job]) -> None:
    """Take back jobs; those that have been answered stay as they are."""
    for job in jobs:
        if not (job.answer.cancel() or job.answer.cancelled()):
            job.answer.exception()  # else asyncio reports one that nobody has looked at
