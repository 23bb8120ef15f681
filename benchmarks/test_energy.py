"""Energy of recommendations, where the machine counts it: each cell alone, without a pause.

All that the machine does in that time is counted, its idling too.
"""

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
CHECKED = 100  # after this many calls one more is made, uncounted, and its answer compared


def test_energy(
    cell: Cell,
    batch_size: int,
    timed_call: Callable[[Session, Any, Any], Any],
    benchmark: Any,
) -> None:
    with energy_meter(cell.gpu) as meter:
        if isinstance(meter, str):
            pytest.skip(meter)
        session = cell.load()
        inputs = session.artifact.model.random_batches(INPUTS, batch_size)
        checked = cell.checked(timed_call, inputs)
        joules, calls = 0.0, 0

        def load() -> None:
            nonlocal joules, calls
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                before = meter.joules()
                for number in range(CHECKED):
                    timed_call(session, *inputs[number % INPUTS])
                joules += meter.joules() - before
                calls += CHECKED
                checked.take(checked.other_place())
                checked()
                checked.check()

        benchmark.pedantic(load, rounds=1)
        benchmark.extra_info |= cell.facts() | {
            "measure": "energy",
            "batch": batch_size,
            "joules_per_thousand": joules / (calls * batch_size) * PER,
            "source": meter.source,
        }
