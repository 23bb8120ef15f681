"""Trials of the comparison of servers: the same server under two names, and one that is slower."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ssept.decide.journal import Record
from ssept.decide.self_test.server_trials import cpu_of_request, predict_bodies, settings, slowed
from ssept.decide.servers.comparison import Comparison, ratio
from ssept.decide.servers.threshold import LEAST_ROUNDS
from ssept.decide.servers.turn import Contender, RunningServer
from ssept.errors import SseptError
from ssept.measure.machine import allowed_cpus
from ssept.serving.launch.supervised import HttpServerProcess
from ssept.serving.load.target import PREDICT, Target

LIMIT_MS = 25.0
# Within the half hour of a comparison, two servers have as many; a fifth is found in them.
ROUNDS_OF_TWO = 24
NAMES = "one", "other"
Start = Callable[[], AbstractContextManager[HttpServerProcess]]


def same_server(checkpoint: Path, number: int) -> Record:
    """Compare `ssept serve` with a worker for each CPU with itself."""
    start = partial(_ssept, checkpoint)
    found = _compared(checkpoint, number, LEAST_ROUNDS, start, start)
    return {"wrong": not found["low"] <= 1 <= found["high"], "ratio": found}


def slower_server(slower: float, checkpoint: Path, number: int) -> Record:
    """Compare the application with itself, slower by a share of its CPU time for a request."""
    request_s = cpu_of_request(checkpoint, number)
    extra_ms = 1e3 * slower * request_s
    one, other = partial(slowed, checkpoint, 0.0), partial(slowed, checkpoint, extra_ms)
    found = _compared(checkpoint, number, ROUNDS_OF_TWO, one, other)
    return {"wrong": not found["high"] < 1, "ratio": found, "cpu_ms": 1e3 * request_s}


def _compared(
    checkpoint: Path, number: int, rounds: int, one: Start, other: Start
) -> dict[str, float]:
    """Return the ratio of the rates of the other server to the one."""
    bodies = predict_bodies(checkpoint)

    @contextmanager
    def start(server: Start) -> Iterator[RunningServer]:
        with server() as running:
            target = Target(*running.address, PREDICT)
            target.check(bodies[0])
            yield RunningServer(
                running.pid,
                lambda rate, seconds, seed: target.sender(bodies, rate)(seconds, seed),
            )

    contenders = [
        Contender(name, partial(start, server))
        for name, server in zip(NAMES, (one, other), strict=True)
    ]
    comparison = Comparison(contenders, LIMIT_MS, math.inf, number)
    for _ in range(rounds):
        for turn in comparison.round():
            if turn.fault:
                raise SseptError(f"the study of compared servers: {turn.fault}")
    found = ratio(comparison.of(NAMES[1]), comparison.of(NAMES[0]))
    if found is None:
        raise SseptError(f"no server keeps p99 within {LIMIT_MS:g} ms on this machine")
    return asdict(found)


@contextmanager
def _ssept(checkpoint: Path) -> Iterator[HttpServerProcess]:
    from ssept.serving.launch.ssept_serve import running

    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        log, workers = Path(folder) / "server.log", len(allowed_cpus())
        with running(settings(checkpoint), log, workers=workers) as server:
            yield server
