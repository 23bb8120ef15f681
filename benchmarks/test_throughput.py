"""Sequences a second over real histories in large batches, beside the baseline."""

from collections.abc import Callable
from typing import Any

import pytest

from fixtures.cells import Cell
from ssept.data.dataset import Dataset, left_padded
from ssept.measure.latency import paired_latency
from ssept.providers.session import Session

BATCH_SIZE = 64
USERS = 1024
ROUNDS = 10


def test_throughput(
    cell: Cell,
    dataset: Dataset,
    baseline: Session,
    timed_call: Callable[[Session, Any, Any], Any],
    price_per_hour: float | None,
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    session = cell.load()
    cases = dataset.cases("test")
    users = cases.users[:USERS]
    sequences = left_padded(cases.histories[:USERS], session.artifact.model.max_length)
    batches = [slice(start, start + BATCH_SIZE) for start in range(0, len(users), BATCH_SIZE)]

    def one_pass(session: Session) -> None:
        for rows in batches:
            timed_call(session, users[rows], sequences[rows])

    latency = paired_latency(
        benchmark,
        lambda: one_pass(session),
        lambda: one_pass(baseline),
        rounds=min(ROUNDS, pytestconfig.getoption("--rounds")),
        batch_size=len(users),
        warmup=1,
    )
    benchmark.extra_info |= (
        cell.facts()
        | latency.facts(price_per_hour)
        | {
            "measure": "throughput",
            "batch": BATCH_SIZE,
            "users": len(users),
            "call": pytestconfig.getoption("timed_call"),
        }
    )
