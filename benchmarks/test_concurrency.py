"""Sessions side by side in one process: how the throughput grows with their number."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.measure.answers import copied
from ssept.measure.calls import INPUTS, CheckedCall, SessionPool
from ssept.measure.latency import paired_latency
from ssept.providers.session import Session

pytestmark = pytest.mark.full

CALLS = 50
ROUNDS = 40


def test_concurrency(
    cell: Cell,
    session_count: int,
    timed_call: Callable[[Session, Any, Any], Any],
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    sessions = [replace(cell, sessions={}).load() for _ in range(session_count)]
    batches = sessions[0].artifact.model.random_batches(CALLS, 1)
    alone_answers = [copied(timed_call(sessions[0], *each)) for each in batches]

    def call(session: Session, batch: int) -> Any:
        return timed_call(session, *batches[batch])

    def checked(pool: SessionPool) -> CheckedCall:
        """Return a call in which no two sessions have the same input at the same time."""
        starts = [[(7 * n + s) % CALLS for s in range(len(pool.sessions))] for n in range(INPUTS)]
        orders = [[np.roll(np.arange(CALLS), start) for start in of] for of in starts]
        return CheckedCall(
            lambda order: pool.run(call, order),
            [(order,) for order in orders],
            name=f"{cell.variant}-{cell.provider} in {len(pool.sessions)} sessions",
            max_error=cell.max_error,
            expected=[[[alone_answers[batch] for batch in own] for own in o] for o in orders],
        )

    with ExitStack() as stack:
        together = stack.enter_context(SessionPool(sessions))
        alone = stack.enter_context(SessionPool(sessions[:1]))
        latency = paired_latency(
            benchmark,
            [(checked(together), checked(alone))],
            rounds=min(ROUNDS, pytestconfig.getoption("--rounds")),
            batch_size=CALLS * session_count,
        )
    benchmark.extra_info |= cell.facts() | {
        "measure": "concurrency",
        "sessions": session_count,
        "fps": latency.fps,
        # Against the same session alone, in the same loop: 2.0 for two is perfect.
        "scaling": session_count * latency.speedup.value,
        "batch": 1,
    }
