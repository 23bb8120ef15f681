"""Calls that are timed: their answers checked, of sessions in pairs, or side by side in threads."""

import contextlib
import gc
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ssept.errors import AnswerError
from ssept.measure.answers import all_equal, copied, difference
from ssept.providers import PROVIDERS
from ssept.providers.session import Session

INPUTS = 10  # of a timed call, each answered once beforehand: providers compile in the first calls
WARMUP_CALLS = 3
SESSIONS = 12  # pairs of fresh sessions: a 99 % interval needs 8, one at 99.9 % 11

T = TypeVar("T")


def fresh_pairs(
    cell: Callable[[], T], baseline: Callable[[], T], count: int = SESSIONS
) -> Iterator[tuple[T, T]]:
    """Start both sides of each pair, in an order that is drawn: half of the pairs either way.

    What is loaded first may find the better place in memory. An order that alternates does not
    take that out: it can keep step with the places that are freed and taken again.

    Args:
        cell, baseline: start a fresh session.
        count: pairs of sessions.
    """
    baseline_first = [bool(number % 2) for number in range(count)]
    random.shuffle(baseline_first)
    for swapped in baseline_first:
        if swapped:
            other, timed = baseline(), cell()
        else:
            timed, other = cell(), baseline()
        yield timed, other


class CheckedCall:
    """A call to be timed, each of whose answers is compared with the one given before the load.

    It has several inputs, answered once beforehand. Which is next, no session can know; so the
    answer of another call, or one that is kept for all, is not that of the input.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        inputs: Sequence[tuple[Any, ...]],
        *,
        name: str,
        max_error: float = 0.0,
        expected: Sequence[Any] | None = None,
    ) -> None:
        """Learn the answers, which warms the session up too.

        Args:
            call: what is timed, as a function of an input.
            inputs: the arguments of each.
            name: of what is called, for messages.
            max_error: the largest difference of a score; that of the provider.
            expected: the answers, where they are known, as another call's `expected`; else each
                input is called once.

        Raises:
            AnswerError: an answer has NaN, or all of them are the same.
        """
        self._call = call
        self._inputs = inputs
        self._name = name
        self._max_error = max_error
        self.expected = expected or [copied(call(*each)) for each in inputs]
        for answer in self.expected:
            if why := difference(answer, answer):
                raise AnswerError(f"{name}: before the load: {why}")
        if all_equal(self.expected):
            raise AnswerError(
                f"{name}: {len(inputs)} different inputs have the same answer: it is cached, "
                "or the model does not read its input"
            )
        self._calls = 0
        self._answers: list[tuple[int, Any]] = []
        self._place = 0
        self.take(0)

    def __call__(self) -> None:
        """Call with the current input, and keep the answer for `check`."""
        self._answers.append((self._place, self._call(*self._input)))

    def take(self, place: int) -> None:
        """Choose the input of the next call."""
        self._place = place
        self._input = self._inputs[place]

    def warm_up(self) -> None:
        """Make a few untimed calls, where the answers were known beforehand."""
        for _ in range(WARMUP_CALLS):
            self.take(self.other_place())
            self()
        self.check()

    def other_place(self) -> int:
        """Draw the place of another input than the current one."""
        count = len(self._inputs)
        return (self._place + 1 + secrets.randbelow(max(1, count - 1))) % count

    def check(self) -> None:
        """Compare the answers since the last check, timed or not.

        Raises:
            AnswerError: one is not the answer that its input had before the load.
        """
        for place, answer in self._answers:
            self._calls += 1
            if not (why := difference(answer, self.expected[place], self._max_error)):
                continue
            others = enumerate(self.expected)
            if any(at != place and not difference(answer, one) for at, one in others):
                why = "it is the answer to another input, cached or swapped"
            raise AnswerError(
                f"{self._name}: call {self._calls} of the load was answered differently than "
                f"the same input before: {why}"
            )
        self._answers.clear()


def checked_recommend(session: Session, batch: int, k: int, provider: str) -> CheckedCall:
    """Return a checked call for the `k` best items of `batch` random sequences."""
    return CheckedCall(
        lambda user, sequence: session.recommend(user, sequence, k),
        session.artifact.model.random_batches(INPUTS, batch),
        name=f"{session.artifact.variant}-{provider}",
        max_error=PROVIDERS[provider].max_score_error,
    )


class SessionPool:
    """Sessions that work side by side; a context manager, which ends their threads."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = sessions
        self._executor = ThreadPoolExecutor(len(sessions))

    def __enter__(self) -> "SessionPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def run(
        self, call: Callable[[Session, Any], Any], inputs: Sequence[Sequence[Any]]
    ) -> list[Any]:
        """Make calls with each session, all sessions at once; returns after the last.

        Args:
            call: a function of a session and an input.
            inputs: those of each session, in turn.

        Returns:
            the answers of each session, by its inputs.

        Raises:
            Exception: whatever a call raised.
        """

        def all_of(session: Session, own: Sequence[Any]) -> list[Any]:
            return [call(session, each) for each in own]

        return list(self._executor.map(all_of, self.sessions, inputs))


@contextlib.contextmanager
def collection_off() -> Iterator[None]:
    """Keep Python's garbage collector from running in the block."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
