"""The model behind our HTTP server: its answers, its speed, and what it does with too much."""

import json
import urllib.request
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fixtures.failures import reported
from fixtures.fastapi import NAME, PROVIDER, VARIANT, WORKERS
from fixtures.peers import Peer
from fixtures.served import described, facts, memory_of, note_load, note_ratio, note_result
from fixtures.triton import INT8_TOPK, SERVED
from fixtures.variants import Artifacts
from ssept.data.dataset import Dataset
from ssept.errors import LoadError
from ssept.evaluation import Accuracy, Scorer, accuracy, full_ranks
from ssept.measure.statistics import MINIMUM_SAMPLES
from ssept.metrics import IntArray
from ssept.providers import PROVIDERS
from ssept.providers.session import Session
from ssept.serving.interface import MODEL
from ssept.serving.launch.ssept_serve import SseptServer, running
from ssept.serving.load import loadgen, open_loop, wrk
from ssept.serving.load.bodies import TOP_K, predict_bodies
from ssept.serving.load.connections import KINDS, UNSENT
from ssept.serving.load.max_rate import Probe, largest_rate, within
from ssept.serving.load.result import Result
from ssept.serving.settings import ServerSettings
from ssept.serving.triton import perf_analyzer
from ssept.serving.triton.client import Client

PATH = "/predict"
USERS = 512
BATCH = 64
TOLERANCE = 1e-4  # batches of other sizes add up in another order
CLOSED_SECONDS = 3
OPEN_SECONDS = 4
OVERLOAD_SECONDS = 60
REFUSED_SHARE = 1e-3  # that a pause of the machine excuses
OVERLOAD = 2  # times the sustainable rate, at which hardly any request is refused
AGE_CAP_MS = 20  # of that server, so that a queue could be told from a pause of the machine
START_RATE = 5000  # to look for that one
ACCEPTED_SHARE = 0.99
UNLOADED, HALF = 0.1, 0.5  # of the largest rate
LIMIT_MS = 10
CEILING_START = 20_000  # requests a second, to look for what the clients can do
CONCURRENCY = 8
pytestmark = pytest.mark.cell(VARIANT, NAME)
by_concurrency = partial(pytest.mark.parametrize, "concurrency", ids=lambda n: f"c{n:02}")


@pytest.fixture(autouse=True)
def alive(fastapi_server: SseptServer) -> None:
    """One clear message for each test where the server has ended."""
    with reported():
        fastapi_server.check()


@pytest.fixture(scope="session")
def local(
    fastapi_server: SseptServer, fastapi_settings: ServerSettings, artifacts: Artifacts
) -> Session:
    """Load the same model in this process."""
    del fastapi_server  # asked for first: it is skipped where there is none to compare with
    return PROVIDERS[PROVIDER].load(artifacts.get(VARIANT), fastapi_settings.threads)


@pytest.fixture(scope="session")
def asked(dataset: Dataset, local: Session) -> tuple[IntArray, list[IntArray]]:
    """Users and what they have seen last, as many items as the model reads; catalog ids."""
    cases, length = dataset.cases("test"), local.artifact.model.max_length
    # Whole sequences, so that each request is as much work as another; if there are such users.
    longest = sorted(range(len(cases)), key=lambda row: -min(len(cases.histories[row]), length))
    chosen = longest[:USERS]
    return cases.users[chosen], [cases.histories[row][-length:] for row in chosen]


@pytest.fixture(scope="session")
def bodies(asked: tuple[IntArray, list[IntArray]], dataset: Dataset) -> list[bytes]:
    """Return requests in the data set's own ids."""
    users, sequences = asked
    return predict_bodies(
        dataset.user_ids[users - 1].tolist(), [dataset.item_ids[row - 1] for row in sequences]
    )


@pytest.fixture(scope="session")
def largest(fastapi_server: SseptServer, bodies: list[bytes]) -> tuple[float, list[Probe]]:
    """Find the largest rate at which 99 % are answered in time, and return all probes."""
    if reason := wrk.unavailable() or loadgen.unavailable():
        pytest.skip(reason)
    start = wrk.measure(fastapi_server.url + PATH, bodies, CONCURRENCY, CLOSED_SECONDS).rate
    measure = partial(loadgen.measure, fastapi_server.address, PATH, bodies, seconds=OPEN_SECONDS)
    rate, probes = largest_rate(lambda rate: measure(rate=rate), start, within(LIMIT_MS))
    if not rate:
        pytest.fail(f"at no rate were 99 % answered within {LIMIT_MS} ms", pytrace=False)
    return rate, probes


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
    local: Session,
    benchmark: Any,
) -> None:
    skip_without(wrk.unavailable())
    url = fastapi_server.url + PATH
    result = benchmark.pedantic(wrk.measure, (url, bodies, concurrency, CLOSED_SECONDS), rounds=1)
    note_result(benchmark, local, "wrk", f"{concurrency} at a time", result)
    check(result)


@by_concurrency([1, 8, 16, 64])
def test_protocol_load(
    concurrency: int, fastapi_server: SseptServer, local: Session, benchmark: Any
) -> None:
    """The same on the Open Inference Protocol."""
    load = perf_analyzer.Load(fastapi_server.http, MODEL, concurrency=concurrency)
    figures = benchmark.pedantic(perf_analyzer.measure, (load,), rounds=1)
    note_load(benchmark, facts(local), load, asdict(figures), served=NAME)


@pytest.mark.parametrize("share", [UNLOADED, HALF], ids=["unloaded", "half"])
def test_open_loop(
    share: float,
    fastapi_server: SseptServer,
    bodies: list[bytes],
    largest: tuple[float, list[Probe]],
    local: Session,
    benchmark: Any,
) -> None:
    """Latency at a share of the largest rate, all requests sent on time, answered or not."""
    rate = share * largest[0]
    given = (fastapi_server.address, PATH, bodies, rate, long_enough(rate))
    result = benchmark.pedantic(loadgen.measure, given, rounds=1)
    note_result(benchmark, local, "LoadGen", f"{rate:.0f}/s", result)
    check(result)


def test_largest_rate(largest: tuple[float, list[Probe]], local: Session, benchmark: Any) -> None:
    rate, probes = benchmark.pedantic(lambda: largest, rounds=1)
    kept = next(probe.result for probe in probes if probe.kept and probe.rate == rate)
    note_result(benchmark, local, "LoadGen", f"largest rate, p99 <= {LIMIT_MS} ms", kept)
    benchmark.extra_info |= {
        "largest_rate": rate,
        "limit_ms": LIMIT_MS,
        "probes": [asdict(probe) for probe in probes],
    }


def test_overload(
    fastapi_settings: ServerSettings,
    bodies: list[bytes],
    local: Session,
    tmp_path: Path,
    benchmark: Any,
) -> None:
    """Twice the sustainable rate: what is too much is refused at once, the rest not held up."""
    settings = replace(fastapi_settings, max_wait_ms=AGE_CAP_MS)
    with running(settings, tmp_path / "server.log", workers=WORKERS) as server:
        load = partial(open_loop.measure, server.address, PATH, bodies)
        sustained, _ = largest_rate(lambda rate: load(rate=rate, seconds=2), START_RATE, nearly_all)
        if not sustained:
            pytest.fail(f"a hundredth is refused even at {START_RATE}/s", pytrace=False)
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


@by_concurrency([8, 64])
def test_against_baseline(
    concurrency: int,
    fastapi_server: SseptServer,
    baseline_server: Peer,
    bodies: list[bytes],
    asked: tuple[IntArray, list[IntArray]],
    local: Session,
    benchmark: Any,
) -> None:
    """Requests a second beside the simplest server, which speaks the catalog's ids."""
    skip_without(wrk.unavailable())
    loads = {
        NAME: (fastapi_server.url + PATH, bodies),
        "baseline": (baseline_server.url + PATH, predict_bodies(*asked)),
    }
    results: dict[str, list[Result]] = {name: [] for name in loads}

    def rate(name: str) -> float:
        results[name].append(wrk.measure(*loads[name], concurrency, CLOSED_SECONDS))
        return results[name][-1].rate

    load = f"{concurrency} at a time"
    note_ratio(benchmark, facts(local), load, rate, against="baseline")
    benchmark.extra_info["results"] = {
        name: [result.facts() for result in found] for name, found in results.items()
    }
    for result in (*results[NAME], *results["baseline"]):
        check(result)


@by_concurrency([8, 16])
def test_against_triton(
    concurrency: int,
    fastapi_server: SseptServer,
    local: Session,
    benchmark: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Sequences a second beside Triton with the same model file, by the same command."""
    triton = request.getfixturevalue("triton_server")
    assert SERVED[INT8_TOPK].variant == VARIANT
    loads = {
        NAME: perf_analyzer.Load(fastapi_server.http, MODEL, concurrency=concurrency),
        INT8_TOPK: perf_analyzer.Load(triton.http, INT8_TOPK, concurrency=concurrency),
    }
    figures: dict[str, list[perf_analyzer.Figures]] = {name: [] for name in loads}

    repeated: list[str] = []

    def rate(name: str) -> float:
        try:
            figures[name].append(perf_analyzer.measure(loads[name]))
        except LoadError as error:  # it stops at the first request that is refused
            repeated.append(str(error))
            figures[name].append(perf_analyzer.measure(loads[name]))
        return figures[name][-1].inferences_per_s

    load = described(loads[NAME])
    note_ratio(benchmark, facts(local), load, rate, against=INT8_TOPK)
    benchmark.extra_info |= {
        "figures": {name: [asdict(one) for one in found] for name, found in figures.items()},
        "repeated": repeated,
    }


@pytest.mark.parametrize("client", ["wrk", "LoadGen", "own"])
def test_client(
    client: str, empty_server: Peer, bodies: list[bytes], local: Session, benchmark: Any
) -> None:
    """What the clients come to where the server does nothing: no figure above can be larger."""
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
        rate, probes = benchmark.pedantic(
            largest_rate,
            (lambda rate: measure(rate=rate, seconds=1), CEILING_START, in_time),
            rounds=1,
        )
        result = next(probe.result for probe in probes if probe.kept and probe.rate == rate)
        load = f"largest rate, p99 <= {LIMIT_MS} ms"
    note_result(benchmark, local, client, load, result, served="nothing")
    assert not result.errors


def check(result: Result) -> None:
    """Make sure that requests succeed, but for a few where the machine itself has paused.

    A pause that is longer than the age cap has the server refuse what was waiting.
    """
    failed = sum(result.errors.values())
    assert failed <= REFUSED_SHARE * result.requests, result.errors


def nearly_all(result: Result) -> bool:
    """Whether hardly a request was refused."""
    return sum(result.errors.values()) <= (1 - ACCEPTED_SHARE) * result.requests


def long_enough(rate: float) -> float:
    """Seconds of an open loop that give it enough requests for a 99th percentile."""
    return max(OPEN_SECONDS, MINIMUM_SAMPLES[99] / rate)


def post(server: SseptServer, path: str, body: bytes) -> Any:
    """Post a body, and return the answer's JSON."""
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, body, head)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def overlap(predictions: list[Any], wanted: list[list[int]]) -> float:
    """Return the share of the wanted items that were predicted."""
    pairs = zip(predictions, wanted, strict=True)
    return float(np.mean([len({*one["top_items"]} & {*items}) / TOP_K for one, items in pairs]))


def skip_without(reason: str | None) -> None:
    """Skip where a tool is missing."""
    if reason:
        pytest.skip(reason)
