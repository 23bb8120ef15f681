"""The price of comparing answers, in timed calls: `python -m tests.helpers.answers_overhead`.

Calls whose answers are kept and compared, and calls whose answers are dropped, in pairs, with the
same session and inputs.
"""

import sys
import time
import timeit
from pathlib import Path
from typing import Any

import ssept
from ssept.measure.calls import INPUTS, CheckedCall
from ssept.measure.latency import paired_times
from ssept.measure.statistics import paired_ratio
from ssept.serving.load.connections import Log

CHECKPOINT = Path(__file__).parents[2] / "models" / "SSE_PT10kemb.safetensors"
CELLS = (("fused_topk", 1), ("fused_int8_topk", 1), ("fused_int8_topk", 64))
SECONDS = 15


class Unchecked(CheckedCall):
    """A call whose answers are dropped at once."""

    def __call__(self) -> None:
        self._call(*self._input)

    def check(self) -> None:
        pass


def overhead(variant: str, batch: int) -> Any:
    """The time of a timed call with comparing over that without, with its interval."""
    session = ssept.load(CHECKPOINT, variant)
    inputs = session.artifact.model.random_batches(INPUTS, batch)
    checked, unchecked = (
        kind(lambda *of: session.recommend(*of, 10), inputs, name=variant)
        for kind in (CheckedCall, Unchecked)
    )
    checked_ns, unchecked_ns = paired_times(checked, unchecked, seconds=SECONDS)
    return paired_ratio(checked_ns, unchecked_ns)


def main() -> None:
    for variant, batch in CELLS:
        found = overhead(variant, batch)
        print(f"{variant} b{batch}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]")
    answer = b'{"top_items":[1193],"scores":[7.25]}' * 8
    log, times = Log(100_000), 100_000
    us = (
        timeit.timeit(lambda: log.keep(7, answer), timer=time.process_time, number=times)
        / times
        * 1e6
    )
    print(f"an answer over HTTP: {us:.2f} us of the client")


if __name__ == "__main__":
    sys.exit(main())
