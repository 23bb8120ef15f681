"""The model behind our HTTP server: its answers, its speed, and overload."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fixtures.fastapi import NAME, PROVIDER, VARIANT, WORKERS
from fixtures.served import (
    CLOSED_SECONDS,
    CONCURRENCY,
    OPEN_SECONDS,
    PATH,
    by_concurrency,
    check,
    facts,
    long_enough,
    measured,
    memory_of,
    nearly_all,
    note_load,
    note_result,
    overlap,
    post,
    skip_without,
)
from ssept.data.dataset import Dataset
from ssept.evaluation import Accuracy, Scorer, accuracy, full_ranks
from ssept.metrics import IntArray
from ssept.providers import budget
from ssept.providers.session import Session
from ssept.serving.interface import MODEL
from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.load import loadgen, open_loop, wrk
from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.bodies import TOP_K
from ssept.serving.load.connections import KINDS, UNSENT
from ssept.serving.load.max_rate import LargestRate, largest_rate, within
from ssept.serving.load.result import Result
from ssept.serving.load.server_cpu import with_server_cpu
from ssept.serving.settings import ServerSettings
from ssept.serving.triton import perf_analyzer
from ssept.serving.triton.client import Client

BATCH = 64
TOLERANCE = 1e-4  # batches of other sizes add up in another order
OVERLOAD_SECONDS = 60
OVERLOAD = 2  # times the sustainable rate, at which hardly any request is refused
AGE_CAP_MS = 20  # of that server, so that a queue differs from a pause of the machine
START_RATE = 5000  # to look for that one
# The ranges of two times five values of one distribution miss each other in 0.8 % (2 · 5! · 5! /
# 10!); of two times three in 10 %.
SEARCHES = 5
NEAR = 1.25  # times what was found, to begin the next search with
UNLOADED, HALF = 0.1, 0.5  # of the largest rate
pytestmark = [pytest.mark.cell(VARIANT, NAME), pytest.mark.usefixtures("fastapi_alive")]


@pytest.fixture(scope="session")
def limit_ms(pytestconfig: pytest.Config) -> float:
    """Return the limit of the 99th percentile at the largest rate."""
    limit: float = pytestconfig.getoption("--p99-ms")
    return limit


@pytest.fixture(scope="session")
def largest(
    fastapi_server: SseptServer, bodies: list[bytes], expected: ExpectedAnswers, limit_ms: float
) -> list[LargestRate]:
    """Find the largest rates of the server with a worker for each CPU, see `largest_rates`."""
    return largest_rates(fastapi_server, bodies, expected, limit_ms)


def largest_rates(
    server: SseptServer, bodies: list[bytes], expected: ExpectedAnswers, limit_ms: float
) -> list[LargestRate]:
    """Find the largest rate at which 99 % are answered in time, by LoadGen, several times.

    The searches are sorted by the rate that they found: the middle one stands for all.
    """
    if reason := wrk.unavailable() or loadgen.unavailable():
        pytest.skip(reason)
    start = wrk.measure(server.url + PATH, bodies, CONCURRENCY, CLOSED_SECONDS, expected).rate

    def measure(rate: float) -> Result:
        given = (server.address, PATH, bodies, rate, OPEN_SECONDS)
        load = partial(loadgen.measure, *given, expected=expected)
        return with_server_cpu(load, server.pid)

    searches: list[LargestRate] = []
    while len(searches) < SEARCHES:
        searches.append(largest_rate(measure, start, within(limit_ms)))
        start = NEAR * median(found.rate for found in searches) or start
    if not all(found.rate for found in searches):
        pytest.fail(
            f"at no rate were 99 % of the requests answered within {limit_ms:g} ms", pytrace=False
        )
    return sorted(searches, key=lambda found: found.rate)


def test_answers(
    fastapi_server: SseptServer,
    local: Session,
    asked: tuple[IntArray, list[IntArray]],
    bodies: list[bytes],
    dataset: Dataset,
    benchmark: Any,
) -> None:
    """Alone, as in process; in a batch, an INT8 model takes its ranges from all of the batch."""
    users, sequences = asked

    def compare() -> tuple[float, float, float]:
        alone = [post(fastapi_server, PATH, body) for body in bodies]
        together: list[Any] = []
        for start in range(0, len(bodies), BATCH):
            body = b'{"requests": [' + b",".join(bodies[start : start + BATCH]) + b"]}"
            together += post(fastapi_server, PATH + "/batch", body)["predictions"]
        errors = []
        for given, user, row in zip(alone, users, sequences, strict=True):
            ids, scores = local.recommend(user[None], row[None], TOP_K)
            wanted.append(dataset.item_ids[ids[0] - 1].tolist())
            errors.append(float(np.abs(np.array(given["scores"]) - scores[0]).max()))
        return max(errors), overlap(alone, wanted), overlap(together, wanted)

    wanted: list[list[int]] = []
    error, same, in_batches = benchmark.pedantic(compare, rounds=1)
    benchmark.extra_info |= facts(local) | {
        "measure": "served answers",
        "protocol": "http",
        "score_error": error,
        "overlap": same,
        "overlap_in_batches": in_batches,
    }
    assert error <= TOLERANCE
    assert same >= 0.999, "the best items differ from those of the same model in process"


def test_accuracy(
    fastapi_settings: ServerSettings,
    local: Session,
    dataset: Dataset,
    tmp_path: Path,
    benchmark: Any,
) -> None:
    """Over the Open Inference Protocol, which can give all scores."""
    cases, length = dataset.cases("test"), local.artifact.model.max_length

    def ranked(scorer: Scorer) -> Accuracy:
        # In the same batches on both sides: an INT8 model takes its ranges from all of a batch.
        def scores(users: IntArray, sequences: IntArray) -> npt.NDArray[np.float32]:
            starts = range(0, len(users), BATCH)
            parts = [(users[at : at + BATCH], sequences[at : at + BATCH]) for at in starts]
            return np.concatenate([scorer(*part) for part in parts])

        return accuracy(full_ranks(scores, cases, length))

    settings = replace(fastapi_settings, all_scores=True)
    with (
        running(settings, tmp_path / "server.log") as server,
        Client("http", server.http) as client,
    ):
        there = benchmark.pedantic(ranked, (client.scores,), rounds=1)
    here = ranked(local.scores)
    benchmark.extra_info |= facts(local) | {
        "measure": "served accuracy",
        "split": "test",
        "full": asdict(there),
        "in_process": asdict(here),
    }
    assert there.ndcg.value == pytest.approx(here.ndcg.value, abs=TOLERANCE)


@by_concurrency([1, 8, 16, 64])
def test_closed_loop(
    concurrency: int,
    fastapi_server: SseptServer,
    bodies: list[bytes],
    expected: ExpectedAnswers,
    local: Session,
    benchmark: Any,
) -> None:
    skip_without(wrk.unavailable())
    url = fastapi_server.url + PATH
    given = (url, bodies, concurrency, CLOSED_SECONDS, expected)
    result = benchmark.pedantic(wrk.measure, given, rounds=1)
    note_result(benchmark, local, "wrk", f"{concurrency} at a time", result)
    check(result)


@by_concurrency([1, 8, 16, 64])
def test_protocol_load(
    concurrency: int, fastapi_server: SseptServer, local: Session, benchmark: Any
) -> None:
    """The same on the Open Inference Protocol."""
    load = perf_analyzer.Load(fastapi_server.http, MODEL, concurrency=concurrency)
    allowed = budget(VARIANT, PROVIDER)
    figures = benchmark.pedantic(measured, (load, local, allowed), rounds=1)
    note_load(benchmark, facts(local), load, asdict(figures), served=NAME)


@pytest.mark.parametrize("share", [UNLOADED, HALF], ids=["unloaded", "half"])
def test_open_loop(
    share: float,
    fastapi_server: SseptServer,
    bodies: list[bytes],
    expected: ExpectedAnswers,
    largest: list[LargestRate],
    local: Session,
    benchmark: Any,
) -> None:
    """Latency at a share of the largest rate, all requests sent on time, answered or not."""
    rate = share * largest[SEARCHES // 2].rate
    given = (fastapi_server.address, PATH, bodies, rate, long_enough(rate))
    result = benchmark.pedantic(loadgen.measure, given, {"expected": expected}, rounds=1)
    note_result(benchmark, local, "LoadGen", f"{rate:.0f}/s", result)
    check(result)


@pytest.mark.parametrize("workers", sorted({1, WORKERS}), ids=lambda number: f"w{number:02}")
def test_largest_rate(
    workers: int,
    fastapi_settings: ServerSettings,
    bodies: list[bytes],
    expected: ExpectedAnswers,
    limit_ms: float,
    local: Session,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    benchmark: Any,
) -> None:
    """With one worker too: what it predicts of several is in `ssept capacity`."""

    def search() -> list[LargestRate]:
        if workers == WORKERS:
            found: list[LargestRate] = request.getfixturevalue("largest")
            return found
        with running(fastapi_settings, tmp_path / "server.log", workers=workers) as server:
            return largest_rates(server, bodies, expected, limit_ms)

    searches = benchmark.pedantic(search, rounds=1)
    middle = searches[SEARCHES // 2]
    load = f"largest rate, p99 <= {limit_ms:g} ms"
    if workers != WORKERS:
        load += f", {workers} worker"
    note_result(benchmark, local, "LoadGen", load, middle.result, workers=workers)
    benchmark.extra_info |= {
        "largest_rate": middle.rate,
        "limit_ms": limit_ms,
        "searches": [asdict(found) for found in searches],
    }


def test_overload(
    fastapi_settings: ServerSettings,
    bodies: list[bytes],
    expected: ExpectedAnswers,
    local: Session,
    tmp_path: Path,
    benchmark: Any,
) -> None:
    """Twice the sustainable rate: excess requests are refused at once, others are not delayed."""
    settings = replace(fastapi_settings, max_wait_ms=AGE_CAP_MS)
    with running(settings, tmp_path / "server.log", workers=WORKERS) as server:
        load = partial(open_loop.measure, server.address, PATH, bodies, expected=expected)
        search = largest_rate(lambda rate: load(rate=rate, seconds=2), START_RATE, nearly_all)
        sustained = search.rate
        if not sustained:
            pytest.fail(f"1 % of the requests are refused even at {START_RATE}/s", pytrace=False)
        low = UNLOADED * sustained
        calm = load(rate=low, seconds=long_enough(low))
        check(calm)
        with memory_of(server.pid) as memory:
            rate = OVERLOAD * sustained
            kwargs = {"rate": rate, "seconds": OVERLOAD_SECONDS}
            result = benchmark.pedantic(load, kwargs=kwargs, rounds=1)
        after = load(rate=low, seconds=long_enough(low))
        server.check()
    note_result(benchmark, local, "own", f"{OVERLOAD} times the sustainable rate", result)
    unloaded = calm.latency.p99_ms
    half = len(memory) // 2
    benchmark.extra_info |= {
        "sustained": sustained,
        "unloaded": calm.facts(),
        "afterwards": after.facts(),
        "max_wait_ms": settings.max_wait_ms,
        "bound_ms": unloaded and 3 * unloaded + settings.max_wait_ms,
        "rss_before_bytes": memory[0],
        "rss_peak_bytes": {"first half": max(memory[:half]), "second half": max(memory[half:])},
    }
    assert not {*result.errors} - {"503", KINDS[UNSENT]}
    check(after)
