"""Sessions side by side in one process: how the throughput grows with their number."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from fixtures.cells import Cell
from ssept.measure.concurrency import SessionPool
from ssept.measure.latency import paired_latency
from ssept.providers.session import Session

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
    model = sessions[0].artifact.model
    user, sequence = model.random_inputs(1)

    def call(session: Session) -> None:
        timed_call(session, user, sequence)

    with ExitStack() as stack:
        together = stack.enter_context(SessionPool(sessions))
        alone = stack.enter_context(SessionPool(sessions[:1]))
        latency = paired_latency(
            benchmark,
            lambda: together.run(call, CALLS),
            lambda: alone.run(call, CALLS),
            rounds=min(ROUNDS, pytestconfig.getoption("--rounds")),
            batch_size=CALLS * session_count,
            warmup=1,
        )
    benchmark.extra_info |= cell.facts() | {
        "measure": "concurrency",
        "sessions": session_count,
        "fps": latency.fps,
        # Against the same session alone, in the same loop: 2.0 for two is perfect.
        "scaling": session_count * latency.speedup.value,
        "batch": 1,
    }
