"""Cold start and peak memory of every cell, each time in a fresh process."""

import statistics
from dataclasses import asdict
from typing import Any

import pytest

from fixtures.cells import Cell
from ssept.measure.cold_start import cold_start

pytestmark = pytest.mark.full

ROUNDS = 3


def test_footprint(cell: Cell, benchmark: Any) -> None:
    session = cell.load()
    starts = []

    def start() -> None:
        starts.append(cold_start(session.artifact, cell.provider, cell.threads, cell.options))

    benchmark.pedantic(start, rounds=ROUNDS)
    figures = {
        name: statistics.median(asdict(start)[name] for start in starts)
        for name in asdict(starts[0])
    }
    benchmark.extra_info |= (
        cell.facts()
        | figures
        | {
            "measure": "footprint",
            "total_s": statistics.median(start.total_s for start in starts),
        }
    )
