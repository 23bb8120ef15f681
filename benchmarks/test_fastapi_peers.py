"""The HTTP server beside others: the simplest FastAPI server, Triton's, and an empty one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

from benchmarks.servers import PeerProcess
from fixtures.fastapi import NAME, PROVIDER, VARIANT
from fixtures.options import LIMIT_MS
from fixtures.served import (
    CLOSED_SECONDS,
    CONCURRENCY,
    PATH,
    by_concurrency,
    check,
    facts,
    measured,
    note_ratio,
    note_result,
    skip_without,
)
from fixtures.triton import INT8_TOPK, SERVED, Start
from ssept.errors import LoadError
from ssept.metrics import IntArray
from ssept.providers import budget
from ssept.providers.session import Session
from ssept.serving.interface import MODEL
from ssept.serving.launch.ssept_serve import SseptServer
from ssept.serving.load import loadgen, open_loop, wrk
from ssept.serving.load.alternated import Rate
from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.bodies import predict_bodies
from ssept.serving.load.max_rate import largest_rate, within
from ssept.serving.load.result import Result
from ssept.serving.triton import perf_analyzer
from ssept.serving.triton.server import TritonServer
from ssept.variants import BASELINE

CEILING_START = 20_000  # requests a second, to look for what the clients can do
pytestmark = [pytest.mark.cell(VARIANT, NAME), pytest.mark.usefixtures("fastapi_alive")]


@by_concurrency([8, 64])
def test_against_baseline(
    concurrency: int,
    start_fastapi: Start[SseptServer],
    start_baseline: Start[PeerProcess],
    bodies: list[bytes],
    asked: tuple[IntArray, list[IntArray]],
    expected: ExpectedAnswers,
    baseline: Session,
    local: Session,
    benchmark: Any,
) -> None:
    """Requests a second beside the simplest server, which speaks the catalog's ids."""
    skip_without(wrk.unavailable())
    exact = budget(BASELINE, PROVIDER)
    right = {
        NAME: expected,
        "baseline": ExpectedAnswers.of_predictions("baseline", baseline, *asked, exact),
    }
    results: dict[str, list[Result]] = {name: [] for name in right}
    plain = predict_bodies(*asked)

    @contextmanager
    def started() -> Iterator[Rate]:
        with start_fastapi() as own, start_baseline() as baseline:
            loads = {NAME: (own.url + PATH, bodies), "baseline": (baseline.url + PATH, plain)}

            def rate(name: str) -> float:
                result = wrk.measure(*loads[name], concurrency, CLOSED_SECONDS, right[name])
                results[name].append(result)
                return result.rate

            yield rate

    load = f"{concurrency} at a time"
    note_ratio(benchmark, facts(local), load, started, against="baseline")
    benchmark.extra_info["results"] = {
        name: [result.facts() for result in found] for name, found in results.items()
    }
    for name, found in results.items():
        for result in found:
            check(result, may_be_slow=name == "baseline")


@by_concurrency([8, 16])
def test_against_triton(
    concurrency: int,
    start_fastapi: Start[SseptServer],
    local: Session,
    benchmark: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Sequences a second beside Triton with the same model file, by the same command."""
    start_triton: Start[TritonServer] = request.getfixturevalue("start_triton")
    assert SERVED[INT8_TOPK].variant == VARIANT
    figures: dict[str, list[perf_analyzer.Figures]] = {NAME: [], INT8_TOPK: []}
    repeated: list[str] = []
    allowed = budget(VARIANT, PROVIDER)

    @contextmanager
    def started() -> Iterator[Rate]:
        with start_fastapi() as own, start_triton() as triton:
            loads = {
                NAME: perf_analyzer.Load(own.http, MODEL, concurrency=concurrency),
                INT8_TOPK: perf_analyzer.Load(triton.http, INT8_TOPK, concurrency=concurrency),
            }

            def rate(name: str) -> float:
                try:
                    figures[name].append(measured(loads[name], local, allowed))
                except LoadError as error:  # it stops at the first request that is refused
                    repeated.append(str(error))
                    figures[name].append(measured(loads[name], local, allowed))
                return figures[name][-1].inferences_per_s

            yield rate

    load = f"{concurrency} at a time, batch 1"
    note_ratio(benchmark, facts(local), load, started, against=INT8_TOPK)
    benchmark.extra_info |= {
        "figures": {name: [asdict(one) for one in found] for name, found in figures.items()},
        "repeated": repeated,
    }


@pytest.mark.parametrize("client", ["wrk", "LoadGen", "own"])
def test_client(
    client: str, empty_server: PeerProcess, bodies: list[bytes], local: Session, benchmark: Any
) -> None:
    """The largest rate of each client, with an empty server: the limit of all other figures."""
    tools: dict[str, Any] = {"wrk": wrk, "LoadGen": loadgen, "own": open_loop}
    if client != "own":
        skip_without(tools[client].unavailable())
    if client == "wrk":
        given = (empty_server.url + PATH, bodies, CONCURRENCY, CLOSED_SECONDS)
        result = benchmark.pedantic(wrk.measure, given, rounds=1)
        load = f"{CONCURRENCY} at a time"
    else:
        measure = partial(tools[client].measure, empty_server.address, PATH, bodies)
        in_time = within(LIMIT_MS)
        found = benchmark.pedantic(
            largest_rate,
            (lambda rate: measure(rate=rate, seconds=1), CEILING_START, in_time),
            rounds=1,
        )
        assert found.rate, f"not even {CEILING_START}/s"
        result = found.result
        load = f"largest rate, p99 <= {LIMIT_MS} ms"
    note_result(benchmark, local, client, load, result, served="nothing")
    assert not result.errors
