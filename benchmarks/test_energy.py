"""Energy of recommendations, where the machine counts it: each cell alone, without a pause."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from fixtures.cells import Cell
from ssept.measure.calls import INPUTS
from ssept.measure.energy import energy_meter
from ssept.providers.session import Session

pytestmark = pytest.mark.full

SECONDS = 5.0
PER = 1000  # recommendations


def test_energy(
    cell: Cell,
    batch_size: int,
    timed_call: Callable[[Session, Any, Any], Any],
    benchmark: Any,
) -> None:
    with energy_meter(cell.gpu) as meter:
        if isinstance(meter, str):
            pytest.skip(meter)
        model = cell.load().artifact.model
        call = cell.checked(timed_call, model.random_batches(INPUTS, batch_size))
        calls = 0

        def load() -> float:
            nonlocal calls
            before, end = meter.joules(), time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                call()
                call.check()
                call.take(call.other_place())
                calls += 1
            return meter.joules() - before

        joules = benchmark.pedantic(load, rounds=1)
        benchmark.extra_info |= cell.facts() | {
            "measure": "energy",
            "batch": batch_size,
            "joules_per_thousand": joules / (calls * batch_size) * PER,
            "source": meter.source,
        }
