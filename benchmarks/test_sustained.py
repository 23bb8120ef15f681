"""The baseline under load without a pause: does the machine slow down when it gets warm?"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.measure.calls import INPUTS
from ssept.providers.session import Session

PARTS = 6


@pytest.mark.cell
def test_sustained(
    baseline_cell: Cell,
    timed_call: Callable[[Session, Any, Any], Any],
    pytestconfig: pytest.Config,
    benchmark: Any,
) -> None:
    seconds = pytestconfig.getoption("--sustained")
    if not seconds:
        pytest.skip("--sustained=SECONDS is not given")
    model = baseline_cell.load().artifact.model
    call = baseline_cell.checked(timed_call, model.random_batches(INPUTS, 1))
    times = []

    def sustain() -> None:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            call()
            times.append(time.perf_counter() - start)
            call.check()
            call.take(call.other_place())

    benchmark.pedantic(sustain, rounds=1)
    medians = [float(np.median(part)) * 1e3 for part in np.array_split(times, PARTS)]
    benchmark.extra_info |= baseline_cell.facts() | {
        "measure": "sustained",
        "seconds": seconds,
        "calls": len(times),
        "part_medians_ms": medians,
        # The last sixth against the first: above 1 it slowed down.
        "slowdown": medians[-1] / medians[0],
    }
