"""Every cell as on a small board: random users and sequences, one thread on one core."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from fixtures.cells import Cell, SessionPairs
from ssept.measure.calls import INPUTS
from ssept.measure.latency import paired_latency
from ssept.measure.machine import bind
from ssept.providers.session import Session

pytestmark = pytest.mark.full


@pytest.fixture
def one_core() -> Iterator[None]:
    """Keep this process on its first allowed core; what it starts meanwhile inherits that."""
    allowed = os.sched_getaffinity(0)
    if refused := bind(0, {min(allowed)}):
        pytest.skip(f"this system does not bind a process to one core: {refused}")
    yield
    bind(0, allowed)


@pytest.mark.usefixtures("one_core")
def test_edge(
    cell: Cell,
    baseline_cell: Cell,
    timed_call: Callable[[Session, Any, Any], Any],
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    cell = replace(cell, threads=1, sessions={})  # sessions of its own, started on that core
    model = cell.load().artifact.model
    inputs = model.random_batches(INPUTS, 1)
    latency = paired_latency(
        benchmark,
        # Not the shared pairs: a later test would get sessions that were started on one core.
        SessionPairs().checked(cell, replace(baseline_cell, threads=1), timed_call, inputs),
        rounds=pytestconfig.getoption("--rounds"),
        batch_size=1,
    )
    benchmark.extra_info |= (
        cell.facts()
        | latency.facts()
        | {
            "measure": "edge",
            "batch": 1,
            "length": model.max_length,
            "call": pytestconfig.getoption("timed_call"),
        }
    )
