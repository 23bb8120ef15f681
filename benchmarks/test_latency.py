"""Latency of every cell at each batch size, beside the baseline in the same loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.measure.latency import paired_latency
from ssept.providers.session import Session


def test_latency(
    cell: Cell,
    batch_size: int,
    baseline: Session,
    timed_call: Callable[[Session, Any, Any], Any],
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    session = cell.load()
    model = session.artifact.model
    length = pytestconfig.getoption("--length") or model.max_length
    random = np.random.default_rng(0)
    user = random.integers(0, model.users + 1, batch_size)
    sequence = random.integers(1, model.items + 1, (batch_size, length))
    latency = paired_latency(
        benchmark,
        lambda: timed_call(session, user, sequence),
        lambda: timed_call(baseline, user, sequence),
        rounds=pytestconfig.getoption("--rounds"),
        batch_size=batch_size,
    )
    benchmark.extra_info |= (
        cell.facts()
        | latency.facts()
        | {
            "measure": "latency",
            "batch": batch_size,
            "length": length,
            "call": pytestconfig.getoption("timed_call"),
        }
    )
