"""Latency of every cell at each batch size, beside the baseline in the same loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell, SessionPairs
from ssept.data.dataset import Dataset, left_padded
from ssept.measure.calls import INPUTS
from ssept.measure.latency import paired_latency
from ssept.providers.session import Session

REAL_BATCHES = 64


def test_latency(
    cell: Cell,
    batch_size: int,
    baseline_cell: Cell,
    session_pairs: SessionPairs,
    timed_call: Callable[[Session, Any, Any], Any],
    price_per_hour: float | None,
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    model = cell.load().artifact.model
    length = pytestconfig.getoption("--length") or model.max_length
    inputs = model.random_batches(INPUTS, batch_size, length)
    latency = paired_latency(
        benchmark,
        session_pairs.checked(cell, baseline_cell, timed_call, inputs),
        rounds=pytestconfig.getoption("--rounds"),
        max_seconds=pytestconfig.getoption("--cell-seconds"),
        batch_size=batch_size,
    )
    benchmark.extra_info |= (
        cell.facts()
        | latency.facts(price_per_hour)
        | {
            "measure": "latency",
            "batch": batch_size,
            "length": length,
            "call": pytestconfig.getoption("timed_call"),
        }
    )


@pytest.mark.full
def test_real_lengths(
    cell: Cell,
    batch_size: int,
    baseline_cell: Cell,
    dataset: Dataset,
    timed_call: Callable[[Session, Any, Any], Any],
    price_per_hour: float | None,
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    """The same with the histories of real users, each batch only as long as its longest.

    One session a side is timed: some providers compile for each new length, in every session.
    """
    session = cell.load()
    batches = real_batches(dataset, batch_size, session.artifact.model.max_length)
    latency = paired_latency(
        benchmark,
        [(cell.checked(timed_call, batches), baseline_cell.checked(timed_call, batches))],
        rounds=pytestconfig.getoption("--rounds"),
        max_seconds=pytestconfig.getoption("--cell-seconds"),
        batch_size=batch_size,
    )
    benchmark.extra_info |= (
        cell.facts()
        | latency.facts(price_per_hour)
        | {
            "measure": "real_lengths",
            "batch": batch_size,
            "mean_length": float(
                np.mean([(sequence != 0).sum(1).mean() for _, sequence in batches])
            ),
            "call": pytestconfig.getoption("timed_call"),
        }
    )


def real_batches(dataset: Dataset, batch_size: int, max_length: int) -> list[tuple[Any, Any]]:
    """REAL_BATCHES batches of users chosen at random, with their histories before the test."""
    cases = dataset.cases("test")
    random = np.random.default_rng(0)
    batches = []
    for _ in range(REAL_BATCHES):
        chosen = random.integers(0, len(cases), batch_size)
        histories = [cases.histories[row] for row in chosen]
        longest = min(max_length, max(map(len, histories)))
        batches.append((cases.users[chosen], left_padded(histories, longest)))
    return batches
