"""Sequences a second over real histories in large batches, beside the baseline."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.data.dataset import Dataset, left_padded
from ssept.measure.latency import paired_latency
from ssept.metrics import IntArray
from ssept.providers.session import Session

pytestmark = pytest.mark.full

BATCH_SIZE = 64
USERS = 1024
ROUNDS = 10


def test_throughput(
    cell: Cell,
    dataset: Dataset,
    baseline_cell: Cell,
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

    def one_pass(session: Session, users: IntArray, sequences: IntArray) -> list[Any]:
        return [timed_call(session, users[rows], sequences[rows]) for rows in batches]

    orders = [np.arange(len(users)), np.random.default_rng(0).permutation(len(users))]
    inputs = [(users[order], sequences[order]) for order in orders]
    latency = paired_latency(
        benchmark,
        [(cell.checked(one_pass, inputs), baseline_cell.checked(one_pass, inputs))],
        rounds=min(ROUNDS, pytestconfig.getoption("--rounds")),
        batch_size=len(users),
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
