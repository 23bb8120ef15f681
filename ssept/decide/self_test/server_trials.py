"""Trials of what is said of servers: the ratio of two of them, and the promise of one."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssept.decide.journal import Record
from ssept.decide.promise.plan import PromisePlan
from ssept.decide.promise.run import Answer, PromiseResult, check
from ssept.decide.promise.sample import Sample
from ssept.decide.self_test import trial_servers
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.measure.statistics import hodges_lehmann
from ssept.serving.launch.supervised import HttpServerProcess
from ssept.serving.launch.uvicorn_app import uvicorn_app
from ssept.serving.load.alternated import STARTS, log_ratios
from ssept.serving.load.open_loop import Requests
from ssept.serving.load.server_cpu import cpu_seconds
from ssept.serving.load.target import Target
from ssept.variants import BASELINE, build

RATIO_SECONDS = 1
CONNECTIONS = 8
BODIES = 64
SLOWER = 0.2  # of the time that a request takes in the server
MARGIN = 1.05  # times the upper end of the interval of the unchanged server's p99: the promise
SERVICE_MS = 40.0  # beside which the noise of a quiet machine is small
SLEEPING_RATE = 400.0  # requests a second: the interval of p99 is narrow after 10 s
BUSY_SHARE = 0.5  # of a CPU that the unchanged real server is to use
PROBE_RATE, PROBE_SECONDS = 200.0, 2.0
PROMISE_SECONDS = 20.0
SEED = 1000  # of the load that chose the promise: not one of those that judge it
NARROW = 1.1  # times p99: a promise of a wider interval may be one that a slowed server keeps
MOST_LOADS = 4  # that choose the promise: after a burst of other work, one does not do

# Starts a server that is slower by some milliseconds a request.
Start = Callable[[float], AbstractContextManager[HttpServerProcess]]


def server_ratio(checkpoint: Path, number: int) -> Record:
    """Load two servers of the same file in turn, as the benchmarks of servers do."""
    del number
    from ssept.serving.load import wrk

    if reason := wrk.unavailable():
        raise SseptError(f"the study of servers: {reason}")
    bodies = predict_bodies(checkpoint)
    found: list[float] = []
    for _ in range(STARTS):
        with _two_servers(checkpoint) as urls:
            found += log_ratios(
                lambda name, urls=urls: (  # type: ignore[misc]
                    wrk.measure(urls[name], bodies, CONNECTIONS, RATIO_SECONDS).rate
                ),
                "one",
                "other",
            )
    return judged(hodges_lehmann(np.array(found)).map(math.exp)) | {"log_ratios": found}


def judged(ratio: Estimate) -> Record:
    """Judge an interval whose true value is 1."""
    return {"wrong": not ratio.low <= 1 <= ratio.high, "ratio": asdict(ratio)}


def sleeping_promise(slower: float, wrong: Sequence[Answer]) -> Callable[[Path, int], Record]:
    """Return trials of the promise of a server whose time for a request is known.

    The promise is what the unchanged server was seen to keep, and a margin. Then a server that is
    slower by a share of its service time is started and judged.

    Args:
        slower: that share; 0 for the unchanged server.
        wrong: the answers that are errors.
    """

    def trial(checkpoint: Path, number: int) -> Record:
        del checkpoint
        bodies = [json.dumps({}).encode()]
        found = _promise(_sleeping, bodies, SLEEPING_RATE, slower * SERVICE_MS, number)
        return {"wrong": Answer(found["verdict"]) in wrong, **found}

    return trial


def served_promise(slower: float, wrong: Sequence[Answer]) -> Callable[[Path, int], Record]:
    """Return the same trials of `ssept serve`'s application, with one process and the export.

    Its rate is the one at which it uses a share of a CPU; the time of a request is its CPU time.
    """

    def trial(checkpoint: Path, number: int) -> Record:
        bodies = predict_bodies(checkpoint)

        def start(extra_ms: float) -> AbstractContextManager[HttpServerProcess]:
            return slowed(checkpoint, extra_ms)

        request_s = cpu_of_request(checkpoint, number)
        found = _promise(start, bodies, BUSY_SHARE / request_s, 1e3 * slower * request_s, number)
        return {"wrong": Answer(found["verdict"]) in wrong, "cpu_ms": 1e3 * request_s, **found}

    return trial


def cpu_of_request(checkpoint: Path, number: int) -> float:
    """Return the CPU seconds that the unchanged application takes for a request."""
    bodies = predict_bodies(checkpoint)
    with slowed(checkpoint, 0.0) as server:
        send = Target(*server.address, path="/predict").sender(bodies, PROBE_RATE)
        send(1.0, number)  # connections, caches
        before = cpu_seconds(server.pid)
        requests = len(send(PROBE_SECONDS, number).due)
        return (cpu_seconds(server.pid) - before) / requests


def _promise(
    start: Start, bodies: Sequence[bytes], rate: float, extra_ms: float, number: int
) -> Record:
    """Choose a promise by the unchanged server, and judge a fresh one that is slower or not."""
    plan = PromisePlan(p99_ms=1.0, rate=rate, seconds=PROMISE_SECONDS)

    def load(server: HttpServerProcess) -> Callable[[float, int], Requests]:
        send = Target(*server.address, path="/predict").sender(bodies, rate)
        return lambda seconds, seed: send(seconds, SEED * number + seed)

    with start(0.0) as unchanged:
        seconds = plan.warm_seconds + plan.confirmation * plan.block_seconds
        calm, loads = Sample(plan), 0
        kept = calm.tail().p99_ms
        while not kept.high <= NARROW * kept.value and loads < MOST_LOADS:
            loads += 1
            calm.add(load(unchanged)(seconds, SEED - loads), plan.confirmation)
            kept = calm.tail().p99_ms
    if not math.isfinite(kept.high):
        raise SseptError(f"p99 of an unchanged server has no bound after {loads} loads")
    plan = replace(plan, p99_ms=MARGIN * kept.high)
    with start(extra_ms) as server:
        result = check(plan, load(server), lambda *_: None)
    return {
        "verdict": result.answer.value,
        "unchanged_p99_ms": kept.as_json(),
        "extra_ms": extra_ms,
        **_figures(result),
    }


def _figures(result: PromiseResult) -> Record:
    found = result.as_json()
    return {name: found[name] for name in ("plan", "looks", "sent", "errors", "why", "blocks")}


@contextmanager
def _sleeping(extra_ms: float) -> Iterator[HttpServerProcess]:
    variables = {trial_servers.SERVICE_VARIABLE: f"{SERVICE_MS + extra_ms}"}
    with _application("sleeping", variables, "off") as server:
        yield server


@contextmanager
def slowed(checkpoint: Path, extra_ms: float) -> Iterator[HttpServerProcess]:
    """Run `ssept serve`'s application with the export, slower by some CPU time a request."""
    from ssept.serving.settings import to_environment

    variables = to_environment(settings(checkpoint))
    with _application(
        "slowed", variables | {trial_servers.EXTRA_VARIABLE: f"{extra_ms}"}, "on"
    ) as server:
        yield server


@contextmanager
def _application(
    name: str, variables: dict[str, str], lifespan: str
) -> Iterator[HttpServerProcess]:
    options = ("--factory", f"--lifespan={lifespan}")
    with (
        tempfile.TemporaryDirectory(prefix="ssept-") as folder,
        uvicorn_app(
            f"{trial_servers.__name__}:{name}", Path(folder) / "server.log", variables, options
        ) as server,
    ):
        yield server


@contextmanager
def _two_servers(checkpoint: Path) -> Iterator[dict[str, str]]:
    from ssept.serving.launch.ssept_serve import running

    with (
        tempfile.TemporaryDirectory(prefix="ssept-") as folder,
        running(settings(checkpoint), Path(folder) / "one.log") as one,
        running(settings(checkpoint), Path(folder) / "other.log") as other,
    ):
        yield {"one": f"{one.url}/predict", "other": f"{other.url}/predict"}


def settings(checkpoint: Path) -> Any:
    """Return those of a server with the export."""
    from ssept.serving.settings import ServerSettings

    return ServerSettings(model=checkpoint)


def predict_bodies(checkpoint: Path) -> list[bytes]:
    """Return requests in the ids of the catalog."""
    from ssept.serving.load import bodies

    user, sequence = build(checkpoint, BASELINE).model.random_inputs(BODIES)
    return bodies.predict_bodies(user.tolist(), sequence)
